//! Spelling of names.

/// `FetchTopic` → `fetch_topic`.
pub fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// A field name that is a Rust keyword is written raw.
pub fn field(name: &str) -> String {
    let keyword = matches!(name, "type" | "match" | "ref" | "loop" | "move" | "mod" | "use");
    if keyword { format!("r#{name}") } else { name.to_owned() }
}
