//! Groups as callers use them: found or made by name, then one turn in the home shard. What a group
//! decides is in `group`; here are permission, names, locks and wakes.
//!
//! A group comes into being only by a join without member id, or by a commit from outside any
//! generation. Its name (in shard 0) and its beginning (at home) stand in one frame: where the two
//! shards are open for different ones, the caller is asked to wait.

mod delete;
mod hold;
mod names;
mod replay;
#[cfg(test)]
mod tests;
mod tick;

use sabir_storage::ticket::{Class, Ticket};
use sabir_storage::wake::Waker;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::clock::{Instant, Now};
use crate::effect::Effect;
use crate::error::{Error, Kind};
use crate::group::{
    Commit, Committed, Group, GroupError, Join, JoinReply, LeaveMember, MemberRecord, Outcome,
    State, Sync, SyncReply, Text, TopicId, WaitId,
};
use crate::limits::GROUPS_MAX;
use crate::name;
use crate::policy::{Action, Resource};

pub use hold::Groups;
pub(crate) use names::GroupNames;
pub use names::GroupRef;
pub(crate) use replay::Restore;
pub(crate) use tick::Agenda;

/// Bytes that an offset takes in an effect at most, besides its metadata.
const OFFSET_BYTES_MAX: usize = 64;

/// What a group says, and what saying so rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    pub value: T,
    /// The answer may be given once this is reached.
    pub ticket: Ticket,
}

/// A request that waits for other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupWait {
    at: GroupRef,
    wait: WaitId,
}

/// What became of a join or a sync.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked<T> {
    Done(T),
    /// Not yet: the waker is woken when it is worth asking again.
    Wait(GroupWait),
    Refused(GroupError),
}

/// A group as it is at the moment.
#[derive(Clone, Debug)]
pub struct Description {
    pub state: State,
    pub generation: i32,
    pub protocol_type: Option<Text>,
    pub protocol: Option<Text>,
    pub members: Vec<MemberRecord>,
}

/// One group of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: Text,
    pub state: State,
    pub members: usize,
    pub protocol_type: Option<Text>,
}

/// One result for each of the things asked for, in order.
pub type Results = Vec<Result<(), GroupError>>;

/// Topic, partition and what was committed for it.
pub type CommittedOf = (TopicId, i32, Committed);

impl Caller {
    /// Joins a group, or joins it again. Throttled: nothing has happened yet; wait and repeat.
    pub fn join(
        &self,
        now: Now,
        name: &str,
        join: Join<'_>,
    ) -> Result<Answer<Asked<JoinReply>>, Error> {
        self.may_use_group(name)?;
        self.has_room(self.broker.group_settings.group_bytes_max)?;
        loop {
            let at = match self.find_group(name) {
                Some(at) => at,
                None => match self.refuse_first(&join) {
                    Some(error) => return Ok(Answer::at_once(Asked::Refused(error))),
                    None => self.make_group(now, name)?,
                },
            };
            let turn = self.broker.group_turn(now, at, |group| group.join(now, join));
            match turn {
                Some(turn) => return Ok(turn.members().map(|outcome| Asked::of(at, outcome))),
                None => self.broker.groups.remove(self.namespace(), name, at.id),
            }
        }
    }

    /// Looks again at a join that had to wait.
    pub fn poll_join(&self, now: Now, wait: GroupWait) -> Answer<Asked<JoinReply>> {
        let turn = self.broker.group_turn(now, wait.at, |group| group.poll_join(wait.wait));
        let unknown = Answer::at_once(Asked::Refused(GroupError::UnknownMember));
        turn.map_or(unknown, |turn| turn.members().map(|outcome| Asked::of(wait.at, outcome)))
    }

    /// Asks for the assignment of a generation.
    pub fn sync(
        &self,
        now: Now,
        name: &str,
        sync: Sync<'_>,
    ) -> Result<Answer<Asked<SyncReply>>, Error> {
        self.may_use_group(name)?;
        self.has_room(self.broker.group_settings.group_bytes_max)?;
        let unknown = Answer::at_once(Asked::Refused(GroupError::UnknownMember));
        let Some(at) = self.find_group(name) else { return Ok(unknown) };
        let turn = self.broker.group_turn(now, at, |group| group.sync(now, sync));
        Ok(turn.map_or(unknown, |turn| turn.members().map(|outcome| Asked::of(at, outcome))))
    }

    /// Looks again at a sync that had to wait.
    pub fn poll_sync(&self, now: Now, wait: GroupWait) -> Answer<Asked<SyncReply>> {
        let turn = self.broker.group_turn(now, wait.at, |group| group.poll_sync(wait.wait));
        let unknown = Answer::at_once(Asked::Refused(GroupError::UnknownMember));
        turn.map_or(unknown, |turn| turn.members().map(|outcome| Asked::of(wait.at, outcome)))
    }

