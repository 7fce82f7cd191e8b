//! What Sabir speaks: one line for each protocol.

use std::sync::Arc;

use sabir_broker::Broker;
use sabir_net::connection::Protocol;

use crate::config::settings::Settings;

/// How a protocol is served.
#[derive(Clone, Copy)]
pub enum Serve {
    /// By a machine over bytes, in the namespace of that name.
    Stream(fn(&Settings, &Arc<Broker>, &str) -> Arc<dyn Protocol>),
    /// By the admin API.
    Admin,
}

/// A protocol and where clients look for it.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub port: u16,
    pub serve: Serve,
}

pub const PROTOCOLS: &[Entry] = &[
    Entry { name: "kafka", port: 9092, serve: Serve::Stream(crate::kafka::protocol) },
    Entry { name: "http", port: 15672, serve: Serve::Admin },
];

pub fn find(name: &str) -> Option<&'static Entry> {
    PROTOCOLS.iter().find(|entry| entry.name == name)
}
