//! How much may wait to be cut, and the line of those who wait for room. Knows bytes and wakers;
//! what is published is not its matter.
//!
//! Room is given in the order of arrival. Each cut calls as many from the front of the line as
//! fit: what they asked for is reserved at that moment, so that nobody can take it before they
//! come. Whoever leaves gives back what was kept for it, and the next is called.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use sabir_storage::wake::{Herald, Waker};

use crate::limits::{BESIDE_STAGED_MAX, EFFECTS_STAGED_MAX, STAGED_MAX};

/// The room in the stage of all shards.
#[derive(Default)]
pub(crate) struct Admission {
    /// Bytes that wait to be cut.
    staged: AtomicUsize,
    /// Bytes that are admitted, or kept for somebody called, and not staged yet.
    reserved: AtomicUsize,
    /// Places in the line that were not called yet; changed under `line`.
    waiting: AtomicUsize,
    /// Places with a lower number were called; changed under `line`.
    called: AtomicU64,
    line: Mutex<Line>,
    herald: Arc<Herald>,
}

/// Those who wait. Invariant: the numbers of the places are dense, the first is `called`.
type Line = VecDeque<Option<Waiter>>;

struct Waiter {
    waker: Waker,
    bytes: usize,
}

/// What a publisher keeps between two tries: its place in the line, if it has one. Dropped, it
/// leaves the line.
#[derive(Default)]
pub struct LinePlace(Option<Held>);

struct Held {
    admission: Arc<Admission>,
    number: u64,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.admission.leave(self.number, self.bytes);
    }
}

/// Room in the stage, held until what it is for is staged. Not dropped under a shard's lock: that
/// may wake others.
pub(crate) struct Reserved<'a> {
    admission: &'a Admission,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.admission.give_back(self.bytes);
    }
}

impl Admission {
    pub fn new(herald: Arc<Herald>) -> Admission {
        Admission { herald, ..Admission::default() }
    }

    /// Bytes that wait to be cut.
    pub fn staged(&self) -> usize {
        self.staged.load(SeqCst)
    }

    /// Takes note of what was staged.
    pub fn add_staged(&self, bytes: usize) {
        self.staged.fetch_add(bytes, SeqCst);
    }

    /// Takes note of what was cut, and calls those who have room now.
    pub fn cut(&self, bytes: usize) {
        let before = self.staged.fetch_sub(bytes, SeqCst);
        assert!(before >= bytes, "more was cut than was staged");
        self.call_waiting();
    }

    /// Admits a publish while little is staged, whatever its own size. None = it has a place in
    /// the line now, or still, and its waker is woken when it is called.
    pub fn enter(
        self: &Arc<Self>,
        bytes: usize,
        place: &mut LinePlace,
        me: &Waker,
    ) -> Option<Reserved<'_>> {
        if let Some(held) = &place.0 {
            if held.number >= self.called.load(SeqCst) {
                return None;
            }
            let kept = place.0.take().map_or(0, Held::come);
            // What it asks for may have changed since it came into the line.
            self.reserved.fetch_add(bytes, SeqCst);
            self.give_back(kept);
            return Some(Reserved { admission: self, bytes });
        }
        if self.waiting.load(SeqCst) == 0 && self.reserve(bytes, STAGED_MAX) {
            return Some(Reserved { admission: self, bytes });
        }
        let mut called = Vec::new();
        let (number, own) = {
            let mut line = self.line.lock();
            let number = self.called.load(SeqCst) + line.len() as u64;
            line.push_back(Some(Waiter { waker: me.clone(), bytes }));
            // First into the line, then look: room made in between calls it, or is seen here.
            self.waiting.store(line.len(), SeqCst);
            self.call(&mut line, &mut called);
            (number, line.is_empty())
        };
        if own {
            called.pop();
        }
        self.herald.wake(&mut called);
        if own {
            return Some(Reserved { admission: self, bytes });
        }
        place.0 = Some(Held { admission: self.clone(), number, bytes });
        None
    }

    /// Admits a small publish of somebody who stands in no line. None = the next cut makes room.
    pub fn enter_beside(&self, bytes: usize) -> Option<Reserved<'_>> {
        let admitted = self.reserve(bytes, BESIDE_STAGED_MAX);
        admitted.then(|| Reserved { admission: self, bytes })
    }

    /// Whether effects of that many bytes may be staged. They wait in no line: a stage that is
    /// full of publishes still has room for them. If not, a cut makes room.
    pub fn takes_effects(&self, bytes: usize) -> bool {
        let staged = self.staged();
        staged == 0 || staged + self.reserved.load(SeqCst) + bytes <= EFFECTS_STAGED_MAX
    }

    /// Reserves if there is room. Never counts what it does not get, not even for a moment:
    /// somebody else could take that for a reason to wait.
    fn reserve(&self, bytes: usize, most: usize) -> bool {
        let room = |reserved| {
            let has_room = reserved + self.staged() < most;
            has_room.then_some(reserved + bytes)
        };
        self.reserved.fetch_update(SeqCst, SeqCst, room).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        let before = self.reserved.fetch_sub(bytes, SeqCst);
        assert!(before >= bytes, "more was given back than was reserved");
        self.call_waiting();
    }

    fn call_waiting(&self) {
        let full = || self.reserved.load(SeqCst) + self.staged() >= STAGED_MAX;
        if self.waiting.load(SeqCst) == 0 || full() {
            return;
        }
        let mut called = Vec::new();
        self.call(&mut self.line.lock(), &mut called);
        self.herald.wake(&mut called);
    }

    /// Calls from the front as many as have room, and reserves it for them.
    fn call(&self, line: &mut Line, called: &mut Vec<Waker>) {
        let mut gone = 0;
        while let Some(first) = line.front() {
            if let Some(waiter) = first {
                if !self.reserve(waiter.bytes, STAGED_MAX) {
                    break;
                }
                called.push(waiter.waker.clone());
            }
            line.pop_front();
            gone += 1;
        }
        self.called.fetch_add(gone, SeqCst);
        self.waiting.store(line.len(), SeqCst);
    }

    /// Gives up a place: one that was called gives back what was kept for it.
    fn leave(&self, number: u64, bytes: usize) {
        let mut line = self.line.lock();
        let Some(at) = number.checked_sub(self.called.load(SeqCst)) else {
            drop(line);
            return self.give_back(bytes);
        };
        let at = usize::try_from(at).expect("a place in memory");
        assert!(line[at].take().is_some(), "place {number} was left twice");
        // Their numbers are free again: nobody holds them.
        while line.pop_back_if(|last| last.is_none()).is_some() {}
        self.waiting.store(line.len(), SeqCst);
    }
}

impl Held {
    /// The one who was called is here: what was kept for it is its own now.
    fn come(mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests;
