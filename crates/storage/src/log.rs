//! What readers see of one log: what lies in blobs, what lies in memory, and how far it may be
//! read. Appending goes through the WAL; no reader takes a lock that appenders of other logs take.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::extent::{Extent, PAGE_EXTENTS};
use crate::planted::{self, Bug};
use crate::stretch::BatchRef;
use crate::ticket::{Class, FrameNo};
use crate::wake::Waker;

/// Names one log for ever; never reused.
pub type LogId = u64;
/// Place of a record in its log, from 0.
pub type Offset = i64;

/// A batch on its way into a frame.
pub struct Appended {
    pub view: Arc<LogView>,
    /// Where the batch begins, counted from the first effect of its section.
    pub at: usize,
    pub len: usize,
    pub base: Offset,
    pub next: Offset,
    pub max_timestamp: i64,
    pub class: Class,
}

/// A batch that is in memory.
#[derive(Clone, Debug)]
pub struct TailBatch {
    pub base: Offset,
    pub next: Offset,
    /// Milliseconds since 1970.
    pub max_timestamp: i64,
    pub frame: FrameNo,
    pub bytes: Bytes,
}

/// What a read found.
#[derive(Debug, PartialEq)]
pub enum Read {
    /// Whole batches in offset order, the first of which contains the offset asked for. Empty if
    /// there are some and none fits.
    Batches(Vec<Bytes>),
    /// It lies in this stretch of a blob.
    Cold(Extent),
    /// Nothing visible there yet: the offset is the end.
    AtEnd,
    /// Before the start or behind the end.
    OutOfRange,
}

/// One log. Invariants: start <= visible <= the next offset of the last batch; extents and tail
/// rise without gaps between them; the tail may repeat what extents have, as a cache.
pub struct LogView {
    pub id: LogId,
    pub shard: u16,
    start: AtomicI64,
    visible: AtomicI64,
    segment_bytes: AtomicU64,
    /// The log was deleted: nothing of it is read or written any more.
    gone: AtomicBool,
    body: RwLock<Body>,
    watched: AtomicBool,
    watchers: Mutex<Vec<Waker>>,
}

struct Body {
    extents: VecDeque<Extent>,
    /// Ordinal of the first of `extents`; ordinals give them their pages in the state rows.
    first: u64,
    /// The first offset that no blob holds.
    bundled: Offset,
    tail: VecDeque<TailBatch>,
    /// Pages from this one on differ from the stored ones.
    dirty_from: Option<u64>,
    /// The pages that are stored: from, to (exclusive).
    stored: (u64, u64),
}

/// Changes of the extent pages of a log since they were last stored.
#[derive(Debug, Default, PartialEq)]
pub struct Pages {
    /// Page number, ordinal of its first extent, and its extents.
    pub put: Vec<(u64, u64, Vec<Extent>)>,
    /// Pages that no longer exist: from, to (exclusive).
    pub gone: Vec<(u64, u64)>,
}

impl LogView {
    pub fn new(id: LogId, shard: u16, start: Offset, end: Offset) -> LogView {
        LogView::restored(id, shard, start, end, 0, VecDeque::new())
    }

    /// A log as its rows describe it: `first` is the ordinal of the first extent.
    pub fn restored(
        id: LogId,
        shard: u16,
        start: Offset,
        end: Offset,
        first: u64,
        extents: VecDeque<Extent>,
    ) -> LogView {
        assert!(0 <= start && start <= end, "log {id} from {start} to {end}");
        let page = |ordinal: u64| ordinal / PAGE_EXTENTS as u64;
        let stored = (page(first), page(first + extents.len() as u64) + 1);
        let bundled = extents.back().map_or(start, |last| to_offset(last.next)).max(start);
        LogView {
            id,
            shard,
            start: AtomicI64::new(start),
            visible: AtomicI64::new(end),
            segment_bytes: AtomicU64::new(u64::MAX),
            gone: AtomicBool::new(false),
            body: RwLock::new(Body {
                extents,
                first,
                bundled,
                tail: VecDeque::new(),
                dirty_from: None,
                stored,
            }),
            watched: AtomicBool::new(false),
            watchers: Mutex::default(),
        }
    }

    /// The first offset that may be read.
    pub fn start(&self) -> Offset {
        self.start.load(Ordering::Acquire)
    }

    /// The offset after the last one that may be read.
    pub fn visible(&self) -> Offset {
        self.visible.load(Ordering::Acquire)
    }

    /// Bytes of one stretch of the log in a blob at most.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    pub fn set_segment_bytes(&self, bytes: u64) {
        self.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The first offset that no blob holds.
    pub fn bundled(&self) -> Offset {
        self.body.read().bundled
    }

