//! What a protocol over a byte stream is to the rest: a machine without a socket. The loop that
//! drives it is in `driver`.

use bytes::BytesMut;
use sabir_broker::Broker;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::random::Random;
use sabir_broker::wake::Waker;
use std::sync::Arc;

use crate::outbox::Outbox;

/// What a connection may use during one step.
pub struct Step<'a> {
    pub broker: &'a Arc<Broker>,
    pub now: Now,
    pub random: &'a mut dyn Random,
    pub out: &'a mut Outbox,
    /// Wakes this connection: `on_wake` is called soon after.
    pub me: &'a Waker,
}

/// Why a connection ends. What is in the outbox is still sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// For the log; lower case, no full stop. None = an orderly end.
    pub reason: Option<String>,
}

impl Close {
    pub fn orderly() -> Close {
        Close { reason: None }
    }

    pub fn because(reason: impl Into<String>) -> Close {
        Close { reason: Some(reason.into()) }
    }
}

/// One connection of a stream protocol. No socket, no clock, no task, no randomness of its own.
pub trait Connection: Send {
    /// Takes whole frames from the front of `input`; half a frame stays. Runs over at most 256 KiB
    /// and only until `step.out` is full, then returns with the rest left in `input`, and is called
    /// again: at once, or when the peer has taken enough.
    fn on_bytes(&mut self, input: &mut BytesMut, step: &mut Step<'_>) -> Result<(), Close>;

    /// Something it waits for may have happened: a commit, a finished read, a timer.
    fn on_wake(&mut self, step: &mut Step<'_>) -> Result<(), Close>;

    /// When `on_wake` has to be called even if nothing happens.
    fn deadline(&self) -> Option<Instant>;

    /// False while it wants no further input: its pipeline or its park budget is full.
    fn reads(&self) -> bool {
        true
    }

    /// Bytes of the whole frame it is in the middle of, counted from the front of `input`, if it
    /// knows: the loop makes room for them at once instead of growing the buffer step by step. The
    /// protocol has checked its limit.
    fn expects(&self) -> usize {
        0
    }

    /// True if it owes the peer no answer that comes by itself; a long poll is none. A server that
    /// stops waits for this before it closes the connection.
    fn is_idle(&self) -> bool {
        true
    }

    /// Called once when the peer is gone or the connection was closed.
    fn on_close(&mut self, step: &mut Step<'_>);
}

/// Where a connection came from and what it reached.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Name of the listener in the settings.
    pub listener: Arc<str>,
    pub remote: std::net::SocketAddr,
    /// The address that the client reached.
    pub local: std::net::SocketAddr,
    /// What the listener is told to advertise instead of `local`.
    pub advertise: Option<Arc<str>>,
}

/// Makes connections; one per protocol, registered by the server.
pub trait Protocol: Send + Sync {
    fn accept(&self, peer: Peer, now: Now) -> Box<dyn Connection>;
}
