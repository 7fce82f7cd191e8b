//! Kafka's rules for names, and how it writes ids.

use sabir_broker::caller::Caller;
use sabir_broker::name;

use crate::error_code::ErrorCode;

/// Bytes of a topic's name at most.
const TOPIC_MAX: usize = 249;

/// True for 1 to 249 of `[A-Za-z0-9._-]`, but not `.` or `..`.
pub fn is_topic(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_MAX).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
}

/// The front of a client's own text, for telling it what is wrong with it: at most 100 bytes.
pub fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

/// Whether a client may make a topic of this name; what is known of it matters elsewhere.
///
/// # Errors
/// Code and message for the client.
pub fn check_new(caller: &Caller, topic: &str) -> Result<(), (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::InvalidTopicException, message));
    if !is_topic(topic) {
        return invalid(format!(
            "Topic name is invalid: {:?} is not 1 to {TOPIC_MAX} of a-z, A-Z, 0-9, '.', '_' \
             and '-', or it is '.' or '..'",
            short(topic)
        ));
    }
    if name::is_reserved(topic) {
        return invalid(format!("Topic name is invalid: '{topic}' has a reserved prefix"));
    }
    match collision(caller, topic) {
        Some(known) => invalid(format!("Topic '{topic}' collides with existing topic: {known}")),
        None => Ok(()),
    }
}

/// A topic whose name differs only in `.` and `_`: Kafka's metrics cannot tell the two apart, and
/// so it refuses the later one.
fn collision(caller: &Caller, topic: &str) -> Option<String> {
    let mut known = vec![String::new()];
    for part in topic.split_inclusive(['.', '_']) {
        let mut longer = Vec::new();
        for before in &known {
            let plain = part.trim_end_matches(['.', '_']);
            let ends: &[&str] = if plain.len() < part.len() { &[".", "_"] } else { &[""] };
            let all = ends.iter().map(|end| format!("{before}{plain}{end}"));
            longer.extend(all.filter(|prefix| caller.any_topic(prefix)));
        }
        known = longer;
    }
    known.into_iter().find(|name| name != topic && caller.topic(name).is_some())
}

/// An id in the 22 characters of Kafka's `Uuid`: base64 for URLs, without padding (RFC 4648).
pub fn base64(id: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(22);
    for part in id.chunks(3) {
        let bits = part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - part.len()));
        for digit in 0..=part.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn topic_names_have_kafkas_alphabet() {
        let check = |name: &str, ok: bool| assert_eq!(super::is_topic(name), ok, "{name:?}");
        check("orders.v1_a-B", true);
        check(&"x".repeat(249), true);
        check(&"x".repeat(250), false);
        check("", false);
        check(".", false);
        check("..", false);
        check("a b", false);
        check("ü", false);
    }

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        let id: [u8; 16] = std::array::from_fn(|i| (i as u8) * 17);
        assert_eq!(super::base64(&id), "ABEiM0RVZneImaq7zN3u_w");
    }
}
