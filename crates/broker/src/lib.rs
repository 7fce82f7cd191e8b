//! The core: what a protocol may see of Sabir. No socket, no file, no clock, no task.

pub mod admission;
mod broker;
mod bytes;
pub mod caller;
mod catalog;
pub mod clock;
mod core;
pub mod declare;
mod effect;
pub mod error;
pub mod fetch;
mod fit;
pub mod group;
pub mod groups;
mod image;
pub mod inspect;
pub mod keeper;
pub mod limits;
pub mod name;
pub mod namespace;
pub mod policy;
mod producer;
pub mod publish;
pub mod pump;
pub mod quota;
pub mod random;
mod recovery;
pub mod shard;
pub mod stats;
pub mod times;
pub mod topic;

pub use broker::{Broker, OpenError, Settings};
pub use sabir_storage::batch;
pub use sabir_storage::log;
pub use sabir_storage::ticket;
pub use sabir_storage::wake;
