//! Deadlines of groups: who keeps the time calls [`Broker::tick`]. Also how groups lose the
//! offsets of a topic that was deleted: not with the deletion, but at the tick after it, since a
//! deletion would otherwise wait for the lock of every shard. Until then nobody sees them, because
//! the topic's id means nothing any more; where a crash comes between, the next opening does it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sabir_storage::ticket::FrameNo;
use sabir_storage::wake::Waker;

use super::names::GroupRef;
use crate::broker::Broker;
use crate::clock::{Instant, Now};
use crate::group::TopicId;

/// When a tick that came too early for something is worth repeating.
const AGAIN: Duration = Duration::from_millis(1);

/// The next tick, and what it has to do beside deadlines.
pub struct Agenda {
    /// Nanoseconds of an [`Instant`]: the earliest deadline that the ticking party was told of.
    next: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// Deleted topics, each with the frame of the deletion.
    forgotten: Mutex<Vec<(TopicId, FrameNo)>>,
}

impl Default for Agenda {
    fn default() -> Agenda {
        Agenda {
            next: AtomicU64::new(Instant::FAR.0),
            waker: Mutex::default(),
            forgotten: Mutex::default(),
        }
    }
}

impl Agenda {
    /// Something is due at that time: the ticking party must not sleep longer.
    pub(super) fn arm(&self, at: Instant) {
        if self.next.fetch_min(at.0, Ordering::AcqRel) > at.0
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake();
        }
    }

    /// A topic was deleted by an effect in this frame.
    pub(crate) fn forget(&self, topic: TopicId, frame: FrameNo) {
        self.forgotten.lock().push((topic, frame));
        self.arm(Instant::default());
    }
}

impl Broker {
    /// From now on this is woken when something becomes due earlier than the last tick said.
    pub fn wake_for_tick(&self, waker: &Waker) {
        *self.agenda.waker.lock() = Some(waker.clone());
    }

    /// Does what is due in all groups, one lock after the other, and says when to come again.
    pub fn tick(&self, now: Now) -> Option<Instant> {
        // Whatever becomes due from here on, while this looks elsewhere, wakes again.
        self.agenda.next.store(Instant::FAR.0, Ordering::Release);
        let mut next = self.forget_topics(now).unwrap_or(Instant::FAR);
        for shard in 0..self.core.count() {
            let due = self.core.lock(shard).groups.due(now.mono);
            for id in due {
                self.group_turn(now, GroupRef { id, shard }, |group| group.tick(now));
            }
            let after = self.core.lock(shard).groups.next_due();
            next = next.min(after.unwrap_or(Instant::FAR));
        }
        let before = self.agenda.next.fetch_min(next.0, Ordering::AcqRel);
        let next = Instant(before.min(next.0));
        (next != Instant::FAR).then_some(next)
    }

    /// Returns when to come again, if something is left.
    fn forget_topics(&self, now: Now) -> Option<Instant> {
        let topics = std::mem::take(&mut *self.agenda.forgotten.lock());
        let mut left = Vec::new();
        for (topic, frame) in topics {
            for shard in 0..self.core.count() {
                let home = self.core.lock(shard);
                // In an earlier frame the offsets could be lost, and the topic not.
                if home.open < frame {
                    left.push((topic, frame));
                    break;
                }
                let groups = home.groups.with_offsets_of(&topic);
                drop(home);
                for id in groups {
                    let at = GroupRef { id, shard };
                    self.group_turn(now, at, |group| group.forget_topic(now, &topic));
                }
            }
        }
        let again = !left.is_empty();
        self.agenda.forgotten.lock().append(&mut left);
        again.then(|| now.mono + AGAIN)
    }
}
