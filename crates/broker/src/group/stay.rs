//! What members of a generation do: ask for their assignment, show that they live, leave.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Group, GroupError, Outcome, State, Text, WaitId, timers};
use crate::clock::Now;
use crate::wake::Waker;

/// A request for the own assignment; from the leader it brings everybody's.
#[derive(Clone, Copy, Debug)]
pub struct Sync<'a> {
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub generation: i32,
    /// Where given, it must be the group's.
    pub protocol_type: Option<&'a str>,
    /// Where given, it must be the group's.
    pub protocol: Option<&'a str>,
    /// From the leader: member id and assignment. Who is left out gets an empty one, strangers
    /// are passed over.
    pub assignments: &'a [(&'a str, &'a [u8])],
    pub waker: &'a Waker,
}

/// What the leader gave this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReply {
    pub protocol_type: Option<Text>,
    pub protocol: Option<Text>,
    pub assignment: Bytes,
}

pub type SyncOutcome = Outcome<SyncReply>;

/// One that leaves, or is sent away.
#[derive(Clone, Copy, Debug)]
pub struct LeaveMember<'a> {
    /// Empty: whoever holds the instance id.
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
}

impl Group {
    /// Asks for the assignment of a generation.
    pub fn sync(&mut self, now: Now, sync: Sync<'_>) -> SyncOutcome {
        if let Err(error) = self.check_sync(&sync) {
            return Outcome::Refused(error);
        }
        let wait = self.syncs.begin(sync.waker);
        self.unsynced.remove(sync.member_id);
        if self.unsynced.is_empty() {
            self.sync_due = None;
        }
        let member = self.members.get_mut(sync.member_id).expect("checked to be a member");
        let id = member.record().id.clone();
        if let Some(before) = member.syncing.replace(wait) {
            self.syncs.answer(before, Err(GroupError::RebalanceInProgress));
        }
        if self.state == State::Stable {
            self.answer_sync(now, &id, Ok(()));
        } else if self.leader.as_ref() == Some(&id) {
            self.assign(now, sync.assignments);
        }
        self.syncs.finish(wait)
    }

    /// Asked again by whoever waits, when woken.
    pub fn poll_sync(&mut self, wait: WaitId) -> SyncOutcome {
        self.syncs.take(wait)
    }

    /// A member lives. `RebalanceInProgress` tells it to join again, and counts as living.
    pub fn heartbeat(
        &mut self,
        now: Now,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.check_generation(member_id, instance_id, generation)?;
        self.renew(now, member_id);
        match self.state {
            State::Preparing => Err(GroupError::RebalanceInProgress),
            State::Completing | State::Stable => Ok(()),
            State::Empty | State::Dead => Err(GroupError::UnknownMember),
        }
    }

    /// Takes members out, each with its own result; then one round for all that is left.
    pub fn leave(&mut self, now: Now, members: &[LeaveMember<'_>]) -> Vec<Result<(), GroupError>> {
        let results: Vec<_> = members.iter().map(|member| self.leave_one(member)).collect();
        if results.iter().any(|result| result.is_ok()) {
            match self.state {
                State::Completing | State::Stable => self.prepare_rebalance(now),
                State::Preparing => self.maybe_complete_join(now),
                State::Empty | State::Dead => {}
            }
            self.arm(now.mono);
        }
        results
    }

    fn leave_one(&mut self, member: &LeaveMember<'_>) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::Dead);
        }
        let id = match (member.member_id, member.instance_id) {
            ("", None) => return Err(GroupError::UnknownMember),
            ("", Some(instance_id)) => {
                self.members.instance(instance_id).cloned().ok_or(GroupError::UnknownMember)?
            }
            (id, _) if self.pending.remove(id).is_some() => return Ok(()),
            (id, instance_id) => {
                self.check_member(id, instance_id)?;
                id.into()
            }
        };
        self.remove_member(&id, GroupError::UnknownMember);
        Ok(())
    }

    fn check_sync(&self, sync: &Sync<'_>) -> Result<(), GroupError> {
        self.check_generation(sync.member_id, sync.instance_id, sync.generation)?;
        let differs = |given: Option<&str>, own: &Option<Text>| match (given, own.as_deref()) {
            (Some(given), Some(own)) => given != own,
            _ => false,
        };
        if differs(sync.protocol_type, &self.protocol_type)
            || differs(sync.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.state == State::Preparing {
            return Err(GroupError::RebalanceInProgress);
        }
        let largest = sync.assignments.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
        let all: usize = sync.assignments.iter().map(|(_, bytes)| bytes.len()).sum();
        if largest > self.settings.member_bytes_max || all > self.settings.group_bytes_max {
            return Err(GroupError::TooLarge);
        }
        Ok(())
    }

    fn check_generation(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::Dead);
        }
        self.check_member(member_id, instance_id)?;
        if generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    /// The leader has spoken: the generation is complete.
    fn assign(&mut self, now: Now, assignments: &[(&str, &[u8])]) {
        let given: BTreeMap<&str, &[u8]> = assignments.iter().copied().collect();
        let ids: Vec<Text> = self.members().map(|member| member.id.clone()).collect();
        for id in &ids {
            let bytes = given.get(&**id).copied().unwrap_or_default();
            self.members.set_assignment(id, Bytes::copy_from_slice(bytes));
        }
        self.state = State::Stable;
        self.save_members(now);
        self.answer_syncs(now, Ok(()));
    }

    /// Its session begins anew.
    pub(super) fn renew(&mut self, now: Now, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_due = now.mono + timers::ms(member.record().session_timeout_ms);
            let due = member.session_due;
            self.arm(due);
        }
    }
}
