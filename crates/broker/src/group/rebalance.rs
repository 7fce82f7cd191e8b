//! Rounds: when one begins, whom it waits for, and what ends it.

use bytes::Bytes;

use super::{Group, GroupEffect, GroupError, State, SyncReply, Text, timers};
use crate::clock::Now;

/// The first round of an empty group waits a little for more members.
pub(super) struct InitialDelay {
    /// What may still be waited, milliseconds.
    pub remaining_ms: u32,
    /// Somebody joined during the present delay.
    pub new_member: bool,
}

/// Between tries to begin a generation for which nobody came, at least.
const RETRY_MS: u32 = 1_000;

impl Group {
    /// After a member came or changed.
    pub(super) fn rebalance_or_complete(&mut self, now: Now) {
        match self.state {
            State::Empty | State::Completing | State::Stable => self.prepare_rebalance(now),
            State::Preparing => self.maybe_complete_join(now),
            State::Dead => {}
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now: Now) {
        assert!(self.state != State::Preparing && self.state != State::Dead, "a round begins once");
        if self.state == State::Completing {
            let ids: Vec<Text> = self.members().map(|member| member.id.clone()).collect();
            for id in &ids {
                self.members.set_assignment(id, Bytes::new());
            }
            self.answer_syncs(now, Err(GroupError::RebalanceInProgress));
        }
        self.unsynced.clear();
        self.sync_due = None;
        let first = self.state == State::Empty && self.settings.initial_delay_ms > 0;
        self.state = State::Preparing;
        if first {
            let delay_ms = self.settings.initial_delay_ms;
            let remaining_ms = self.members.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial = Some(InitialDelay { remaining_ms, new_member: false });
            self.wait_for_members(now, delay_ms);
        } else if self.all_joined() || self.members.is_empty() {
            // Without members nobody has a time to be waited for, ids given out or not.
            self.complete_join(now);
        } else {
            self.wait_for_members(now, self.members.rebalance_timeout_ms());
        }
    }

    /// Ends the round if nobody is missing; a first round ends by its delay only.
    pub(super) fn maybe_complete_join(&mut self, now: Now) {
        if self.state == State::Preparing && self.initial.is_none() && self.all_joined() {
            self.complete_join(now);
        }
    }

    /// The time to join is over.
    pub(super) fn join_is_due(&mut self, now: Now) {
        self.join_due = None;
        let Some(initial) = &mut self.initial else { return self.complete_join(now) };
        if !initial.new_member || initial.remaining_ms == 0 {
            return self.complete_join(now);
        }
        let delay_ms = self.settings.initial_delay_ms.min(initial.remaining_ms);
        initial.new_member = false;
        initial.remaining_ms -= delay_ms;
        self.wait_for_members(now, delay_ms);
    }

    pub(super) fn all_joined(&self) -> bool {
        self.members.len() == self.members.joining() && self.pending.is_empty()
    }

    /// Begins the next generation with those who joined, and with absent members that have an
    /// instance id: they keep their place until their session ends.
    pub(super) fn complete_join(&mut self, now: Now) {
        assert!(self.state == State::Preparing, "only a round can end");
        self.join_due = None;
        let absent: Vec<Text> = self
            .members
            .iter()
            .filter(|m| m.joining().is_none() && m.record().instance_id.is_none())
            .map(|member| member.record().id.clone())
            .collect();
        for id in &absent {
            self.remove_member(id, GroupError::UnknownMember);
        }
        if !self.elect_leader() {
            let ms = self.members.rebalance_timeout_ms().max(RETRY_MS);
            self.initial = None;
            return self.wait_for_members(now, ms);
        }
        self.initial = None;
        self.generation = self.generation_last.checked_add(1).unwrap_or(1);
        self.generation_last = self.generation;
        let Some(leader) = self.leader.clone() else {
            self.protocol = None;
            self.state = State::Empty;
            self.save_members(now);
            return self.arm(now.mono);
        };
        self.protocol = self.members.elect_protocol(&leader);
        self.state = State::Completing;
        self.commit_effect(GroupEffect::Generation(self.generation));
        self.answer_joins(now);
        let due = now.mono + timers::ms(self.members.rebalance_timeout_ms());
        self.sync_due = Some(due);
        self.arm(due);
    }

    /// Members that never asked for their assignment held up the group long enough.
    pub(super) fn sync_is_due(&mut self, now: Now) {
        self.sync_due = None;
        let late = std::mem::take(&mut self.unsynced);
        if late.is_empty() || !matches!(self.state, State::Completing | State::Stable) {
            return;
        }
        for id in &late {
            self.remove_member(id, GroupError::UnknownMember);
        }
        self.prepare_rebalance(now);
    }

    /// Takes a member out and answers what it waits for; the caller sees to the round.
    pub(super) fn remove_member(&mut self, id: &str, why: GroupError) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(wait) = member.joining() {
            self.joins.answer(wait, Err(why));
        }
        if let Some(wait) = member.syncing {
            self.syncs.answer(wait, Err(why));
        }
        self.unsynced.remove(id);
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.first().cloned();
        }
    }

    /// Answers everybody who waits for an assignment, with it or with an error.
    pub(super) fn answer_syncs(&mut self, now: Now, result: Result<(), GroupError>) {
        let waiting = self.members.iter().filter(|member| member.syncing.is_some());
        let ids: Vec<Text> = waiting.map(|member| member.record().id.clone()).collect();
        for id in &ids {
            self.answer_sync(now, id, result);
        }
    }

    pub(super) fn answer_sync(&mut self, now: Now, id: &str, result: Result<(), GroupError>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(wait) = member.syncing.take() else { return };
        let assignment = member.record().assignment.clone();
        let reply = result.map(|()| SyncReply {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        });
        self.syncs.answer(wait, reply);
        self.renew(now, id);
    }

    fn answer_joins(&mut self, now: Now) {
        let ids: Vec<Text> = self.members().map(|member| member.id.clone()).collect();
        for id in &ids {
            if let Some(wait) = self.members.set_joining(id, None) {
                let reply = self.join_reply(id);
                self.joins.answer(wait, Ok(reply));
            }
            if let Some(member) = self.members.get_mut(id) {
                member.is_new = false;
            }
            self.renew(now, id);
        }
        self.unsynced = ids.into_iter().collect();
    }

    /// A leader must be there to assign. False if members are left, but none of them joined.
    fn elect_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return self.members.is_empty() };
        if self.members.get(leader).is_some_and(|member| member.joining().is_some()) {
            return true;
        }
        let mut joined = self.members.iter().filter(|member| member.joining().is_some());
        let Some(member) = joined.next() else { return false };
        self.leader = Some(member.record().id.clone());
        true
    }

    fn wait_for_members(&mut self, now: Now, ms: u32) {
        let due = now.mono + timers::ms(ms);
        self.join_due = Some(due);
        self.arm(due);
    }
}
