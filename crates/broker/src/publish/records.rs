//! Publishing single records: of each, all is encoded before its shard is entered, which then only
//! decides its place and copies it.

use std::sync::atomic::Ordering;

use sabir_storage::batch::HEADER;
use sabir_storage::batch::encode::Encoded;
use sabir_storage::batch::encode::FRONT_MAX;
use sabir_storage::log::LogId;
use sabir_storage::ticket::Class;
use sabir_storage::wake::Waker;

use crate::caller::Caller;
use crate::clock::{Now, WallMs};
use crate::effect::APPEND_FRONT;
use crate::error::{Error, Kind};
use crate::limits::{OPERATION_MAX, TURN_BYTES};
use crate::quota::Charge;
use crate::shard::Placed;
use crate::topic::Topic;

/// Where a record goes, and what its batch has to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub shard: u16,
    pub log: LogId,
    /// Bytes of a batch that several records have joined at most.
    pub batch_bytes_max: usize,
    /// The broker's time replaces the record's.
    pub append_time: bool,
}

/// A record to publish.
#[derive(Clone, Copy, Debug)]
pub struct PublishOp<'a> {
    pub target: Target,
    pub record: Encoded<'a>,
    /// Milliseconds since 1970; none = the time at which it is taken.
    pub timestamp: Option<WallMs>,
}

/// What became of a record: its offset is `Placed::base`.
pub type Outcome = Result<Placed, Error>;

impl Topic {
    /// Where records for this partition go; none if there is no such partition.
    pub fn target(&self, partition: usize) -> Option<Target> {
        let partition = self.partitions.get(partition)?;
        let batch_bytes_max = usize::try_from(self.effective.message_bytes_max).unwrap_or(0);
        let append_time = self.effective.append_time;
        Some(Target { shard: partition.shard, log: partition.log, batch_bytes_max, append_time })
    }

    /// Whether the topic's policy takes such a record.
    ///
    /// # Errors
    /// `TooLarge` when not even a batch of its own would do; `Invalid` when its timestamp lies too
    /// far before or behind the broker's time.
    pub fn takes(
        &self,
        now: Now,
        record: &Encoded<'_>,
        timestamp: Option<WallMs>,
    ) -> Result<(), Error> {
        let (size, most) = (record.size_alone(), self.effective.message_bytes_max);
        if i64::try_from(size).unwrap_or(i64::MAX) > most {
            let message = format!("the record takes {size} bytes, the topic takes {most}");
            return Err(Error::new(Kind::TooLarge, message));
        }
        let Some(timestamp) = timestamp.filter(|_| !self.effective.append_time) else {
            return Ok(());
        };
        let after = timestamp.saturating_sub(now.wall) > self.effective.after_ms_max;
        let before = now.wall.saturating_sub(timestamp) > self.effective.before_ms_max;
        if timestamp < 0 || after || before {
            return Err(Error::invalid("the timestamp is out of the allowed range"));
        }
        Ok(())
    }
}

impl PublishOp<'_> {
    /// Bytes that it takes in the stage at most.
    fn staged_max(&self) -> usize {
        APPEND_FRONT + HEADER + FRONT_MAX + self.record.size()
    }
}

impl Caller {
    /// Publishes single records, each to its log; puts one outcome for each into `outcomes`, in
    /// order, in the place of what it held. Whoever resolved the targets has asked for permission.
    ///
    /// A shard is entered once for all records that go there, in their order; shards in the order
    /// in which they come first. A record that is `Throttled` may be tried again once the ticket
    /// that the error names is reached; so are all records for its shard behind it, so that
    /// trying the throttled ones again in their order keeps the order of each log.
    ///
    /// Errors of a record: `Throttled`; `Full` while the disk is; `TooLarge` above
    /// [`OPERATION_MAX`]; `NotFound` when the log is gone; `Invalid` for its timestamp.
    pub fn publish(
        &self,
        now: Now,
        ops: &[PublishOp<'_>],
        me: &Waker,
        outcomes: &mut Vec<Outcome>,
    ) {
        outcomes.clear();
        outcomes.resize_with(ops.len(), || Err(self.throttled()));
        for (at, op) in ops.iter().enumerate() {
            let shard = op.target.shard;
            // There are few shards, so this looks at few operations.
            if !ops[..at].iter().any(|before| before.target.shard == shard) {
                self.publish_on(shard, now, &ops[at..], me, &mut outcomes[at..]);
            }
        }
        self.broker.wal.notify();
        let mut bytes = 0;
        for (op, _) in ops.iter().zip(&*outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            self.counters.records_in.fetch_add(1, Ordering::Relaxed);
            self.counters.bytes_in.fetch_add(op.record.size() as u64, Ordering::Relaxed);
            bytes += op.record.size() as u64;
        }
        self.charge(now, Charge::BytesIn, bytes);
    }

    /// Publishes those of the operations that go to one shard. The outcomes of those that are not
    /// reached stay as they are: throttled.
    fn publish_on(
        &self,
        shard: u16,
        now: Now,
        ops: &[PublishOp<'_>],
        me: &Waker,
        outcomes: &mut [Outcome],
    ) {
        let core = &self.broker.core;
        let here = |op: &PublishOp<'_>| op.target.shard == shard;
        let (mut ops, mut outcomes) = (ops, outcomes);
        while !ops.is_empty() {
            let (turn, bytes) = turn(ops, here);
            let reserved = self.admit(core, bytes);
            if let Err(error) = reserved {
                let refused = ops.iter().zip(outcomes).filter(|(op, _)| here(op));
                return refused.for_each(|(_, outcome)| *outcome = Err(error.clone()));
            }
            let mut locked = core.lock(shard);
            locked.durable = self.broker.wal.marks().get(Class::Durable);
            for (op, outcome) in ops[..turn].iter().zip(&mut *outcomes).filter(|(op, _)| here(op)) {
                *outcome = match op.staged_max() > OPERATION_MAX {
                    true => {
                        Err(Error::new(Kind::TooLarge, "the record is larger than a frame takes"))
                    }
                    false => locked.publish(now, op, me),
                };
                if outcome.as_ref().is_err_and(|error| error.kind == Kind::Throttled) {
                    return;
                }
            }
            drop(locked);
            drop(reserved);
            (ops, outcomes) = (&ops[turn..], &mut outcomes[turn..]);
        }
    }
}

/// How many of the operations, others among them, make up one turn in their shard, and the bytes
/// it takes at most. What is too large takes none.
fn turn<'a>(ops: &[PublishOp<'a>], here: impl Fn(&PublishOp<'a>) -> bool) -> (usize, usize) {
    let mut bytes = 0;
    for (at, op) in ops.iter().enumerate().filter(|(_, op)| here(op)) {
        if bytes >= TURN_BYTES {
            return (at, bytes);
        }
        let size = op.staged_max();
        bytes += if size > OPERATION_MAX { 0 } else { size };
    }
    (ops.len(), bytes)
}
