//! The groups of one shard, and the one way to one of them: a turn, which stages what the group
//! decides. Their rules are in `group`; names and locks are outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sabir_storage::planted::{self, Bug};
use sabir_storage::ticket::{Class, FrameNo, Ticket};
use sabir_storage::wake::Waker;

use crate::clock::{Instant, Now};
use crate::effect::{self, Effect};
use crate::group::{Group, GroupEffect, GroupSettings, Text, TopicId};
use crate::shard::Shard;
use crate::stats::GroupStates;
use crate::topic::NamespaceId;

/// The groups that live in a shard.
/// Invariant: `due` names each group with a deadline once, at that deadline.
#[derive(Default)]
pub struct Groups {
    pub(super) map: BTreeMap<u64, Held>,
    due: BTreeSet<(Instant, u64)>,
    /// Whose rows are older than they are, and whose rows have to go ...
    pub(super) dirty: BTreeSet<u64>,
    pub(super) gone: Vec<u64>,
    /// ... and those of them that the checkpoint being made stores.
    pub(super) imaging: BTreeSet<u64>,
    pub(super) leaving: Vec<u64>,
}

/// One group with what the shard knows of it.
pub(super) struct Held {
    pub group: Group,
    pub namespace: NamespaceId,
    due: Option<Instant>,
    /// False from loading until its first turn, which lends it the time to open with.
    opened: bool,
    /// Topics it has offsets of that were gone when the broker opened.
    pub stale: Vec<TopicId>,
    /// The frame as of which its rows were; replay skips what they have already.
    pub loaded: FrameNo,
}

/// What has to be done once the shard is free again.
pub(super) struct After {
    /// What an answer about members, and one about offsets, rests on.
    pub members: Ticket,
    pub offsets: Ticket,
    pub wakes: Vec<Waker>,
    pub staged: bool,
    /// A deadline that was not there before.
    pub due: Option<Instant>,
    /// The group has ended, and its name with it.
    pub ended: Option<(NamespaceId, Text)>,
}

impl Groups {
    pub(super) fn insert(&mut self, namespace: NamespaceId, group: Group, opened: bool) {
        let id = group.id();
        let mut held = Held { group, namespace, due: None, opened, stale: Vec::new(), loaded: 0 };
        if !opened {
            held.plan(&mut self.due, id, Some(Instant::default()));
        }
        let before = self.map.insert(id, held);
        assert!(before.is_none(), "the number {id} of a group was given twice");
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(mut held) = self.map.remove(&id) else { return };
        held.plan(&mut self.due, id, None);
        self.dirty.remove(&id);
        self.imaging.remove(&id);
        self.gone.push(id);
    }

    /// Takes part in replay: a group that nothing is known of yet but its name.
    pub(super) fn insert_named(
        &mut self,
        id: u64,
        namespace: NamespaceId,
        name: Text,
        settings: Arc<GroupSettings>,
    ) {
        if self.map.contains_key(&id) {
            return;
        }
        let mut group = Group::blank(id, settings);
        // When it was made stands in its own first effect, if that was reached.
        group.apply(&GroupEffect::Created { name, created_ms: 0 });
        self.insert(namespace, group, false);
        self.dirty.insert(id);
    }

    /// Who has something to do by now.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        self.due.range(..=(now, u64::MAX)).map(|(_, id)| *id).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|first| first.0)
    }

    /// Counts the groups from this number on, at most `most` of them; returns where to go on.
    pub(crate) fn count_states(
        &self,
        from: u64,
        most: usize,
        into: &mut GroupStates,
    ) -> Option<u64> {
        let mut rest = self.map.range(from..);
        rest.by_ref().take(most).for_each(|(_, held)| into.count(held.group.state()));
        rest.next().map(|(id, _)| *id)
    }

    pub(super) fn with_offsets_of(&self, topic: &TopicId) -> Vec<u64> {
        let has = |held: &Held| held.group.has_offsets_of(topic);
        self.map.iter().filter(|(_, held)| has(held)).map(|(id, _)| *id).collect()
    }
}

impl Held {
    /// Notes its next deadline. True if it is new.
    fn plan(&mut self, due: &mut BTreeSet<(Instant, u64)>, id: u64, at: Option<Instant>) -> bool {
        if self.due == at {
            return false;
        }
        if let Some(before) = self.due.take() {
            assert!(due.remove(&(before, id)), "the deadline of group {id} was in the plan");
        }
        self.due = at;
        if let Some(at) = at {
            assert!(due.insert((at, id)), "a group has one deadline, group {id} another");
        }
        at.is_some()
    }
}

impl Shard {
    /// Whoever waits there with this waker has left. Nothing is decided by it.
    pub(super) fn group_gone(&mut self, id: u64, me: &Waker) {
        if let Some(held) = self.groups.map.get_mut(&id) {
            held.group.gone(me);
        }
    }

    /// Lets a group do something, and stages what it decides. None if it is not here.
    pub(super) fn group_turn<R>(
        &mut self,
        now: Now,
        id: u64,
        verb: impl FnOnce(&mut Group) -> R,
    ) -> Option<(R, After)> {
        let Shard { open, stage, groups, .. } = self;
        let held = groups.map.get_mut(&id)?;
        if !held.opened {
            held.opened = true;
            held.group.opened(now);
            for topic in std::mem::take(&mut held.stale) {
                held.group.forget_topic(now, &topic);
            }
        }
        assert_eq!(held.group.id(), id, "groups are kept under their own number");
        let answer = verb(&mut held.group);
        let effects = held.group.take_effects();
        let staged = !effects.is_empty();
        for effect in &effects {
            effect::stage(stage, &outer(id, effect));
        }
        if staged {
            stage.classes.add(Class::Durable);
            held.group.staged(Ticket::new(Class::Durable, *open));
            groups.dirty.insert(id);
        }
        let deadline = held.group.deadline();
        let fresh = held.plan(&mut groups.due, id, deadline);
        let early = planted::active(Bug::AnswerGroupEarly);
        let ticket = |ticket| if early { Ticket::DONE } else { ticket };
        let after = After {
            members: ticket(held.group.members_ticket()),
            offsets: ticket(held.group.offsets_ticket()),
            wakes: held.group.take_wakes(),
            staged,
            due: deadline.filter(|_| fresh),
            ended: held.group.is_dead().then(|| (held.namespace, held.group.name().clone())),
        };
        if after.ended.is_some() {
            groups.remove(id);
        }
        Some((answer, after))
    }
}

fn outer(id: u64, effect: &GroupEffect) -> Effect {
    if *effect == GroupEffect::Deleted {
        return Effect::GroupGone { id };
    }
    let mut change = Vec::new();
    effect.encode(&mut change);
    Effect::Group { id, change: change.into() }
}
