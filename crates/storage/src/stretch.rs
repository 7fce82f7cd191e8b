//! Reading stretches of logs out of blobs: whole batches, checked. What is served was compared with
//! the checksum it was written with; what does not agree is named and never served.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::blob::{BlobError, BlobId, BlobStore, Put, Result};
use crate::extent::Extent;
use crate::index::{self, REGION_BYTES, StretchIndex};
use crate::{bundle, segment};

#[cfg(test)]
mod tests;

/// One batch that is to be written into a blob.
#[derive(Clone, Debug)]
pub struct BatchRef {
    /// First offset.
    pub base: u64,
    /// The offset after its last.
    pub next: u64,
    /// Milliseconds since 1970.
    pub max_timestamp: i64,
    /// The whole batch and nothing else.
    pub bytes: Bytes,
}

/// Blobs made from batches, in the order in which they are to be put, and where the batches then
/// lie.
#[derive(Clone, Debug)]
pub struct Built {
    pub blobs: Vec<Put>,
    pub extents: Vec<Extent>,
}

/// Bytes of a batch before its records.
const BATCH_HEAD_BYTES: usize = 61;
/// Bytes of a batch that its length field does not count.
const LENGTH_SKIPS: usize = 12;

/// The fields of a batch that reading needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BatchHead {
    base: u64,
    next: u64,
    /// Bytes of the whole batch.
    len: usize,
    max_timestamp: i64,
}

impl BatchHead {
    /// None if no batch begins here that ends within these bytes.
    fn read(bytes: &[u8]) -> Option<BatchHead> {
        let head = bytes.first_chunk::<BATCH_HEAD_BYTES>()?;
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let long = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let base = u64::try_from(long(0)).ok()?;
        let len = usize::try_from(i32::from_be_bytes(word(8))).ok()? + LENGTH_SKIPS;
        let last_delta = u64::try_from(i32::from_be_bytes(word(23))).ok()?;
        let fits = head[16] == 2 && len >= BATCH_HEAD_BYTES && len <= bytes.len();
        let next = base + last_delta + 1;
        fits.then(|| BatchHead { base, next, len, max_timestamp: long(35) })
    }
}

/// The index of a stretch of one log, from its batches.
///
/// # Panics
/// If there are none, if they do not rise, or if one is not what its bytes say.
pub(crate) fn index_of(log: u64, batches: &[BatchRef]) -> StretchIndex {
    let mut builder = index::Builder::new(log);
    for batch in batches {
        let head = BatchHead::read(&batch.bytes).expect("a whole batch");
        let said = (batch.base, batch.next, batch.bytes.len());
        assert_eq!((head.base, head.next, head.len), said, "a batch that says otherwise");
        builder.add(batch.base, batch.next, batch.max_timestamp, &batch.bytes);
    }
    builder.finish()
}

/// Reads and checks the index of a stretch.
pub fn read_index(blobs: &dyn BlobStore, extent: &Extent) -> Result<StretchIndex> {
    let damaged = |blob, range, why: &str| Err(BlobError::damaged(blob, range, why));
    if !extent.is_sound() {
        return damaged(
            extent.blob,
            extent.position..extent.end(),
            "no writer makes such a stretch",
        );
    }
    let (index, from) = match extent.blob.index() {
        Some(ix) => (segment::read_index(blobs, ix)?, ix),
        None => (bundle::read_index(blobs, extent)?, extent.blob),
    };
    let found = (index.log, index.base, index.next, index.len, index.max_timestamp);
    let want = (extent.log, extent.base, extent.next, extent.len, extent.max_timestamp);
    if found != want {
        let range = extent.position..extent.end();
        return damaged(from, range, "its index is that of another stretch");
    }
    Ok(index)
}

/// What the blob says it holds: read from a bundle's footer, or from a segment's index. For a
/// segment, `blob` names its log part. Batches are not looked at.
pub fn read_footer(blobs: &dyn BlobStore, blob: BlobId) -> Result<Vec<Extent>> {
    match blob {
        BlobId::Bundle { shard, number } => bundle::read_footer(blobs, shard, number),
        BlobId::Segment { .. } => Ok(vec![segment::read_footer(blobs, blob)?]),
    }
}

