//! A config as clients are told of it.

use super::value::Kind;

/// Where a value comes from, as DescribeConfigs numbers it (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set in the broker's settings.
    Broker = 4,
    /// Nobody has set it.
    Default = 5,
}

/// The same config under another name, or of another origin. They are listed in the order in
/// which they win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
}

/// One config with its value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    pub kind: Kind,
    pub synonyms: Vec<Synonym>,
    pub about: &'static str,
}
