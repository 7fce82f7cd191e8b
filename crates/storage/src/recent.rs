//! The frames whose bytes are still in memory, oldest first: what the bundler has to write, and
//! what can be let go once blobs hold it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::log::LogView;
use crate::ticket::FrameNo;

struct Entry {
    frame: FrameNo,
    bytes: usize,
    views: Vec<Arc<LogView>>,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Frames up to here are in blobs as far as they hold batches.
    bundled: FrameNo,
    /// Bytes in frames above `bundled`.
    fresh: usize,
    /// How many of them somebody waits for; 0 = nobody.
    wanted: usize,
    closed: bool,
}

/// Recent frames and their bytes. Invariant: `fresh` <= `bytes`, the sum over the entries.
#[derive(Default)]
pub struct Recent {
    inner: Mutex<Inner>,
    /// Bytes above which a new frame drives out old ones that blobs hold; none = it does not.
    bytes_max: OnceLock<usize>,
    less: Condvar,
    more: Condvar,
}

impl Recent {
    /// Sets how many bytes may stay in memory beside those that no blob holds; once.
    pub fn limit(&self, bytes_max: usize) {
        assert!(self.bytes_max.set(bytes_max).is_ok(), "the limit of recent frames is set once");
    }

    /// Takes note of a written frame that holds batches of these logs.
    pub fn add(&self, frame: FrameNo, bytes: usize, mut views: Vec<Arc<LogView>>) {
        if views.is_empty() {
            return;
        }
        views.sort_unstable_by_key(|view| view.id);
        views.dedup_by_key(|view| view.id);
        let mut inner = self.inner.lock();
        let last = inner.entries.back().map_or(0, |entry| entry.frame);
        assert!(last < frame, "frame {frame} after frame {last}");
        inner.bytes += bytes;
        inner.fresh += bytes;
        inner.entries.push_back(Entry { frame, bytes, views });
        let enough = inner.wanted > 0 && inner.fresh >= inner.wanted;
        drop(inner);
        // Each frame passes here: who waits for many is not woken for one.
        if enough {
            self.more.notify_one();
        }
        if let Some(bytes_max) = self.bytes_max.get() {
            self.evict(*bytes_max);
        }
    }

    /// Waits until at least `fresh` bytes are unbundled, but no longer than `most`.
    pub fn wait_for_work(&self, fresh: usize, most: Duration) {
        let mut inner = self.inner.lock();
        let until = std::time::Instant::now() + most;
        inner.wanted = fresh;
        while inner.fresh < fresh && !inner.closed {
            if self.more.wait_until(&mut inner, until).timed_out() {
                break;
            }
        }
        inner.wanted = 0;
    }

    /// Bytes in memory, and how many of them no blob holds.
    pub fn bytes(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.bytes, inner.fresh)
    }

    /// The logs with batches in frames up to `upto` that may not be in blobs yet, by number.
    pub fn to_bundle(&self, upto: FrameNo) -> Vec<Arc<LogView>> {
        let inner = self.inner.lock();
        let begin = inner.entries.partition_point(|entry| entry.frame <= inner.bundled);
        let due = inner.entries.range(begin..).take_while(|entry| entry.frame <= upto);
        let mut views: Vec<_> = due.flat_map(|entry| entry.views.iter().cloned()).collect();
        views.sort_unstable_by_key(|view| view.id);
        views.dedup_by_key(|view| view.id);
        views
    }

    /// The newest frame up to `durable` such that at least `bytes` of fresh ones lie at or below.
    pub fn cut_for(&self, bytes: usize, durable: FrameNo) -> FrameNo {
        let inner = self.inner.lock();
        let mut found = (0, inner.bundled);
        let begin = inner.entries.partition_point(|entry| entry.frame <= inner.bundled);
        for entry in inner.entries.range(begin..).take_while(|entry| entry.frame <= durable) {
            if found.0 >= bytes {
                break;
            }
            found = (found.0 + entry.bytes, entry.frame);
        }
        found.1
    }

    /// Blobs hold every batch of frames up to `upto`.
    pub fn bundled(&self, upto: FrameNo) {
        let mut inner = self.inner.lock();
        let before = inner.bundled;
        inner.bundled = before.max(upto);
        let begin = inner.entries.partition_point(|entry| entry.frame <= before);
        let done: usize =
            inner.entries.range(begin..).take_while(|e| e.frame <= upto).map(|e| e.bytes).sum();
        assert!(done <= inner.fresh && inner.fresh <= inner.bytes, "what is fresh is in memory");
        inner.fresh -= done;
        self.less.notify_all();
    }

    /// Lets go of bundled frames, oldest first, until at most `keep` bytes are left.
    pub fn evict(&self, keep: usize) {
        let mut less = false;
        loop {
            let entry = {
                let mut inner = self.inner.lock();
                let bundled = inner.bundled;
                let due = inner.bytes > keep
                    && inner.entries.front().is_some_and(|first| first.frame <= bundled);
                if !due {
                    break;
                }
                let entry = inner.entries.pop_front().expect("just seen");
                inner.bytes -= entry.bytes;
                entry
            };
            entry.views.iter().for_each(|view| view.evict(entry.frame));
            less = true;
        }
        if less {
            self.less.notify_all();
        }
    }

    /// Waits until less than `most` bytes are unbundled: the pace of the WAL when blobs are slower.
    pub fn wait_for_room(&self, most: usize) {
        let mut inner = self.inner.lock();
        while inner.fresh >= most && !inner.closed {
            self.less.wait_for(&mut inner, Duration::from_millis(100));
        }
    }

    /// Nobody bundles any more: nobody waits.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.less.notify_all();
        self.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_bundled_in_order_and_evicted_only_after_it() {
        let recent = Recent::default();
        let view = |id| Arc::new(LogView::new(id, 0, 0, 0));
        let (a, b) = (view(1), view(2));
        recent.add(1, 100, vec![b.clone(), a.clone(), b.clone()]);
        recent.add(2, 100, vec![]);
        recent.add(3, 100, vec![b.clone()]);
        recent.add(4, 100, vec![a.clone()]);
        assert_eq!(recent.bytes(), (300, 300));
        let ids = |upto| recent.to_bundle(upto).iter().map(|view| view.id).collect::<Vec<_>>();
        assert_eq!((ids(0), ids(1), ids(9)), (vec![], vec![1, 2], vec![1, 2]));
        assert_eq!((recent.cut_for(1, 9), recent.cut_for(101, 9)), (1, 3));
        assert_eq!((recent.cut_for(999, 3), recent.cut_for(999, 9)), (3, 4));
        recent.evict(0);
        assert_eq!(recent.bytes(), (300, 300), "no blob holds them");
        recent.bundled(3);
        assert_eq!((recent.bytes(), ids(9)), ((300, 100), vec![1]));
        recent.evict(250);
        assert_eq!(recent.bytes(), (200, 100));
        recent.evict(0);
        assert_eq!(recent.bytes(), (100, 100));
    }

    #[test]
    fn a_new_frame_drives_out_what_blobs_hold_and_nothing_else() {
        let recent = Recent::default();
        recent.limit(250);
        let views = || vec![Arc::new(LogView::new(1, 0, 0, 0))];
        for frame in 1..=4 {
            recent.add(frame, 100, views());
        }
        assert_eq!(recent.bytes(), (400, 400), "no blob holds them");
        recent.bundled(3);
        recent.add(5, 100, views());
        assert_eq!(recent.bytes(), (200, 200), "1 to 3 are gone");
        recent.bundled(5);
        recent.add(6, 50, views());
        assert_eq!(recent.bytes(), (250, 50), "there is room");
    }
}
