//! Reading a partition by offset. Takes no shard's lock.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use sabir_storage::log::{Offset, Read};

use crate::caller::Caller;
use crate::topic::Partition;

/// What a read of a partition gave.
#[derive(Debug)]
pub struct Fetched {
    pub read: Read,
    /// The first and the next offset of the log.
    pub start: Offset,
    pub end: Offset,
}

impl Caller {
    /// Reads whole batches of a partition from the one that contains `from`, at most `max_bytes`;
    /// with `always_one` the first one in any case.
    pub fn fetch(
        &self,
        partition: &Partition,
        from: Offset,
        max_bytes: usize,
        always_one: bool,
    ) -> Fetched {
        let view = &partition.view;
        let read = view.read(from, max_bytes, always_one);
        if let Read::Batches(batches) = &read {
            let bytes: usize = batches.iter().map(Bytes::len).sum();
            self.counters.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Fetched { read, start: view.start(), end: view.visible() }
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
