//! Kafka's rules for names, and how it writes ids.

/// Bytes of a topic's name at most.
const TOPIC_MAX: usize = 249;

/// True for 1 to 249 of `[A-Za-z0-9._-]`, but not `.` or `..`.
pub fn is_topic(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_MAX).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
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
