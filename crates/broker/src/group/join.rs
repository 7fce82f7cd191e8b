//! Joining: new members, members that come back, and those that keep their place by instance id.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::member::{Member, MemberRecord, Protocol};
use super::{Group, GroupError, Outcome, State, Text, WaitId, timers};
use crate::clock::Now;
use crate::wake::Waker;

/// A request to join. Text and bytes are copied, so that no request buffer is held.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    /// Empty: not a member yet.
    pub member_id: &'a str,
    /// The id it gets if it has none; unique, made by the caller.
    pub new_member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub session_timeout_ms: u32,
    /// How long the group waits for it to join again, milliseconds.
    pub rebalance_timeout_ms: u32,
    pub protocol_type: &'a str,
    /// Name and metadata, the preferred first.
    pub protocols: &'a [(&'a str, &'a [u8])],
    /// A member without id only gets one (`MemberIdRequired`) and must ask again with it.
    pub known_member_only: bool,
    /// The client understands a leader's answer that asks for no assignment.
    pub may_skip_assignment: bool,
    pub waker: &'a Waker,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinMember {
    pub id: Text,
    pub instance_id: Option<Text>,
    /// For the protocol chosen.
    pub metadata: Bytes,
}

/// The member is part of this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReply {
    pub generation: i32,
    pub protocol_type: Option<Text>,
    pub protocol: Option<Text>,
    pub leader: Text,
    pub member_id: Text,
    /// Everybody, for the leader; empty for others.
    pub members: Vec<JoinMember>,
    /// The leader need not assign: the assignment stands.
    pub skip_assignment: bool,
}

/// Of a join. Refused with `MemberIdRequired`, the id to come back with is `new_member_id`.
pub type JoinOutcome = Outcome<JoinReply>;

impl Group {
    /// Joins, or joins again. A group that does not exist is created by the caller, but only for
    /// a join without member id; one with an id is refused there as `UnknownMember`.
    pub fn join(&mut self, now: Now, join: Join<'_>) -> JoinOutcome {
        if let Err(error) = self.check_join(now, &join) {
            return Outcome::Refused(error);
        }
        let wait = self.joins.begin(join.waker);
        if let Err(error) = self.admit(now, &join, wait) {
            self.joins.answer(wait, Err(error));
        }
        self.joins.finish(wait)
    }

    /// Asked again by whoever waits, when woken.
    pub fn poll_join(&mut self, wait: WaitId) -> JoinOutcome {
        self.joins.take(wait)
    }

