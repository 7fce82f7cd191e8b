//! The publish path: admission, then each batch into its shard under one short lock.

use std::sync::atomic::Ordering;

use sabir_storage::planted::{self, Bug};
use sabir_storage::ticket::{Class, Ticket};
use sabir_storage::wake::Waker;
use smallvec::SmallVec;

use crate::admission::{LinePlace, Reserved};
use crate::caller::Caller;
use crate::clock::Now;
use crate::effect::Effect;
use crate::error::{Error, Kind};
use crate::limits::{OPERATION_MAX, PRODUCER_BLOCK};
use crate::quota::Charge;
use crate::shard::{AppendOp, Placed};

mod records;

pub use records::{Outcome, PublishOp, Target};

/// What became of one batch.
pub type Appended = Result<Placed, Error>;

/// Most publishes have one.
pub type Outcomes = SmallVec<[Appended; 1]>;

impl Caller {
    /// Appends validated batches, each to its log, and adds one outcome per batch to `outcomes`,
    /// in order. Shards are locked one after the other, so each batch stands for itself.
    ///
    /// # Errors
    /// `Throttled`: so many as `outcomes` grew by are done, the rest is to be tried again with the
    /// same place. Without a ticket it stands in the line of those who wait for room, and `me` is
    /// woken when its turn has come. Who gives up drops the place.
    pub fn append(
        &self,
        now: Now,
        ops: &[(u16, AppendOp)],
        me: &Waker,
        place: &mut LinePlace,
        outcomes: &mut Outcomes,
    ) -> Result<(), Error> {
        let before = outcomes.len();
        let mut rest = ops;
        let mut done = Ok(());
        while done.is_ok() && !rest.is_empty() {
            let (count, bytes) = fitting(rest);
            match self.admit(bytes, place, me) {
                Ok(reserved) => {
                    done = self.append_admitted(now, &rest[..count], me, outcomes);
                    drop(reserved);
                    rest = &rest[count..];
                }
                Err(error) if error.kind == Kind::Throttled => done = Err(error),
                Err(error) => {
                    self.refuse(now, rest, me);
                    outcomes.extend(rest.iter().map(|_| Err(error.clone())));
                    break;
                }
            }
        }
        let added = &outcomes[before..];
        assert!(done.is_err() || added.len() == ops.len(), "one outcome for each operation");
        self.broker.wal.notify();
        let mut bytes = 0;
        for ((_, op), _) in ops.iter().zip(added).filter(|(_, outcome)| outcome.is_ok()) {
            let records = u64::from(op.header.count.unsigned_abs());
            self.counters.records_in.fetch_add(records, Ordering::Relaxed);
            self.counters.bytes_in.fetch_add(op.batch.len() as u64, Ordering::Relaxed);
            bytes += op.batch.len() as u64;
        }
        self.charge(now, Charge::BytesIn, bytes);
        done
    }

    /// Lets the shards take note of what they do not get.
    fn refuse(&self, now: Now, ops: &[(u16, AppendOp)], me: &Waker) {
        let core = &self.broker.core;
        ops.iter().for_each(|(shard, op)| core.lock(*shard).refuse(op));
        for (shard, op) in ops.iter().filter(|_| planted::active(Bug::AppendRefused)) {
            let _refused = core.lock(*shard).append(now, op, me);
        }
    }

    fn append_admitted(
        &self,
        now: Now,
        ops: &[(u16, AppendOp)],
        me: &Waker,
        outcomes: &mut Outcomes,
    ) -> Result<(), Error> {
        for run in ops.chunk_by(|a, b| a.0 == b.0) {
            let mut locked = self.broker.core.lock(run[0].0);
            locked.durable = self.broker.wal.marks().get(Class::Durable);
            for (_, op) in run {
                outcomes.push(if op.batch.len() > OPERATION_MAX {
                    Err(Error::new(Kind::TooLarge, "the batch is larger than a frame takes"))
                } else {
                    match locked.append(now, op, me) {
                        // What follows must not come before it.
                        Err(error) if error.kind == Kind::Throttled => return Err(error),
                        outcome => outcome,
                    }
                });
            }
        }
        Ok(())
    }

    /// Admits an operation of that many bytes while little is staged, whatever its own size. What
    /// is admitted counts at once: many large ones at the same moment must not add up to a frame
    /// that is too large.
    fn admit<'a>(
        &'a self,
        bytes: usize,
        place: &mut LinePlace,
        me: &Waker,
    ) -> Result<Reserved<'a>, Error> {
        let core = &self.broker.core;
        if core.is_full() {
            *place = LinePlace::default();
            return Err(Error::new(Kind::Full, "the disk is full"));
        }
        core.admission.enter(bytes, place, me).ok_or_else(Error::in_line)
    }

    /// The same for those who have no place: they may fill a little more, so that they find room
    /// beside a line that never ends.
    fn admit_beside(&self, bytes: usize) -> Result<Reserved<'_>, Error> {
        let core = &self.broker.core;
        if core.is_full() {
            return Err(Error::new(Kind::Full, "the disk is full"));
        }
        core.admission.enter_beside(bytes).ok_or_else(|| self.throttled())
    }

    fn throttled(&self) -> Error {
        let next = self.broker.wal.marks().get(Class::Os) + 1;
        Error::throttled(Ticket::new(Class::Os, next))
    }

    /// Whether the stage takes effects of about so many bytes, which do not ask for room on the
    /// disk and stand in no line.
    pub(crate) fn has_room(&self, bytes: usize) -> Result<(), Error> {
        if self.broker.core.admission.takes_effects(bytes) {
            return Ok(());
        }
        Err(self.throttled())
    }

    /// A producer id that nobody else has or had; it may be used once the ticket is reached.
    pub fn producer_id(&self) -> (i64, Ticket) {
        let mut home = self.broker.core.lock(0);
        let id = home.registry.next_producer;
        home.registry.next_producer += 1;
        if id >= home.registry.producers_below {
            let below = id + PRODUCER_BLOCK;
            let ticket = home.stage(&Effect::ProducerIds { below });
            home.registry.producers_below = below;
            home.registry.producers_ticket = ticket;
        }
        let ticket = home.registry.producers_ticket;
        drop(home);
        self.broker.wal.notify();
        if planted::active(Bug::EarlyProducerIds) {
            return (id, Ticket::DONE);
        }
        (id, ticket)
    }
}

/// How many of the operations from the front on are admitted together, and their bytes: as many as
/// one frame takes besides a full stage. One that is too large by itself will not be staged.
fn fitting(ops: &[(u16, AppendOp)]) -> (usize, usize) {
    let mut bytes = 0;
    for (count, (_, op)) in ops.iter().enumerate() {
        let len = if op.batch.len() > OPERATION_MAX { 0 } else { op.batch.len() };
        if bytes + len > OPERATION_MAX {
            return (count, bytes);
        }
        bytes += len;
    }
    (ops.len(), bytes)
}
