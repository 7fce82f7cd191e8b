//! What a user may set for Kafka clients.

use std::time::Duration;

/// Settings of the protocol; defaults serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The id of this broker in metadata.
    pub node_id: i32,
    /// Topics that a client asks for are made, where its request allows it.
    pub auto_create_topics: bool,
    /// Partitions of a topic that says nothing of it.
    pub default_partitions: u32,
    /// Bytes of a request at most.
    pub request_bytes_max: usize,
    /// Bytes of all records in one fetch response at most; one batch always fits.
    pub fetch_bytes_max: usize,
    /// A new connection must send its first byte within this time.
    pub first_byte: Duration,
    /// A request that has begun must be whole within this time.
    pub frame: Duration,
    /// A connection without requests is closed after this time.
    pub idle: Duration,
    /// Responses that one connection may have waiting before it is read no further.
    pub pipeline_max: usize,
    /// Partitions that a fetch session remembers at most.
    pub session_partitions_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            node_id: 1,
            auto_create_topics: true,
            default_partitions: 1,
            request_bytes_max: 32 << 20,
            fetch_bytes_max: 8 << 20,
            first_byte: Duration::from_secs(5),
            frame: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            pipeline_max: 256,
            session_partitions_max: 10_000,
        }
    }
}
