//! Values as they are written, checked against what a setting may be.

use super::keys::Kind;

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Switch(bool),
    Number(i64),
    Text(String),
    List(Vec<String>),
}

/// A value as it was written, before it is known what it may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// From a file: it has a type.
    Typed(Value),
    /// From the environment or a flag: only text.
    Plain(String),
    /// Something that no setting takes, by its name.
    Other(&'static str),
}

impl Kind {
    /// Checks a value; the error says what would have been right.
    pub fn check(self, raw: &Raw) -> Result<Value, String> {
        self.read(raw).ok_or_else(|| format!("expected {}, found {}", self.wants(), found(raw)))
    }

    fn read(self, raw: &Raw) -> Option<Value> {
        match (self, raw) {
            (Kind::Switch, Raw::Typed(Value::Switch(on))) => Some(Value::Switch(*on)),
            (Kind::Switch, Raw::Plain(text)) => text.parse().ok().map(Value::Switch),
            (Kind::Count { min, max }, _) => within(number(raw)?, min, max),
            (Kind::Bytes { min, max }, _) => within(bytes(raw)?, min, max),
            (Kind::BytesOrAuto { .. } | Kind::CountOrAuto { .. }, _)
                if text(raw) == Some("auto") =>
            {
                Some(Value::Text("auto".to_owned()))
            }
            (Kind::BytesOrAuto { min }, _) => within(bytes(raw)?, min, i64::MAX),
            (Kind::CountOrAuto { min, max }, _) => within(number(raw)?, min, max),
            (Kind::Text, _) => text(raw).map(|text| Value::Text(text.to_owned())),
            (Kind::OneOf(names), _) => {
                let text = text(raw)?;
                names.contains(&text).then(|| Value::Text(text.to_owned()))
            }
            (Kind::List, Raw::Typed(Value::List(list))) => Some(Value::List(list.clone())),
            (Kind::List, _) => text(raw).map(|text| {
                Value::List(text.split(',').map(|part| part.trim().to_owned()).collect())
            }),
            (Kind::Switch, _) => None,
        }
    }

    /// What may be written, for a message.
    pub fn wants(self) -> String {
        match self {
            Kind::Switch => "true or false".to_owned(),
            Kind::Count { min, max } => format!("a number from {min} to {max}"),
            Kind::CountOrAuto { min, max } => format!("\"auto\" or a number from {min} to {max}"),
            Kind::Bytes { min, max: i64::MAX } => format!("bytes, at least {min}"),
            Kind::Bytes { min, max } => format!("bytes from {min} to {max}"),
            Kind::BytesOrAuto { min } => format!("\"auto\" or bytes, at least {min}"),
            Kind::Text => "text".to_owned(),
            Kind::OneOf(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Kind::List => "a list of texts".to_owned(),
        }
    }
}

fn within(number: i64, min: i64, max: i64) -> Option<Value> {
    (min..=max).contains(&number).then_some(Value::Number(number))
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Typed(Value::Text(text)) | Raw::Plain(text) => Some(text),
        _ => None,
    }
}

fn number(raw: &Raw) -> Option<i64> {
    match raw {
        Raw::Typed(Value::Number(number)) => Some(*number),
        Raw::Plain(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn bytes(raw: &Raw) -> Option<i64> {
    number(raw).or_else(|| {
        let text = text(raw)?.trim();
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let number: i64 = text[..digits].parse().ok()?;
        let unit: i64 = match text[digits..].trim() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return None,
        };
        number.checked_mul(unit)
    })
}

fn found(raw: &Raw) -> String {
    match raw {
        Raw::Typed(value) => value.to_string(),
        Raw::Plain(text) => format!("{text:?}"),
        Raw::Other(what) => (*what).to_owned(),
    }
}

/// As it would stand in the document.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Switch(on) => write!(f, "{on}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(list) => write!(f, "{list:?}"),
        }
    }
}

impl Value {
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Switch(on) => (*on).into(),
            Value::Number(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(list) => list.clone().into(),
        }
    }
}
