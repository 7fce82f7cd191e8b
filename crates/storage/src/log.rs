//! What readers see of one log: what lies in blobs, what lies in memory, and how far it may be
//! read. Appending goes through the WAL; readers take no lock that an appender of another log takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

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
    /// Nothing visible there yet: the offset is the end.
    AtEnd,
    /// Before the start or behind the end.
    OutOfRange,
}

/// One log. Invariant: start <= visible <= the next offset of the last batch.
pub struct LogView {
    pub id: LogId,
    pub shard: u16,
    start: AtomicI64,
    visible: AtomicI64,
    tail: RwLock<VecDeque<TailBatch>>,
    watched: AtomicBool,
    watchers: Mutex<Vec<Waker>>,
}

impl LogView {
    pub fn new(id: LogId, shard: u16, start: Offset, end: Offset) -> LogView {
        assert!(0 <= start && start <= end, "a log from {start} to {end}");
        LogView {
            id,
            shard,
            start: AtomicI64::new(start),
            visible: AtomicI64::new(end),
            tail: RwLock::default(),
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

    /// Takes a batch that a frame holds; it stays invisible until [`LogView::show`].
    pub fn push(&self, batch: TailBatch) {
        let mut tail = self.tail.write();
        if let Some(last) = tail.back() {
            assert_eq!(last.next, batch.base, "batches of log {} are contiguous", self.id);
        }
        tail.push_back(batch);
    }

    /// Makes everything below `upto` visible and wakes who waits for it.
    pub fn show(&self, upto: Offset) {
        let before = self.visible.fetch_max(upto, Ordering::AcqRel);
        assert!(before <= upto, "what is visible stays visible");
        if self.watched.swap(false, Ordering::AcqRel) {
            for waker in self.watchers.lock().drain(..) {
                waker.wake();
            }
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
        if from < self.start() || from > visible {
            return Read::OutOfRange;
        }
        if from == visible {
            return Read::AtEnd;
        }
        let tail = self.tail.read();
        let first = tail.partition_point(|batch| batch.next <= from);
        let mut found = Vec::new();
        let mut room = max_bytes;
        for batch in tail.range(first..).take_while(|batch| batch.next <= visible) {
            if batch.bytes.len() > room && !(always_one && found.is_empty()) {
                return Read::Batches(found);
            }
            room = room.saturating_sub(batch.bytes.len());
            found.push(batch.bytes.clone());
        }
        assert!(!found.is_empty(), "offset {from} of log {} is nowhere", self.id);
        Read::Batches(found)
    }
}