/// Whole batches from the one that contains `from` on (or the first after it, where offsets have
/// gaps), at least one, otherwise at most `bytes_max`, each checked. Empty if all batches of the
/// stretch are below `from`. May end short of `bytes_max` by up to a region (16 KiB).
pub fn read_stretch(
    blobs: &dyn BlobStore,
    extent: &Extent,
    index: &StretchIndex,
    from: u64,
    bytes_max: u64,
) -> Result<Bytes> {
    if from >= extent.next {
        return Ok(Bytes::new());
    }
    let mut first = index.region_of(from);
    while first < index.regions() {
        let start = index.region(first).start;
        let enough = start.saturating_add(bytes_max).saturating_add(REGION_BYTES);
        let mut after = first + 1;
        while after < index.regions() && index.region(after).end <= enough {
            after += 1;
        }
        let bytes = read_regions(blobs, extent, index, first..after)?;
        let walked = walk(extent, start, &bytes)?;
        if let Some(begin) = walked.iter().position(|(_, head)| head.next > from) {
            let (place, head) = walked[begin];
            let whole = walked[begin..].iter().map(|(place, head)| place + head.len);
            let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(place);
            let end = whole.take_while(|end| *end <= limit).last().unwrap_or(place + head.len);
            return Ok(bytes.slice(place..end));
        }
        first = after;
    }
    Ok(Bytes::new())
}

/// Base offset of the first batch of the stretch whose highest timestamp is not below the given
/// one (milliseconds since 1970).
pub fn find_timestamp(
    blobs: &dyn BlobStore,
    extent: &Extent,
    index: &StretchIndex,
    timestamp: i64,
) -> Result<Option<u64>> {
    let Some(region) = index.region_of_timestamp(timestamp) else { return Ok(None) };
    let bytes = read_regions(blobs, extent, index, region..region + 1)?;
    let walked = walk(extent, index.region(region).start, &bytes)?;
    let found = walked.iter().find(|(_, head)| head.max_timestamp >= timestamp);
    Ok(found.map(|(_, head)| head.base))
}

/// Reads a blob whole and checks everything in it; for a segment, `blob` names its log part and
/// the index is checked with it. Returns what it holds.
pub fn verify(blobs: &dyn BlobStore, blob: BlobId) -> Result<Vec<Extent>> {
    /// Bytes per read, about.
    const STEP_BYTES: u64 = 4 << 20;
    let extents = read_footer(blobs, blob)?;
    for extent in &extents {
        let index = read_index(blobs, extent)?;
        let (mut first, mut next) = (0, extent.base);
        while first < index.regions() {
            let start = index.region(first).start;
            let mut after = first + 1;
            while after < index.regions() && index.region(after).end <= start + STEP_BYTES {
                after += 1;
            }
            let bytes = read_regions(blobs, extent, &index, first..after)?;
            for (_, head) in walk(extent, start, &bytes)? {
                if head.base < next {
                    let range = extent.position..extent.end();
                    return Err(BlobError::damaged(blob, range, "offsets that do not rise"));
                }
                next = head.next;
            }
            first = after;
        }
    }
    Ok(extents)
}

/// The bytes of some regions, each checked.
fn read_regions(
    blobs: &dyn BlobStore,
    extent: &Extent,
    index: &StretchIndex,
    regions: Range<usize>,
) -> Result<Bytes> {
    let (start, end) = (index.region(regions.start).start, index.region(regions.end - 1).end);
    let at = |place: u64| extent.position + place;
    if end > extent.len {
        let range = at(start)..at(end);
        return Err(BlobError::damaged(extent.blob, range, "its index goes beyond the stretch"));
    }
    let bytes = blobs.get(extent.blob, at(start)..at(end))?;
    for number in regions {
        let region = index.region(number);
        let place = |place: u64| usize::try_from(place - start).expect("inside a buffer");
        if !index.is_intact(number, &bytes[place(region.start)..place(region.end)]) {
            let range = at(region.start)..at(region.end);
            return Err(BlobError::damaged(extent.blob, range, "the checksum is wrong"));
        }
    }
    Ok(bytes)
}

