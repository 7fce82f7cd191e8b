//! Hands the settings to the Kafka protocol.

use std::sync::Arc;

use bytes::BytesMut;
use sabir_broker::clock::{Instant, Now};
use sabir_net::connection::{Close, Connection, Peer, Protocol, Step};

use crate::config::settings::Settings;

pub fn protocol(_settings: &Settings) -> Arc<dyn Protocol> {
    Arc::new(Refuse)
}

struct Refuse;

impl Protocol for Refuse {
    fn accept(&self, _peer: Peer, _now: Now) -> Box<dyn Connection> {
        Box::new(Refuse)
    }
}

impl Connection for Refuse {
    fn on_bytes(&mut self, _input: &mut BytesMut, _step: &mut Step<'_>) -> Result<(), Close> {
        Err(Close::because("not served by this build"))
    }

    fn on_wake(&mut self, _step: &mut Step<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn on_close(&mut self, _step: &mut Step<'_>) {}
}
