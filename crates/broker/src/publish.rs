//! The publish path: admission, then each batch into its shard under one short lock.

use std::sync::atomic::Ordering;

use sabir_storage::planted::{self, Bug};
use sabir_storage::ticket::{Class, Ticket};
use sabir_storage::wake::Waker;

use crate::caller::Caller;
use crate::clock::Now;
use crate::core::{Core, Reserved};
use crate::effect::Effect;
use crate::error::{Error, Kind};
use crate::limits::{OPERATION_MAX, PRODUCER_BLOCK, STAGED_MAX};
use crate::quota::Charge;
use crate::shard::{AppendOp, Placed};

mod records;

pub use records::{Outcome, PublishOp, Target};

impl Caller {
    /// Appends validated batches, each to its log; one outcome per batch, in order. Shards are
    /// locked one after the other, so each batch stands for itself.
    pub fn append(
        &self,
        now: Now,
        ops: &[(u16, AppendOp)],
        me: &Waker,
    ) -> Vec<Result<Placed, Error>> {
        let core = &self.broker.core;
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut rest = ops;
        while let Some((shard, _)) = rest.first() {
            let run = rest.iter().take_while(|op| op.0 == *shard).count();
            let bytes = rest[..run].iter().map(|(_, op)| op.batch.len()).sum();
            let reserved = match self.admit(core, bytes) {
                Ok(reserved) => reserved,
                Err(error) => {
                    rest.iter().for_each(|(shard, op)| core.lock(*shard).refuse(op));
                    for (shard, op) in rest.iter().filter(|_| planted::active(Bug::AppendRefused)) {
                        let _refused = core.lock(*shard).append(now, op, me);
                    }
                    outcomes.extend(rest.iter().map(|_| Err(error.clone())));
                    break;
                }
            };
            let mut locked = core.lock(*shard);
            locked.durable = self.broker.wal.marks().get(Class::Durable);
            for (_, op) in &rest[..run] {
                outcomes.push(if op.batch.len() > OPERATION_MAX {
                    Err(Error::new(Kind::TooLarge, "the batch is larger than a frame takes"))
                } else {
                    locked.append(now, op, me)
                });
            }
            drop(locked);
            drop(reserved);
            rest = &rest[run..];
        }
        assert_eq!(outcomes.len(), ops.len(), "one outcome for each operation");
        self.broker.wal.notify();
        let mut bytes = 0;
        for ((_, op), _) in ops.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            let records = u64::from(op.header.count.unsigned_abs());
            self.counters.records_in.fetch_add(records, Ordering::Relaxed);
            self.counters.bytes_in.fetch_add(op.batch.len() as u64, Ordering::Relaxed);
            bytes += op.batch.len() as u64;
        }
        self.charge(now, Charge::BytesIn, bytes);
        outcomes
    }

    /// Admits an operation of that many bytes while little is staged, whatever its own size. What
    /// is admitted counts at once: many large ones at the same moment must not add up to a frame
    /// that is too large.
    fn admit<'a>(&self, core: &'a Core, bytes: usize) -> Result<Reserved<'a>, Error> {
        if core.is_full() {
            return Err(Error::new(Kind::Full, "the disk is full"));
        }
        core.reserve(bytes, STAGED_MAX).ok_or_else(|| self.throttled())
    }

    fn throttled(&self) -> Error {
        let next = self.broker.wal.marks().get(Class::Os) + 1;
        Error::throttled(Ticket::new(Class::Os, next))
    }

    /// Whether the stage takes another operation, which does not ask for room on the disk.
    pub(crate) fn has_room(&self, core: &Core) -> Result<(), Error> {
        if core.staged_bytes() < STAGED_MAX {
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
