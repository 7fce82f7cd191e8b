//! Values of configs: their types, and how they are read from text.

use std::collections::BTreeSet;

/// The type of a config, as DescribeConfigs numbers it (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

impl Kind {
    /// The name Kafka gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Text => "STRING",
            Kind::Int => "INT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
        }
    }

    /// The value in the form in which it is compared and told: without blanks around it, numbers
    /// without needless digits.
    ///
    /// # Errors
    /// What is wrong with it, in Kafka's words.
    pub fn normal(self, text: &str) -> Result<String, String> {
        let text = text.trim();
        Ok(match self {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                known @ ("true" | "false") => known.to_owned(),
                _ => return Err("Expected value to be either true or false".to_owned()),
            },
            Kind::Text => text.to_owned(),
            Kind::Int => {
                let number: i32 = text.parse().map_err(|_| self.no_number())?;
                number.to_string()
            }
            Kind::Long => {
                let number: i64 = text.parse().map_err(|_| self.no_number())?;
                number.to_string()
            }
            Kind::Double => {
                let number: f64 = text.parse().map_err(|_| self.no_number())?;
                if !number.is_finite() {
                    return Err(self.no_number());
                }
                format!("{number:?}")
            }
            Kind::List => {
                let parts = items(text);
                let mut seen = BTreeSet::new();
                if !parts.iter().all(|part| seen.insert(*part)) {
                    return Err("Configuration values must not be duplicated".to_owned());
                }
                parts.join(",")
            }
        })
    }

    fn no_number(self) -> String {
        format!("Not a number of type {}", self.name())
    }
}

/// The parts of a list.
pub fn items(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn values_have_one_form() {
        let check = |kind: Kind, text: &str, want: Option<&str>| {
            assert_eq!(kind.normal(text).ok().as_deref(), want, "{kind:?} {text:?}");
        };
        check(Kind::Boolean, " True ", Some("true"));
        check(Kind::Boolean, "yes", None);
        check(Kind::Int, "+7", Some("7"));
        check(Kind::Int, "2147483648", None);
        check(Kind::Int, "", None);
        check(Kind::Long, " -1", Some("-1"));
        check(Kind::Long, "9223372036854775808", None);
        check(Kind::Double, "0.50", Some("0.5"));
        check(Kind::Double, "1", Some("1.0"));
        check(Kind::Double, "NaN", None);
        check(Kind::List, " a , b ", Some("a,b"));
        check(Kind::List, "a,b,a", None);
        check(Kind::List, "", Some(""));
        check(Kind::Text, " x ", Some("x"));
    }
}
