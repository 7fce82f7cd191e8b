//! Names of declared things: what the core accepts. Protocols are stricter where they have to be.

use crate::error::Error;
use crate::limits::NAME_MAX;

/// Checks a name: UTF-8, 1 to 255 bytes, no control characters.
pub fn check(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid("the name is empty"));
    }
    if name.len() > NAME_MAX {
        return Err(Error::invalid(format!("the name has more than {NAME_MAX} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid("the name has a control character"));
    }
    Ok(())
}

/// True for names that only the broker itself may make.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("sabir.")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_bounded_and_printable() {
        let check = |name: &str, ok: bool| assert_eq!(super::check(name).is_ok(), ok, "{name:?}");
        check("a", true);
        check("sensors/kitchen.1 ü", true);
        check(&"x".repeat(255), true);
        check(&"x".repeat(256), false);
        check("", false);
        check("a\nb", false);
        check("a\u{0}", false);
    }
}
