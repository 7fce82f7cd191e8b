//! The configs of topics and of the broker under Kafka's names: what may be said, and what is in
//! force. A config is accepted only when what it asks for is done.

pub mod broker;
mod entry;
mod kept;
mod topic;
mod value;

pub use entry::{Entry, Source, Synonym};
pub use kept::Kept;
pub use topic::{Accepts, Field, Form, KEYS, Key, Rule, find};
pub use value::Kind;
