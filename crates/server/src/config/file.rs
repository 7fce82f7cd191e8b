//! Reads a settings file: TOML into (path, value, place), without knowing what the paths mean.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{Raw, Value};
use super::{Place, Problem};

/// One value of a file.
pub struct Item {
    /// The parts of its name, the tables first.
    pub path: Vec<String>,
    /// Where the name stands, and where the value.
    pub name_at: Place,
    pub value_at: Place,
    /// None = an empty table.
    pub raw: Option<Raw>,
}

/// All values of a file, in its order.
pub fn read(name: &str, text: &str) -> Result<Vec<Item>, Problem> {
    let lines = Lines { name, text };
    let table = DeTable::parse(text).map_err(|error| Problem {
        at: lines.place(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    })?;
    let mut items = Vec::new();
    walk(&lines, table.get_ref(), &mut Vec::new(), &mut items);
    items.sort_by(|a, b| a.name_at.cmp(&b.name_at));
    Ok(items)
}

fn walk(lines: &Lines<'_>, table: &DeTable<'_>, path: &mut Vec<String>, items: &mut Vec<Item>) {
    for (name, value) in table.iter() {
        path.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => walk(lines, inner, path, items),
            other => items.push(Item {
                path: path.clone(),
                name_at: lines.place(name.span().start),
                value_at: lines.place(value.span().start),
                raw: (!other.is_table()).then(|| raw(value)),
            }),
        }
        path.pop();
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Typed(Value::Text(text.to_string())),
        DeValue::Boolean(on) => Raw::Typed(Value::Switch(*on)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Typed(Value::Number(number)),
            Err(_) => Raw::Other("a number beyond 64 bits"),
        },
        DeValue::Array(list) => {
            let texts: Option<Vec<String>> =
                list.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Raw::Other("a list"), |texts| Raw::Typed(Value::List(texts)))
        }
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Datetime(_) => Raw::Other("a time"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// Turns places in a text into lines and columns.
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File {
            name: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}
