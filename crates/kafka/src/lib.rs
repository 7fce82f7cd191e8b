//! Kafka: its wire protocol over the broker core.

pub mod api;
pub mod codec;
pub mod error_code;
pub mod generated;
