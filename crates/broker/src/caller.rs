//! The only door to the core: an authenticated client. Every operation starts here, where
//! permission is asked, work is counted and quotas are charged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sabir_storage::ticket::Ticket;
use sabir_storage::wake::Waker;

use crate::broker::Broker;
use crate::clock::{Instant, Now};
use crate::error::{Error, Kind};
use crate::policy::{Action, Identity, Resource};
use crate::quota::{Charge, Meter};
use crate::topic::NamespaceId;

/// What one client did.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: AtomicU64,
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
    /// Charged for what this client does, that of its namespace.
    meter: Arc<Meter>,
    /// Until when it is to be held back, in nanoseconds of an [`Instant`].
    held: AtomicU64,
    seated: bool,
}

impl Caller {
    /// A client of that namespace. In one that is not there it finds nothing, and can make nothing.
    pub fn new(broker: Arc<Broker>, identity: Identity, namespace: NamespaceId) -> Caller {
        let known = broker.catalog.namespaces.get(namespace);
        let meter = known.map_or_else(Arc::default, |known| known.meter.clone());
        Caller {
            broker,
            identity,
            namespace,
            counters: Counters::default(),
            meter,
            held: AtomicU64::new(0),
            seated: false,
        }
    }

    /// Counts as one of the connections of its namespace, until it is dropped.
    ///
    /// # Errors
    /// `Full` if there are as many as the quota allows; `NotFound` if the namespace is gone.
    pub fn sit_down(&mut self) -> Result<(), Error> {
        self.home()?;
        assert!(!self.seated, "a client sits down once");
        self.seated = self.meter.sit_down();
        if self.seated {
            return Ok(());
        }
        Err(Error::new(Kind::Full, "the namespace has all the connections that its quota allows"))
    }

    /// Counts a request, and charges it. Once per request, before it is worked on.
    pub fn request(&self, now: Now) {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.charge(now, Charge::Request, 1);
    }

    /// Counts bytes of records that are handed to the client, and charges them. Not where they are
    /// read: a poll that waits for more reads the same ones again.
    pub fn hand_out(&self, now: Now, bytes: usize) {
        self.counters.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        self.charge(now, Charge::BytesOut, bytes as u64);
    }

    /// Charges the meter of its namespace. Where a client has others too, such as one of its own,
    /// each is charged and the longest time counts.
    pub(crate) fn charge(&self, now: Now, what: Charge, amount: u64) {
        let hold = self.meter.charge(now.mono, what, amount);
        if !hold.is_zero() {
            self.held.fetch_max((now.mono + hold).0, Ordering::Relaxed);
        }
    }

    /// Until when nothing more is to be taken from this client, for what it has used so far.
    pub fn held_until(&self) -> Instant {
        Instant(self.held.load(Ordering::Relaxed))
    }

    /// The time until then.
    pub fn hold(&self, now: Now) -> Duration {
        self.held_until().since(now.mono)
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

impl Drop for Caller {
    fn drop(&mut self) {
        if self.seated {
            self.meter.stand_up();
        }
    }
}
