//! Sockets and the one loop that moves bytes between them and protocol machines. Knows no
//! protocol's frames.

pub mod connection;
pub mod outbox;