    /// The party behind that waker is gone, and with it the request that waited.
    pub fn gone(&self, wait: GroupWait, me: &Waker) {
        self.broker.core.lock(wait.at.shard).group_gone(wait.at.id, me);
    }

    /// Tells that a member lives.
    pub fn heartbeat(
        &self,
        now: Now,
        name: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<Answer<Result<(), GroupError>>, Error> {
        self.may_use_group(name)?;
        let unknown = Answer::at_once(Err(GroupError::UnknownMember));
        let Some(at) = self.find_group(name) else { return Ok(unknown) };
        let turn = self
            .broker
            .group_turn(now, at, |group| group.heartbeat(now, member_id, instance_id, generation));
        Ok(turn.map_or(unknown, Turn::members))
    }

    /// Takes members out of a group; one result for each.
    pub fn leave(
        &self,
        now: Now,
        name: &str,
        members: &[LeaveMember<'_>],
    ) -> Result<Answer<Results>, Error> {
        self.may_use_group(name)?;
        self.has_room(self.broker.group_settings.group_bytes_max)?;
        let unknown = Answer::at_once(vec![Err(GroupError::UnknownMember); members.len()]);
        let Some(at) = self.find_group(name) else { return Ok(unknown) };
        let turn = self.broker.group_turn(now, at, |group| group.leave(now, members));
        Ok(turn.map_or(unknown, Turn::members))
    }

    /// Keeps offsets: one result for each, or one refusal for all. `NotFound` if there is no such
    /// group and the commit is one of a member.
    pub fn commit_offsets(
        &self,
        now: Now,
        name: &str,
        commit: Commit<'_>,
    ) -> Result<Answer<Result<Results, GroupError>>, Error> {
        self.may_use_group(name)?;
        let metadata: usize = commit.offsets.iter().map(|offset| offset.metadata.len()).sum();
        self.has_room(commit.offsets.len() * OFFSET_BYTES_MAX + metadata)?;
        loop {
            let at = match self.find_group(name) {
                Some(at) => at,
                None if commit.generation < 0 => self.make_group(now, name)?,
                None => return Err(Error::not_found("there is no such group")),
            };
            match self.broker.group_turn(now, at, |group| group.commit(now, commit)) {
                Some(turn) => return Ok(turn.offsets()),
                None => self.broker.groups.remove(self.namespace(), name, at.id),
            }
        }
    }

    /// The offsets of these partitions, or with None of all that have one, by topic and partition.
    /// What was never committed is left out.
    pub fn committed_offsets(
        &self,
        now: Now,
        name: &str,
        partitions: Option<&[(TopicId, i32)]>,
    ) -> Result<Answer<Vec<CommittedOf>>, Error> {
        self.may_describe_group(name)?;
        let Some(at) = self.find_group(name) else { return Ok(Answer::at_once(Vec::new())) };
        let turn = self.broker.group_turn(now, at, |group| match partitions {
            None => group.offsets().map(|(t, p, committed)| (*t, p, committed.clone())).collect(),
            Some(asked) => asked
                .iter()
                .filter_map(|(t, p)| Some((*t, *p, group.offset(t, *p)?.clone())))
                .collect(),
        });
        Ok(turn.map_or_else(|| Answer::at_once(Vec::new()), Turn::offsets))
    }

    /// A group with its members; None if there is no such group.
    pub fn describe_group(
        &self,
        now: Now,
        name: &str,
    ) -> Result<Option<Answer<Description>>, Error> {
        self.may_describe_group(name)?;
        let Some(at) = self.find_group(name) else { return Ok(None) };
        let turn = self.broker.group_turn(now, at, |group| Description {
            state: group.state(),
            generation: group.generation(),
            protocol_type: group.protocol_type().cloned(),
            protocol: group.protocol().cloned(),
            members: group.members().cloned().collect(),
        });
        Ok(turn.map(Turn::members))
    }

    /// All groups that this client may see, in the order of their names.
    pub fn list_groups(&self, now: Now) -> Answer<Vec<Listed>> {
        let mut list = Answer::at_once(Vec::new());
        for (name, at) in self.broker.groups.all(self.namespace()) {
            if self.allowed(Action::Describe, Resource::Group(&name)).is_err() {
                continue;
            }
            let turn = self.broker.group_turn(now, at, |group| Listed {
                name,
                state: group.state(),
                members: group.members_len(),
                protocol_type: group.protocol_type().cloned(),
            });
            if let Some(Answer { value, ticket }) = turn.map(Turn::members) {
                list.value.push(value);
                list.ticket = list.ticket.join(ticket);
            }
        }
        list
    }

    fn may_use_group(&self, name: &str) -> Result<(), Error> {
        name::check(name)?;
        self.allowed(Action::Consume, Resource::Group(name))
    }

    fn may_describe_group(&self, name: &str) -> Result<(), Error> {
        name::check(name)?;
        self.allowed(Action::Describe, Resource::Group(name))
    }

    fn find_group(&self, name: &str) -> Option<GroupRef> {
        self.broker.groups.find(self.namespace(), name)
    }

    /// Why a join does not make a group.
    fn refuse_first(&self, join: &Join<'_>) -> Option<GroupError> {
        let settings = &self.broker.settings.groups;
        let sessions = settings.session_timeout_ms_min..=settings.session_timeout_ms_max;
        if !sessions.contains(&join.session_timeout_ms) {
            Some(GroupError::InvalidSessionTimeout)
        } else if !join.member_id.is_empty() {
            Some(GroupError::UnknownMember)
        } else if join.protocol_type.is_empty() || join.protocols.is_empty() {
            Some(GroupError::InconsistentProtocol)
        } else {
            None
        }
    }

    /// Makes a group unless it exists by now.
    fn make_group(&self, now: Now, name: &str) -> Result<GroupRef, Error> {
        let Broker { core, groups, group_settings, .. } = &*self.broker;
        let _alone = self.broker.declaring.lock();
        if let Some(at) = self.find_group(name)
            && core.lock(at.shard).groups.map.contains_key(&at.id)
        {
            return Ok(at);
        }
        if groups.len() >= GROUPS_MAX {
            let what = format!("the broker has at most {GROUPS_MAX} groups");
            return Err(Error::new(Kind::Full, what));
        }
        let namespace = self.home()?.id;
        let mut first = core.lock(0);
        let id = first.registry.next_id;
        let shard = u16::try_from(id % u64::from(core.count())).expect("below the shard count");
        let at = GroupRef { id, shard };
        let mut other = (shard != 0).then(|| core.lock(shard));
        if let Some(home) = &other
            && home.open != first.open
        {
            return Err(Error::throttled(Ticket::new(Class::Os, home.open)));
        }
        first.registry.next_id += 1;
        let named = name.as_bytes().to_vec().into();
        first.stage(&Effect::GroupNamed { id, shard, namespace, name: named });
        let home = other.as_mut().unwrap_or(&mut first);
        assert_eq!(home.id, shard, "group {id} begins at home");
        let group = Group::create(id, name, group_settings.clone(), now);
        home.groups.insert(namespace, group, true);
        let turn = home.group_turn(now, id, |_| ());
        let due = turn.and_then(|(_, after)| after.due);
        groups.put(namespace, name.into(), at);
        drop((other, first));
        self.broker.wal.notify();
        self.broker.agenda.arm(due.unwrap_or(Instant::FAR));
        Ok(at)
    }
}

/// The result of a turn before it is known what the answer is about.
struct Turn<T> {
    value: T,
    members: Ticket,
    offsets: Ticket,
}

impl<T> Turn<T> {
    fn members(self) -> Answer<T> {
        Answer { value: self.value, ticket: self.members }
    }

    fn offsets(self) -> Answer<T> {
        Answer { value: self.value, ticket: self.offsets }
    }
}

impl Broker {
    /// One turn of a group under the lock of its shard, and everything that follows from it.
    /// None if the group is gone.
    fn group_turn<R>(
        &self,
        now: Now,
        at: GroupRef,
        verb: impl FnOnce(&mut Group) -> R,
    ) -> Option<Turn<R>> {
        let (value, after) = self.core.lock(at.shard).group_turn(now, at.id, verb)?;
        if after.staged {
            self.wal.notify();
        }
        if let Some((namespace, name)) = &after.ended {
            self.groups.remove(*namespace, name, at.id);
        }
        if let Some(due) = after.due {
            self.agenda.arm(due);
        }
        after.wakes.iter().for_each(Waker::wake);
        Some(Turn { value, members: after.members, offsets: after.offsets })
    }
}

impl<T> Answer<T> {
    /// Rests on nothing.
    fn at_once(value: T) -> Answer<T> {
        Answer { value, ticket: Ticket::DONE }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: change(self.value), ticket: self.ticket }
    }
}

impl<T> Asked<T> {
    fn of(at: GroupRef, outcome: Outcome<T>) -> Asked<T> {
        match outcome {
            Outcome::Done(reply) => Asked::Done(reply),
            Outcome::Wait(wait) => Asked::Wait(GroupWait { at, wait }),
            Outcome::Refused(error) => Asked::Refused(error),
        }
    }
}