    /// Bytes that the log takes in blobs and, where no blob has them yet, in memory.
    pub fn bytes(&self) -> u64 {
        let body = self.body.read();
        let blobs: u64 = body.extents.iter().map(|extent| extent.len).sum();
        let fresh = body.tail.iter().filter(|batch| batch.next > body.bundled);
        blobs + fresh.map(|batch| batch.bytes.len() as u64).sum::<u64>()
    }

    /// All stretches in blobs, in order.
    pub fn extents(&self) -> Vec<Extent> {
        self.body.read().extents.iter().copied().collect()
    }

    /// The batches in memory that may be read, in order.
    pub fn tail(&self) -> Vec<TailBatch> {
        let visible = self.visible();
        let body = self.body.read();
        body.tail.iter().take_while(|batch| batch.next <= visible).cloned().collect()
    }

    /// The log was deleted: its memory goes now, its blobs with the next checkpoint. Who waits for
    /// more of it is woken to find that out.
    pub fn remove(&self) {
        self.gone.store(true, Ordering::Release);
        self.body.write().tail.clear();
        let mut woken = Vec::new();
        self.take_watchers(&mut woken);
        woken.iter().for_each(Waker::wake);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Takes a batch that a frame holds; it stays invisible until [`LogView::show`].
    pub fn push(&self, batch: TailBatch) {
        let mut body = self.body.write();
        if self.gone.load(Ordering::Acquire) {
            return;
        }
        match body.tail.back() {
            Some(last) => {
                assert_eq!(last.next, batch.base, "batches of log {} are contiguous", self.id);
            }
            // A log that is deleted later in the WAL may lack what lay before: nobody reads it.
            None => body.bundled = body.bundled.max(batch.base),
        }
        body.tail.push_back(batch);
    }

    /// Makes everything below `upto` visible; adds whom to wake to `woken`.
    pub fn show(&self, upto: Offset, woken: &mut Vec<Waker>) {
        let before = self.visible.fetch_max(upto, Ordering::AcqRel);
        assert!(before <= upto, "what is visible stays visible");
        self.take_watchers(woken);
    }

    fn take_watchers(&self, woken: &mut Vec<Waker>) {
        if self.watched.swap(false, Ordering::AcqRel) {
            let mut watchers = self.watchers.lock();
            if planted::active(Bug::LoseReader) {
                watchers.clear();
            }
            woken.append(&mut watchers);
        }
    }

    /// Wakes `waker` once when more becomes visible. Look again after registering: what became
    /// visible in between wakes nobody.
    pub fn watch(&self, waker: &Waker) {
        let mut watchers = self.watchers.lock();
        if !watchers.iter().any(|known| known.same(waker)) {
            watchers.push(waker.clone());
        }
        self.watched.store(true, Ordering::Release);
    }

    /// Forgets a waker that no longer waits.
    pub fn unwatch(&self, waker: &Waker) {
        self.watchers.lock().retain(|known| !known.same(waker));
    }

    /// Whole batches from the one that contains `from`, at most `max_bytes`; with `always_one` the
    /// first one in any case.
    pub fn read(&self, from: Offset, max_bytes: usize, always_one: bool) -> Read {
        let visible = self.visible();
        if from < self.start() || from > visible || self.gone.load(Ordering::Acquire) {
            return Read::OutOfRange;
        }
        if from == visible {
            return Read::AtEnd;
        }
        let body = self.body.read();
        if body.tail.front().is_none_or(|first| from < first.base) {
            return body.cold(from);
        }
        let first = body.tail.partition_point(|batch| batch.next <= from);
        let mut found = Vec::new();
        let mut room = max_bytes;
        for batch in body.tail.range(first..).take_while(|batch| batch.next <= visible) {
            if batch.bytes.len() > room && !(always_one && found.is_empty()) {
                return Read::Batches(found);
            }
            room = room.saturating_sub(batch.bytes.len());
            found.push(batch.bytes.clone());
        }
        assert!(!found.is_empty(), "offset {from} of log {} is nowhere", self.id);
        Read::Batches(found)
    }

    /// Moves the start: what lies below may no longer be read.
    pub fn set_start(&self, start: Offset) {
        assert!(start <= self.visible(), "log {} cannot start behind its end", self.id);
        self.start.fetch_max(start, Ordering::AcqRel);
        let mut body = self.body.write();
        body.bundled = body.bundled.max(start);
        while body.tail.front().is_some_and(|first| first.next <= start) {
            body.tail.pop_front();
        }
    }

    /// The batches of frames up to `upto` that no blob holds yet.
    pub fn unbundled(&self, upto: FrameNo) -> Vec<BatchRef> {
        let body = self.body.read();
        let fresh = body.tail.iter().filter(|batch| batch.next > body.bundled);
        let due = fresh.take_while(|batch| batch.frame <= upto);
        due.map(|batch| BatchRef {
            base: batch.base.unsigned_abs(),
            next: batch.next.unsigned_abs(),
            max_timestamp: batch.max_timestamp,
            bytes: batch.bytes.clone(),
        })
        .collect()
    }

    /// Takes note of stretches that blobs hold now.
    pub fn add_extents(&self, extents: &[Extent]) {
        let mut body = self.body.write();
        for extent in extents {
            // The start may have moved past what was on its way into a blob.
            let follows = body.extents.back().is_none_or(|last| last.next <= extent.base)
                && to_offset(extent.base) <= body.bundled;
            assert!(follows, "extents of log {} follow one another", self.id);
            let ordinal = body.first + body.extents.len() as u64;
            body.touch(ordinal);
            body.extents.push_back(*extent);
            body.bundled = body.bundled.max(to_offset(extent.next));
        }
    }

    /// The offsets below `next`, from the start on, that neither a blob nor memory has: none,
    /// unless what was durable is lost.
    pub fn missing(&self, next: Offset) -> Option<(Offset, Offset)> {
        let body = self.body.read();
        let mut have = self.start();
        let blobs = body.extents.iter().map(|extent| (to_offset(extent.base), extent.next));
        let blobs = blobs.map(|(base, next)| (base, to_offset(next)));
        let memory = body.tail.iter().map(|batch| (batch.base, batch.next));
        for (base, next) in blobs.chain(memory) {
            if base > have {
                return Some((have, base));
            }
            have = have.max(next);
        }
        (have < next).then_some((have, next))
    }

    /// Puts one stretch in the place of a run of neighbours that has the same batches.
    pub fn replace_extents(&self, run: &[Extent], merged: Extent) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let same = (merged.log, merged.base, merged.next) == (self.id, first.base, last.next);
        assert!(same, "{merged:?} does not stand for {first:?} to {last:?}");
        let mut body = self.body.write();
        let at = body.extents.partition_point(|extent| extent.base < first.base);
        let found = body.extents.range(at..).take(run.len()).eq(run.iter());
        assert!(found, "log {} has no such run of stretches", self.id);
        let ordinal = body.first + at as u64;
        body.touch(ordinal);
        body.extents.drain(at..at + run.len());
        body.extents.insert(at, merged);
    }

