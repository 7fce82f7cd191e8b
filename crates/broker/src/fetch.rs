//! Reading a partition by offset. Takes no shard's lock, and never waits for a disk.

use bytes::Bytes;
use sabir_storage::log::{Offset, Read};
use sabir_storage::reader::Cold;
use sabir_storage::wake::Waker;

use crate::caller::Caller;
use crate::error::{Error, Kind};
use crate::topic::Partition;

/// What a read of a partition gave.
#[derive(Debug)]
pub struct Fetched {
    pub found: Found,
    /// The first and the next offset of the log.
    pub start: Offset,
    pub end: Offset,
}

/// What lies at an offset.
#[derive(Debug)]
pub enum Found {
    /// Whole batches in order, the first of which contains the offset. Empty if none fits.
    Batches(Vec<Bytes>),
    /// It is being read from a disk: the waker will be woken.
    Pending,
    /// The offset is the end: nothing is there yet.
    AtEnd,
    /// Before the start or behind the end.
    OutOfRange,
    /// It cannot be read.
    Failed(Error),
}

impl Caller {
    /// Reads whole batches of a partition from the one that contains `from`, at most `max_bytes`;
    /// with `always_one` the first one in any case. What of it goes to the client is
    /// told to [`Caller::hand_out`].
    pub fn fetch(
        &self,
        partition: &Partition,
        from: Offset,
        max_bytes: usize,
        always_one: bool,
        me: &Waker,
    ) -> Fetched {
        let view = &partition.view;
        let found = match view.read(from, max_bytes, always_one) {
            Read::Batches(batches) => Found::Batches(batches),
            Read::AtEnd => Found::AtEnd,
            Read::OutOfRange => Found::OutOfRange,
            Read::Cold(extent) => match self.broker.reader.read(&extent, from, max_bytes, me) {
                Cold::Batches(bytes) if bytes.len() > max_bytes && !always_one => {
                    Found::Batches(Vec::new())
                }
                Cold::Batches(bytes) => Found::Batches(vec![bytes]),
                Cold::Pending => Found::Pending,
                Cold::Failed(_) if from < view.start() => Found::OutOfRange,
                Cold::Failed(error) => {
                    tracing::error!(%error, log = view.id, offset = from, "cannot be read");
                    Found::Failed(Error::new(Kind::Broken, error.to_string()))
                }
            },
        };
        Fetched { found, start: view.start(), end: view.visible() }
    }

    /// Under which opening of the broker appends happen now.
    pub fn epoch(&self) -> i32 {
        self.broker.epoch
    }

    /// Where the log ended when `epoch`, or the largest known one below it, was the last to append.
    pub fn epoch_end(&self, partition: &Partition, epoch: i32) -> Option<(i32, Offset)> {
        self.broker.core.lock(partition.shard).logs.get(&partition.log)?.epoch_end(epoch)
    }
}
