//! The only door to the core: an authenticated client. Every operation starts here, where
//! permission is asked, work is counted and quotas are charged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sabir_storage::ticket::Ticket;
use sabir_storage::wake::Waker;

use crate::broker::Broker;
use crate::error::{Error, Kind};
use crate::policy::{Action, Identity, Resource};
use crate::topic::NamespaceId;

/// What one client did.
#[derive(Debug, Default)]
pub struct Counters {
    pub records_in: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub denied: AtomicU64,
}

/// An authenticated client in one namespace.
pub struct Caller {
    pub(crate) broker: Arc<Broker>,
    identity: Identity,
    pub(crate) namespace: NamespaceId,
    pub(crate) counters: Counters,
}

impl Caller {
    pub fn new(broker: Arc<Broker>, identity: Identity, namespace: NamespaceId) -> Caller {
        Caller { broker, identity, namespace, counters: Counters::default() }
    }

    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Asks whether this client may do that; counts a refusal.
    pub fn allowed(&self, action: Action, resource: Resource<'_>) -> Result<(), Error> {
        if self.identity.may(action, resource) {
            return Ok(());
        }
        self.counters.denied.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(Kind::Denied, "not allowed"))
    }

    /// The same without counting: for telling a client what it may do.
    pub fn may(&self, action: Action, resource: Resource<'_>) -> bool {
        self.identity.may(action, resource)
    }

    /// True once what the ticket stands for is kept.
    pub fn is_kept(&self, ticket: Ticket) -> bool {
        self.broker.wal.marks().reached(ticket)
    }

    /// Wakes `me` once the ticket is reached.
    pub fn wait(&self, ticket: Ticket, me: &Waker) {
        self.broker.wal.wait(ticket, me);
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        self.namespace
    }
}