    /// Lets go of batches of frames up to `upto` that blobs hold.
    pub fn evict(&self, upto: FrameNo) {
        let mut body = self.body.write();
        let bundled = body.bundled;
        while body.tail.front().is_some_and(|first| first.frame <= upto && first.next <= bundled) {
            body.tail.pop_front();
        }
    }

    /// All extents are to be stored, as if each was new.
    pub fn touch_extents(&self) {
        let mut body = self.body.write();
        let first = body.first;
        body.touch(first);
    }

    /// Drops the extents that lie wholly below `start`, and returns them.
    pub fn drop_below(&self, start: Offset) -> Vec<Extent> {
        assert!(start <= self.start(), "log {} may still be read below {start}", self.id);
        let mut body = self.body.write();
        let mut gone = Vec::new();
        while body.extents.front().is_some_and(|first| to_offset(first.next) <= start) {
            gone.extend(body.extents.pop_front());
            body.first += 1;
        }
        if !gone.is_empty() {
            let first = body.first;
            body.touch(first);
        }
        gone
    }

    /// What has to be stored of the extents; afterwards nothing is left to store.
    pub fn take_pages(&self) -> Pages {
        let per_page = PAGE_EXTENTS as u64;
        let mut body = self.body.write();
        let mut pages = Pages::default();
        let Some(from) = body.dirty_from.take() else { return pages };
        let end = body.first + body.extents.len() as u64;
        let (first_page, end_page) = (body.first / per_page, end / per_page + 1);
        let (from_before, to_before) = body.stored;
        if from_before < first_page {
            pages.gone.push((from_before, first_page));
        }
        if end_page < to_before {
            pages.gone.push((end_page, to_before));
        }
        body.stored = (first_page, end_page);
        for page in from.max(first_page)..=end / per_page {
            let within = (page * per_page).max(body.first)..((page + 1) * per_page).min(end);
            let at = |ordinal: u64| usize::try_from(ordinal - body.first).expect("in memory");
            let extents = body.extents.range(at(within.start)..at(within.end.max(within.start)));
            pages.put.push((page, within.start, extents.copied().collect()));
        }
        pages
    }
}

impl Body {
    fn touch(&mut self, ordinal: u64) {
        let page = ordinal / PAGE_EXTENTS as u64;
        self.dirty_from = Some(self.dirty_from.map_or(page, |from| from.min(page)));
    }

    fn cold(&self, from: Offset) -> Read {
        let at = self.extents.partition_point(|extent| to_offset(extent.next) <= from);
        self.extents.get(at).map_or(Read::OutOfRange, |extent| Read::Cold(*extent))
    }
}

/// Offsets are never negative and stay below 2^63.
fn to_offset(offset: u64) -> Offset {
    i64::try_from(offset).expect("an offset is below 2^63")
}

pub mod times;

#[cfg(test)]
mod tests;
