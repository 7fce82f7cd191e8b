//! What is set on one topic: the core's policy, and as labels what only has to be told again.

use std::collections::{BTreeMap, BTreeSet};

use sabir_broker::ticket::Class;
use sabir_broker::topic::{Effective, Policy, Topic};

use super::entry::{Entry, Source, Synonym};
use super::topic::{Accepts, Form, KEYS, Key, Rule, find};
use super::value::{Kind, items};
use crate::names::short;

/// Before the name of each config that is kept as a label.
const LABEL: &str = "kafka.";

/// The configs of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub policy: Policy,
    pub labels: BTreeMap<String, String>,
}

impl Kept {
    pub fn of(topic: &Topic) -> Kept {
        Kept { policy: topic.policy.clone(), labels: topic.labels.clone() }
    }

    /// Sets a config.
    ///
    /// # Errors
    /// Why it is not accepted, for the client.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Some(key) = find(name) else {
            return Err(unknown(name));
        };
        let refuse =
            |why: &str| format!("Invalid value {} for configuration {name}: {why}", short(value));
        let normal = key.kind.normal(value).map_err(|why| refuse(&why))?;
        match &key.rule {
            Rule::Field(field) => {
                let number = field.form.read(&normal).map_err(|why| refuse(&why))?;
                (field.set)(&mut self.policy, Some(number));
            }
            Rule::Holds { accepts, .. } => {
                accepts.check(&normal).map_err(|why| refuse(&why))?;
                self.labels.insert(label(key), normal);
            }
        }
        Ok(())
    }

    /// Takes a config back to its default; one that is unknown is not set anyway.
    pub fn unset(&mut self, name: &str) {
        let Some(key) = find(name) else { return };
        match &key.rule {
            Rule::Field(field) => (field.set)(&mut self.policy, None),
            Rule::Holds { .. } => drop(self.labels.remove(&label(key))),
        }
    }

    /// Puts values to a list, or takes them from it.
    ///
    /// # Errors
    /// Why it is not accepted, for the client.
    pub fn edit(&mut self, name: &str, value: &str, append: bool) -> Result<(), String> {
        let key = find(name).ok_or_else(|| unknown(name))?;
        let (Kind::List, Rule::Holds { default, .. }) = (key.kind, &key.rule) else {
            let what = if append { "APPEND" } else { "SUBTRACT" };
            return Err(format!("Can't {what} to key {name} because its type is not LIST."));
        };
        let before = self.labels.get(&label(key)).map_or(*default, String::as_str).to_owned();
        let mut list = items(&before);
        let change: BTreeSet<&str> = items(value).into_iter().collect();
        if append {
            let known = list.clone();
            list.extend(change.into_iter().filter(|item| !known.contains(item)));
        } else {
            list.retain(|known| !change.contains(known));
        }
        self.set(name, &list.join(","))
    }

    /// Checks what depends on more than one config.
    ///
    /// # Errors
    /// Why they do not go together, for the client.
    pub fn check(&self, defaults: &Effective) -> Result<(), String> {
        if defaults.with(&self.policy).durability == Class::Durable {
            return Ok(());
        }
        for key in KEYS {
            if let Rule::Holds { default, accepts: Accepts::Durable(_) } = &key.rule
                && let Some(value) = self.labels.get(&label(key))
                && value != default
            {
                return Err(format!(
                    "Invalid value {value} for configuration {}: with sabir.durability = os \
                     nobody waits for the disk",
                    key.name
                ));
            }
        }
        Ok(())
    }

    /// Every config of the topic with its value in force.
    pub fn describe(&self, defaults: &Effective) -> Vec<Entry> {
        KEYS.iter().map(|key| self.entry(key, defaults)).collect()
    }

    fn entry(&self, key: &Key, defaults: &Effective) -> Entry {
        let mut synonyms = Vec::new();
        if let Some(value) = self.own(key) {
            synonyms.push(Synonym { name: key.name, value: Some(value), source: Source::Topic });
        }
        let (value, source) = key.inherited(defaults);
        if source == Source::Broker || key.broker.is_some() {
            let name = key.broker.unwrap_or(key.name);
            synonyms.push(Synonym { name, value: Some(value.clone()), source });
        }
        let first = synonyms.first();
        Entry {
            name: key.name,
            value: first.map_or(Some(value), |first| first.value.clone()),
            source: first.map_or(source, |first| first.source),
            read_only: false,
            kind: key.kind,
            about: key.about,
            synonyms,
        }
    }

    /// What is set on the topic itself.
    fn own(&self, key: &Key) -> Option<String> {
        match &key.rule {
            Rule::Field(field) => (field.get)(&self.policy).map(|value| field.form.write(value)),
            Rule::Holds { .. } => self.labels.get(&label(key)).cloned(),
        }
    }
}

fn unknown(name: &str) -> String {
    format!("Unknown topic config name: {}", short(name))
}

fn label(key: &Key) -> String {
    format!("{LABEL}{}", key.name)
}

impl Key {
    /// The value of a topic that does not say otherwise.
    pub fn inherited(&self, defaults: &Effective) -> (String, Source) {
        match &self.rule {
            Rule::Field(field) => {
                let value = (field.effective)(defaults);
                let set = value != (field.effective)(&Effective::default());
                let source = if set { Source::Broker } else { Source::Default };
                (field.form.write(value), source)
            }
            Rule::Holds { default, .. } => ((*default).to_owned(), Source::Default),
        }
    }
}

impl Form {
    fn read(&self, normal: &str) -> Result<i64, String> {
        match self {
            Form::Number { min, max } => {
                let number = normal.parse().map_err(|_| "Not a number".to_owned())?;
                if number < *min {
                    return Err(format!("Value must be at least {min}"));
                }
                if number > *max {
                    return Err(format!("Value must be no more than {max}"));
                }
                Ok(number)
            }
            Form::Word(words) => {
                let found = words.iter().find(|(word, _)| *word == normal);
                found.map(|(_, value)| *value).ok_or_else(|| {
                    let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                    format!("String must be one of: {}", all.join(", "))
                })
            }
        }
    }

    fn write(&self, value: i64) -> String {
        match self {
            Form::Number { .. } => value.to_string(),
            Form::Word(words) => {
                let found = words.iter().find(|(_, known)| *known == value);
                found.map_or_else(|| value.to_string(), |(word, _)| (*word).to_owned())
            }
        }
    }
}

impl Accepts {
    fn check(&self, normal: &str) -> Result<(), String> {
        let from = |min: f64, max: f64| match normal.parse::<f64>() {
            Ok(number) if number < min => Err(format!("Value must be at least {min}")),
            Ok(number) if number > max => Err(format!("Value must be no more than {max}")),
            Ok(_) => Ok(()),
            Err(_) => Err("Not a number".to_owned()),
        };
        match self {
            Accepts::Only(all, why) if !all.contains(&normal) => {
                let all: Vec<_> = all.iter().map(|value| format!("'{value}'")).collect();
                Err(format!("only {} is supported: {why}", all.join(" or ")))
            }
            Accepts::Only(..) => Ok(()),
            Accepts::Between(min, max) => from(*min, *max),
            Accepts::Durable(min) => from(*min, f64::INFINITY),
        }
    }
}

#[cfg(test)]
mod tests;
