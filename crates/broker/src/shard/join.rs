//! Single records join one batch of their log until the frame is cut, or something else is
//! appended to the log. So a small message costs little more than its bytes.

use sabir_storage::batch::encode::{Encoded, FRONT_MAX, Value};
use sabir_storage::batch::open::{BatchIx, Begin, OpenBatch};
use sabir_storage::frame::Section;
use sabir_storage::ticket::FrameNo;
use sabir_storage::wake::Waker;

use super::{LogState, Placed, Shard, wake};
use crate::clock::Now;
use crate::effect::{self, APPEND_FRONT};
use crate::error::Error;
use crate::limits::{JOINED_BYTES_MAX, JOINED_RECORDS_MAX, SHARE_MIN};
use crate::publish::{PublishOp, Target};

/// Which batch the records of a log join; of the past once that frame is cut.
#[derive(Clone, Copy, Default)]
pub struct Joining {
    frame: FrameNo,
    batch: BatchIx,
}

impl Shard {
    /// Places one record; `Placed::base` is its offset.
    ///
    /// # Errors
    /// `NotFound` when the log is gone; `Throttled` while it is not there yet; `Invalid` for a
    /// timestamp before 1970.
    pub fn publish(&mut self, now: Now, op: &PublishOp<'_>, me: &Waker) -> Result<Placed, Error> {
        let Shard { open, durable, epoch, stage, logs, dirty, .. } = self;
        let Target { log, append_time, batch_bytes_max, .. } = op.target;
        let log = logs.get_mut(&log).filter(|log| !log.view.is_gone());
        let log = log.ok_or_else(|| Error::not_found("the topic is gone"))?;
        let ticket = log.ticket(*open, *durable)?;
        let timestamp = op.timestamp.filter(|_| !append_time).unwrap_or(now.wall);
        if timestamp < 0 {
            return Err(Error::invalid("the timestamp lies before 1970"));
        }
        let record = shared_if_large(op.record);
        let bytes_max = batch_bytes_max.min(JOINED_BYTES_MAX);
        let fits = |batch: &OpenBatch| {
            batch.begin.class == log.class
                && batch.begin.append_time == append_time
                && batch.count < JOINED_RECORDS_MAX
                && batch.len() + record.size() + FRONT_MAX <= bytes_max
        };
        let Joining { frame, batch } = log.joining;
        let found = stage.joinable(batch).filter(|_| frame == *open);
        let at = match found.is_some_and(fits) {
            true => batch,
            false => log.begin(*open, *epoch, append_time, stage),
        };
        let base = log.next;
        log.next += 1;
        log.touch(dirty);
        log.counters.records += 1;
        log.counters.bytes += stage.join(at, timestamp, &record) as u64;
        wake(stage, log.class, me);
        let batch = stage.joinable(at).expect("it was just joined");
        assert_eq!(batch.next(), log.next, "offsets of log {} are dense", log.view.id);
        Ok(Placed { base, ticket, known: false, start: log.view.start() })
    }
}

/// Only what is worth it is shared.
fn shared_if_large<'a>(record: Encoded<'a>) -> Encoded<'a> {
    match record.value {
        Value::Shared(value) if value.len() < SHARE_MIN => {
            Encoded { value: Value::Copied(value), ..record }
        }
        _ => record,
    }
}

impl LogState {
    /// Begins a batch for records in the place of the one before.
    fn begin(
        &mut self,
        open: FrameNo,
        epoch: i32,
        append_time: bool,
        stage: &mut Section,
    ) -> BatchIx {
        self.end_joining(open, stage);
        let batch = stage.begin(Begin {
            view: self.view.clone(),
            class: self.class,
            base: self.next,
            leader_epoch: epoch,
            append_time,
            front: APPEND_FRONT,
        });
        self.joining = Joining { frame: open, batch };
        self.note_epoch(epoch, self.next);
        self.counters.batches += 1;
        self.counters.bytes += sabir_storage::batch::HEADER as u64;
        batch
    }

    /// What comes next of the log comes behind the batch that records have joined.
    pub(super) fn end_joining(&mut self, open: FrameNo, stage: &mut Section) {
        let Joining { frame, batch } = std::mem::take(&mut self.joining);
        if frame == open {
            effect::close(stage, batch);
        }
    }
}
