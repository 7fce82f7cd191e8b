//! Sockets and the one loop that moves bytes between them and protocol machines. Knows no
//! protocol's frames.

mod bell;
pub mod clock;
pub mod connection;
pub mod counters;
mod driver;
pub mod gate;
pub mod http;
pub mod listener;
pub mod outbox;
mod pool;
pub mod random;
