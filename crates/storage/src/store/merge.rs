//! Merging of small stretches: a log that is written a little at a time gets a stretch at every
//! checkpoint, and many small ones become few large ones, each byte a few times at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{SEGMENT_MIN, Store, StoreError};
use crate::batch::split;
use crate::blob::{BlobError, BlobId};
use crate::extent::Extent;
use crate::log::{LogId, LogView};
use crate::stretch::{self, BatchRef};

/// So many neighbours of one size class become one.
pub const MERGE: usize = 16;
/// Bytes that one checkpoint merges at most.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes read at once.
const READ: u64 = 4 << 20;

impl Store {
    /// Merges what the touched logs have too much of, writing at most `spare` bytes. Returns blobs
    /// that nobody uses any more, to be deleted after the next commit.
    pub fn merge(&self, spare: u64) -> Result<Vec<BlobId>, StoreError> {
        let touched = self.touched.lock().clone();
        let mut room = BYTES_MAX.min(spare);
        let mut by_shard: BTreeMap<u16, Vec<(LogId, Vec<BatchRef>)>> = BTreeMap::new();
        let mut replaced: Vec<(Arc<LogView>, Vec<Extent>)> = Vec::new();
        for view in touched {
            let Some(run) = due(&view.extents()) else { continue };
            let bytes: u64 = run.iter().map(|extent| extent.len).sum();
            if bytes > room || replaced.iter().any(|(known, _)| known.id == view.id) {
                continue;
            }
            room -= bytes;
            let mut batches = Vec::new();
            let loaded = run.iter().try_for_each(|extent| self.load(extent, &mut batches));
            match loaded {
                Ok(()) => {}
                Err(error @ BlobError::Io { .. }) => return Err(error.into()),
                Err(error) => {
                    // It stays where it is: readers of it are told, everybody else goes on.
                    tracing::error!(%error, log = view.id, "cannot be merged");
                    continue;
                }
            }
            by_shard.entry(view.shard).or_default().push((view.id, batches));
            replaced.push((view, run));
        }
        let mut made = BTreeMap::new();
        for (shard, logs) in by_shard {
            for extent in self.put_merged(shard, logs)? {
                made.insert(extent.log, extent);
            }
        }
        assert_eq!(made.len(), replaced.len(), "one merged stretch for each log");
        let mut free = Vec::new();
        for (view, run) in replaced {
            let merged = made.remove(&view.id).expect("one stretch for each log");
            *self.uses.lock().entry(merged.blob).or_default() += 1;
            view.replace_extents(&run, merged);
            free.extend(self.release(&run));
        }
        Ok(free)
    }

    fn load(&self, extent: &Extent, into: &mut Vec<BatchRef>) -> Result<(), BlobError> {
        let index = self.indexes.get(&*self.blobs, extent)?;
        let mut from = extent.base;
        while from < extent.next {
            let bytes = stretch::read_stretch(&*self.blobs, extent, &index, from, READ)?;
            let before = into.len();
            for batch in split(&bytes) {
                let (header, bytes) = batch.map_err(|error| {
                    let range = extent.position..extent.end();
                    BlobError::damaged(extent.blob, range, error)
                })?;
                into.push(BatchRef {
                    base: header.base_offset.unsigned_abs(),
                    next: header.next_offset().unsigned_abs(),
                    max_timestamp: header.max_timestamp,
                    bytes,
                });
            }
            if into.len() == before {
                break;
            }
            from = into.last().map_or(extent.next, |last| last.next);
        }
        Ok(())
    }

    fn put_merged(
        &self,
        shard: u16,
        logs: Vec<(LogId, Vec<BatchRef>)>,
    ) -> Result<Vec<Extent>, StoreError> {
        let mut built = Vec::new();
        let mut small = Vec::new();
        for (log, batches) in logs {
            let len: u64 = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
            if len >= SEGMENT_MIN {
                built.push(crate::segment::build(shard, log, self.next_rewrite(), &batches));
            } else {
                small.push((log, batches));
            }
        }
        if !small.is_empty() {
            built.push(crate::bundle::build(shard, self.next_bundle(), small));
        }
        let puts: Vec<_> = built.iter().flat_map(|built| built.blobs.clone()).collect();
        self.put_new(&puts)?;
        Ok(built.into_iter().flat_map(|built| built.extents).collect())
    }
}

/// The oldest run of [`MERGE`] neighbours that are small and of one size class.
fn due(extents: &[Extent]) -> Option<Vec<Extent>> {
    let class = |extent: &Extent| extent.len.max(1).ilog2() / MERGE.ilog2();
    let small = |extent: &Extent| extent.len < SEGMENT_MIN;
    let alike = |run: &&[Extent]| {
        small(&run[0]) && run.iter().all(|extent| small(extent) && class(extent) <= class(&run[0]))
    };
    extents.windows(MERGE).find(alike).map(<[Extent]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(at: u64, len: u64) -> Extent {
        let blob = BlobId::Bundle { shard: 0, number: at };
        Extent { log: 1, blob, position: 0, len, base: at, next: at + 1, max_timestamp: 0 }
    }

    #[test]
    fn sixteen_neighbours_of_a_size_are_merged_and_large_ones_never() {
        let check = |lens: &[u64], want: Option<u64>| {
            let extents: Vec<_> = (0..).zip(lens).map(|(at, len)| extent(at, *len)).collect();
            assert_eq!(due(&extents).map(|run| run[0].base), want, "{lens:?}");
        };
        check(&[100; 15], None);
        check(&[100; 16], Some(0));
        check(&[[5 << 20; 4].as_slice(), &[100; 16]].concat(), Some(4));
        check(&[8 << 20; 40], None);
        check(&[[100_000; 3].as_slice(), &[100; 10]].concat(), None);
        check(&[[100_000; 3].as_slice(), &[100; 16]].concat(), Some(0));
    }
}
