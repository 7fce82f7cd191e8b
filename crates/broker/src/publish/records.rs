//! Publishing single records: of each, all is encoded before its shard is entered, which then only
//! decides its place and copies it.

use std::sync::atomic::Ordering;

use sabir_storage::batch::HEADER;
use sabir_storage::batch::encode::{Encoded, FRONT_MAX};
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

    fn is_too_large(&self) -> bool {
        self.staged_max() > OPERATION_MAX
    }
}

impl Caller {
    /// Publishes single records, each to its log; puts one outcome for each into `outcomes`, in
    /// order, in the place of what it held. Whoever resolved the targets has asked for permission.
    ///
    /// Up to [`TURN_BYTES`] of them enter each shard once. From the first that finds no room on,
    /// all are `Throttled`; a log that is not there yet throttles what follows in its shard too.
    /// So trying the throttled ones again in their order, once the ticket that the error names is
    /// reached, keeps the order of each log.
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
        let mut from = 0;
        while from < ops.len() {
            let (count, bytes) = turn(&ops[from..]);
            let to = from + count;
            let reserved = match self.admit_beside(bytes) {
                Ok(reserved) => reserved,
                Err(error) => {
                    outcomes[from..].fill(Err(error));
                    break;
                }
            };
            let all = self.publish_admitted(now, &ops[from..to], me, &mut outcomes[from..to]);
            drop(reserved);
            if !all {
                break;
            }
            from = to;
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

    /// Enters each shard once. False if something is throttled: its outcome stays as it is.
    fn publish_admitted(
        &self,
        now: Now,
        ops: &[PublishOp<'_>],
        me: &Waker,
        outcomes: &mut [Outcome],
    ) -> bool {
        let mut all = true;
        for (at, op) in ops.iter().enumerate() {
            let shard = op.target.shard;
            // There are few shards, so this looks at few operations.
            if ops[..at].iter().any(|before| before.target.shard == shard) {
                continue;
            }
            let mut locked = self.broker.core.lock(shard);
            locked.durable = self.broker.wal.marks().get(Class::Durable);
            let mine = ops[at..].iter().zip(&mut outcomes[at..]);
            for (op, outcome) in mine.filter(|(op, _)| op.target.shard == shard) {
                let taken = match op.is_too_large() {
                    true => Err(too_large()),
                    false => locked.publish(now, op, me),
                };
                if taken.as_ref().is_err_and(|error| error.kind == Kind::Throttled) {
                    all = false;
                    break;
                }
                *outcome = taken;
            }
        }
        all
    }
}

/// How many of the operations make up one turn, and the bytes that they take at most.
fn turn(ops: &[PublishOp<'_>]) -> (usize, usize) {
    let mut bytes = 0;
    for (at, op) in ops.iter().enumerate() {
        if bytes >= TURN_BYTES {
            return (at, bytes);
        }
        bytes += if op.is_too_large() { 0 } else { op.staged_max() };
    }
    (ops.len(), bytes)
}

fn too_large() -> Error {
    Error::new(Kind::TooLarge, "the record is larger than a frame takes")
}
