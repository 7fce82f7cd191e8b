//! The core: what a protocol may see of Sabir. No socket, no file, no clock, no task.

pub mod clock;
pub mod error;
pub mod group;
pub mod random;

pub use sabir_storage::ticket;
pub use sabir_storage::wake;

/// The broker.
pub struct Broker {}