/// The batches in checked bytes that begin `start` bytes into the stretch, each with its place.
fn walk(extent: &Extent, start: u64, bytes: &[u8]) -> Result<Vec<(usize, BatchHead)>> {
    let mut batches = Vec::new();
    let mut place = 0;
    while place < bytes.len() {
        let head = BatchHead::read(&bytes[place..])
            .filter(|head| extent.base <= head.base && head.next <= extent.next);
        let Some(head) = head else {
            let at = extent.position + start;
            let range = at + place as u64..at + bytes.len() as u64;
            return Err(BlobError::damaged(extent.blob, range, "no batch of this log begins here"));
        };
        batches.push((place, head));
        place += head.len;
    }
    Ok(batches)
}

/// Where a stretch begins: its index has the same name.
type Place = (BlobId, u64);

struct Cached {
    index: Arc<StretchIndex>,
    used: u64,
}

#[derive(Default)]
struct CacheInner {
    indexes: HashMap<Place, Cached, foldhash::fast::FixedState>,
    by_use: BTreeMap<u64, Place>,
    clock: u64,
    bytes: usize,
}

/// Indexes that were read lately, up to a number of bytes; the least recently used go first.
///
/// Invariant: `by_use` has each index once, under its last use; `bytes` is the sum of the weights.
pub struct IndexCache {
    inner: Mutex<CacheInner>,
    bytes_max: usize,
}

impl IndexCache {
    /// Bytes that are enough for the indexes of about 10 GiB.
    pub const BYTES_MAX: usize = 16 << 20;
    /// What an index takes in the maps, in bytes, about.
    const ENTRY_BYTES: usize = 128;

    pub fn new(bytes_max: usize) -> IndexCache {
        IndexCache { inner: Mutex::default(), bytes_max }
    }

    /// The index of a stretch, read and checked if it is not at hand.
    pub fn get(&self, blobs: &dyn BlobStore, extent: &Extent) -> Result<Arc<StretchIndex>> {
        let place = (extent.blob, extent.position);
        if let Some(index) = self.find(place) {
            return Ok(index);
        }
        let index = Arc::new(read_index(blobs, extent)?);
        self.put(place, index.clone());
        Ok(index)
    }

    /// Forgets what belongs to blobs that are gone.
    pub fn forget(&self, blobs: &[BlobId]) {
        let inner = &mut *self.inner.lock();
        let gone: Vec<Place> =
            inner.indexes.keys().filter(|(blob, _)| blobs.contains(blob)).copied().collect();
        gone.into_iter().for_each(|place| inner.remove(place));
    }

    /// Bytes in use, about.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    fn find(&self, place: Place) -> Option<Arc<StretchIndex>> {
        let inner = &mut *self.inner.lock();
        inner.clock += 1;
        let cached = inner.indexes.get_mut(&place)?;
        inner.by_use.remove(&cached.used);
        cached.used = inner.clock;
        inner.by_use.insert(inner.clock, place);
        Some(cached.index.clone())
    }

    fn put(&self, place: Place, index: Arc<StretchIndex>) {
        let inner = &mut *self.inner.lock();
        inner.remove(place);
        inner.clock += 1;
        let used = inner.clock;
        inner.bytes += index.weight() + Self::ENTRY_BYTES;
        inner.indexes.insert(place, Cached { index, used });
        inner.by_use.insert(used, place);
        while inner.bytes > self.bytes_max {
            let Some((_, oldest)) = inner.by_use.first_key_value() else { break };
            inner.remove(*oldest);
        }
    }
}

impl CacheInner {
    fn remove(&mut self, place: Place) {
        if let Some(cached) = self.indexes.remove(&place) {
            self.by_use.remove(&cached.used);
            self.bytes -= cached.index.weight() + IndexCache::ENTRY_BYTES;
        }
    }
}