    /// What can be refused before anything changes, but for the place it takes up.
    fn check_join(&mut self, now: Now, join: &Join<'_>) -> Result<(), GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::Dead);
        }
        let settings = self.settings.clone();
        let sessions = settings.session_timeout_ms_min..=settings.session_timeout_ms_max;
        if !sessions.contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if join.protocols.len() > settings.protocols_max {
            return Err(GroupError::TooLarge);
        }
        let bytes = join.bytes();
        if bytes > settings.member_bytes_max {
            return Err(GroupError::TooLarge);
        }
        if !self.has_place(join.member_id) {
            self.pending.remove(join.member_id);
            self.remove_member(join.member_id, GroupError::GroupFull);
            self.maybe_complete_join(now);
            return Err(GroupError::GroupFull);
        }
        let own = self.members.get(join.member_id).map_or(0, |member| member.record().bytes());
        if self.members.bytes() - own + bytes > settings.group_bytes_max {
            return Err(GroupError::GroupFull);
        }
        if self.supports(join) { Ok(()) } else { Err(GroupError::InconsistentProtocol) }
    }

    /// In a round those that have joined count, so that the quicker half of a group that became
    /// too large can go on.
    fn has_place(&self, member_id: &str) -> bool {
        let max = self.settings.members_max;
        if member_id.is_empty() && self.pending.len() >= max {
            return false;
        }
        let member = self.members.get(member_id);
        match self.state {
            State::Empty | State::Dead => true,
            State::Preparing => {
                member.is_some_and(|m| m.joining().is_some()) || self.members.joining() < max
            }
            State::Completing | State::Stable => member.is_some() || self.members.len() < max,
        }
    }

    fn supports(&self, join: &Join<'_>) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(join.protocol_type)
            && join.protocols.iter().any(|(name, _)| self.members.all_support(name))
    }

    fn admit(&mut self, now: Now, join: &Join<'_>, wait: WaitId) -> Result<(), GroupError> {
        if !join.member_id.is_empty() {
            return self.admit_known(now, join, wait);
        }
        let id: Text = join.new_member_id.into();
        if let Some(instance_id) = join.instance_id {
            match self.members.instance(instance_id).cloned() {
                Some(before) => self.replace_static(now, join, &before, id, wait),
                None => self.add_member(now, join, id, wait),
            }
            return Ok(());
        }
        if join.known_member_only {
            let due = now.mono + timers::ms(join.session_timeout_ms);
            self.pending.insert(id, due);
            self.arm(due);
            return Err(GroupError::MemberIdRequired);
        }
        self.add_member(now, join, id, wait);
        Ok(())
    }

    fn admit_known(&mut self, now: Now, join: &Join<'_>, wait: WaitId) -> Result<(), GroupError> {
        if join.instance_id.is_none()
            && let Some((id, _)) = self.pending.remove_entry(join.member_id)
        {
            self.add_member(now, join, id, wait);
            return Ok(());
        }
        self.check_member(join.member_id, join.instance_id)?;
        let member = self.members.get(join.member_id).expect("checked to be a member");
        let (id, same) = (member.record().id.clone(), join.is_same(member.record()));
        let leads = self.leader.as_ref() == Some(&id);
        match self.state {
            // A lost answer is given again.
            State::Completing if same => {
                let reply = self.join_reply(&id);
                self.joins.answer(wait, Ok(reply));
            }
            // Nothing changed for a follower; a leader joins again to force a new assignment.
            State::Stable if same && !leads => {
                let reply = self.join_reply(&id);
                self.joins.answer(wait, Ok(reply));
            }
            State::Preparing | State::Completing | State::Stable => {
                self.update_member(join, &id, wait);
                self.rebalance_or_complete(now);
            }
            State::Empty | State::Dead => return Err(GroupError::UnknownMember),
        }
        Ok(())
    }

    fn add_member(&mut self, now: Now, join: &Join<'_>, id: Text, wait: WaitId) {
        let due = now.mono + timers::ms(self.settings.new_member_timeout_ms);
        if let Some(initial) = &mut self.initial {
            initial.new_member = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.into());
        }
        let record = join.record(id.clone(), Bytes::new());
        self.members.insert(Member::new(record, true, due));
        self.members.set_joining(&id, Some(wait));
        self.leader.get_or_insert(id);
        self.arm(due);
        self.rebalance_or_complete(now);
    }

    /// Takes over what a member says of itself now, and lets it wait for the round.
    fn update_member(&mut self, join: &Join<'_>, id: &Text, wait: WaitId) {
        let member = self.members.get(id).expect("only members are updated");
        let mut record = join.record(id.clone(), member.record().assignment.clone());
        record.instance_id.clone_from(&member.record().instance_id);
        self.members.update(record);
        // A request that comes again, perhaps on another connection, takes the place of the first.
        if let Some(before) = self.members.set_joining(id, Some(wait)) {
            self.joins.answer(before, Err(GroupError::RebalanceInProgress));
        }
    }

    /// The holder of an instance id has restarted: it gets a new id and keeps its assignment. Who
    /// still acts under the old id is fenced.
    fn replace_static(&mut self, now: Now, join: &Join<'_>, before: &Text, id: Text, wait: WaitId) {
        let leader_before = self.leader.clone();
        let led = leader_before.as_ref() == Some(before);
        let was_unsynced = self.unsynced.remove(before);
        let gone = self.members.remove(before).expect("an instance id names a member");
        if let Some(wait) = gone.joining() {
            self.joins.answer(wait, Err(GroupError::FencedInstance));
        }
        if let Some(wait) = gone.syncing {
            self.syncs.answer(wait, Err(GroupError::FencedInstance));
        }
        let due = now.mono + timers::ms(join.session_timeout_ms);
        let record = join.record(id.clone(), gone.record().assignment.clone());
        self.members.insert(Member::new(record, false, due));
        self.members.set_joining(&id, Some(wait));
        self.arm(due);
        if led {
            self.leader = Some(id.clone());
        }
        match self.state {
            State::Stable => {
                let leader = self.leader.clone().expect("a group with members has a leader");
                if self.members.elect_protocol(&leader) != self.protocol {
                    return self.rebalance_or_complete(now);
                }
                if was_unsynced {
                    self.unsynced.insert(id.clone());
                }
                self.save_members(now);
                self.members.set_joining(&id, None);
                let mut reply = self.join_reply(&id);
                if join.may_skip_assignment {
                    reply.skip_assignment = led;
                } else {
                    // Not to be taken for the leader, which would assign anew.
                    reply.members.clear();
                    reply.leader = leader_before.expect("a group with members has a leader");
                }
                self.joins.answer(wait, Ok(reply));
            }
            State::Completing => self.prepare_rebalance(now),
            State::Preparing => self.maybe_complete_join(now),
            State::Empty | State::Dead => unreachable!("members exist in neither"),
        }
    }

    /// What a member of the present generation is told.
    pub(super) fn join_reply(&self, id: &Text) -> JoinReply {
        let leader = self.leader.clone().expect("a group with members has a leader");
        let mut members = Vec::new();
        if leader == *id {
            let protocol = self.protocol.as_deref().unwrap_or("");
            members.extend(self.members().map(|record| JoinMember {
                id: record.id.clone(),
                instance_id: record.instance_id.clone(),
                metadata: record.metadata(protocol),
            }));
        }
        JoinReply {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            member_id: id.clone(),
            members,
            skip_assignment: false,
        }
    }
}

impl Join<'_> {
    fn bytes(&self) -> usize {
        let id = if self.member_id.is_empty() { self.new_member_id } else { self.member_id };
        let protocols: usize = self.protocols.iter().map(|(name, m)| name.len() + m.len()).sum();
        let instance = self.instance_id.map_or(0, str::len);
        id.len() + instance + self.client_id.len() + self.client_host.len() + protocols
    }

    /// Each protocol once: the first of a name counts.
    fn once(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut names = BTreeSet::new();
        self.protocols.iter().filter(move |(name, _)| names.insert(*name)).copied()
    }

    fn is_same(&self, record: &MemberRecord) -> bool {
        self.once().eq(record.protocols.iter().map(|p| (&*p.name, &*p.metadata)))
    }

    fn record(&self, id: Text, assignment: Bytes) -> MemberRecord {
        let protocols: Arc<[Protocol]> = self
            .once()
            .map(|(name, metadata)| Protocol {
                name: name.into(),
                metadata: Bytes::copy_from_slice(metadata),
            })
            .collect();
        MemberRecord {
            id,
            instance_id: self.instance_id.map(Text::from),
            client_id: self.client_id.into(),
            client_host: self.client_host.into(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocols,
            assignment,
        }
    }
}
