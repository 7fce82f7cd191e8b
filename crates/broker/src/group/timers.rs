//! Deadlines of a group: sessions, rounds, retention. All in `tick`, none by itself.

use std::time::Duration;

use super::{Group, GroupError, State, Text};
use crate::clock::{Instant, Now, WallMs};

pub(super) fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// The moment at which the wall clock, if nobody moves it, shows that time; not before now.
pub(super) fn at_wall(now: Now, wall: WallMs) -> Instant {
    let left = u64::try_from(wall.saturating_sub(now.wall)).unwrap_or(0);
    now.mono + Duration::from_millis(left)
}

impl Group {
    /// Does what is due and returns when to come again, if ever. Cheap when nothing is due.
    pub fn tick(&mut self, now: Now) -> Option<Instant> {
        if now.mono < self.wake_at {
            return self.deadline();
        }
        if self.state == State::Dead {
            self.wake_at = Instant::FAR;
            return None;
        }
        self.expire_pending(now);
        self.expire_members(now);
        if self.join_due.is_some_and(|due| due <= now.mono) {
            self.join_is_due(now);
        }
        if self.sync_due.is_some_and(|due| due <= now.mono) {
            self.sync_is_due(now);
        }
        let retention = self.expire_offsets(now);
        self.wake_at = self.next_due(now, retention);
        self.deadline()
    }

    /// When `tick` wants to be called; verbs may bring it forward.
    pub fn deadline(&self) -> Option<Instant> {
        (self.wake_at != Instant::FAR).then_some(self.wake_at)
    }

    /// Something is due then.
    pub(super) fn arm(&mut self, at: Instant) {
        self.wake_at = self.wake_at.min(at);
    }

    fn expire_pending(&mut self, now: Now) {
        let before = self.pending.len();
        self.pending.retain(|_, due| *due > now.mono);
        if self.pending.len() < before && self.state == State::Preparing && self.all_joined() {
            self.complete_join(now);
        }
    }

    fn expire_members(&mut self, now: Now) {
        let due = |member: &&super::Member| member.expires().is_some_and(|due| due <= now.mono);
        let ids: Vec<Text> =
            self.members.iter().filter(due).map(|member| member.record().id.clone()).collect();
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.remove_member(id, GroupError::UnknownMember);
        }
        match self.state {
            State::Completing | State::Stable => self.prepare_rebalance(now),
            State::Preparing if self.all_joined() => self.complete_join(now),
            State::Preparing | State::Empty | State::Dead => {}
        }
    }

    fn next_due(&self, now: Now, retention: Option<WallMs>) -> Instant {
        let retention = retention.map(|wall| at_wall(now, wall));
        let members = self.members.iter().filter_map(|member| member.expires());
        let pending = self.pending.values().copied();
        let rounds = [self.join_due, self.sync_due, retention].into_iter().flatten();
        members.chain(pending).chain(rounds).min().unwrap_or(Instant::FAR)
    }
}
