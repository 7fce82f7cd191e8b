//! A group: members that share work under a leader's assignment, and the offsets they commit. A
//! deterministic state machine without I/O, clock, lock or chance. What members say to each other
//! (metadata, assignments) is opaque bytes.
//!
//! ```text
//!            first join                      all joined, or time is up
//!   Empty ───────────────► Preparing ──────────────────────────────► Completing
//!     ▲                     ▲  │  ▲                                      │
//!     │  nobody came back   │  │  └── member comes, goes or changes ─────┤ leader's assignment
//!     └─────────────────────┼──┘                                         ▼
//!     deleted → Dead        └──────── member comes, goes or changes ── Stable
//! ```
//!
//! How a shard drives it, under its lock: call a verb; stage what [`Group::take_effects`] gives and
//! tell the ticket by [`Group::staged`]; send the answer once [`Group::members_ticket`] (commits
//! and offset reads: [`Group::offsets_ticket`]), read after that, is reached. When the lock is
//! free, fire [`Group::take_wakes`]. Call [`Group::tick`] at [`Group::deadline`].
//!
//! Durable are the members of the last *complete* generation, every generation number given out,
//! and the offsets. A round that a restart interrupts is as if it had not begun, except that its
//! number is not given again: whoever heard that number is told to join again.

mod codec;
mod commit;
mod effect;
mod error;
mod image;
mod join;
mod member;
mod offsets;
mod rebalance;
mod settings;
mod stay;
mod timers;
mod wait;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use codec::DecodeError;
pub use commit::{Commit, OffsetCommit, Subscribed};
pub use effect::{GroupEffect, Membership};
pub use error::GroupError;
pub use image::Rows;
pub use join::{Join, JoinMember, JoinOutcome, JoinReply};
pub use member::{MemberRecord, Protocol};
pub use offsets::{Committed, OffsetEntry, OffsetPage};
pub use settings::GroupSettings;
pub use stay::{LeaveMember, Sync, SyncOutcome, SyncReply};
pub use wait::{Outcome, WaitId};

use crate::clock::{Instant, Now, WallMs};
use crate::ticket::Ticket;
use crate::wake::Waker;
use member::{Member, Members};
use offsets::OffsetTable;
use rebalance::InitialDelay;
use wait::Waits;

/// Text that several owners share.
pub type Text = Arc<str>;
/// A topic's identity: a topic made again under the same name is another one.
pub type TopicId = [u8; 16];

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No members; perhaps offsets.
    Empty,
    /// Waits until its members have joined.
    Preparing,
    /// Everybody has joined; waits for the leader's assignment.
    Completing,
    /// Every member can have its assignment.
    Stable,
    /// Deleted; to be dropped by its owner.
    Dead,
}

/// One group.
///
/// Invariants: a leader exactly if there are members, and one of them; `generation` ≤
/// `generation_last`, which never falls; in `Stable` the live members are those of `saved`; no
/// member waits for an assignment outside `Completing`; no deadline lies before `wake_at`.
pub struct Group {
    id: u64,
    name: Text,
    settings: Arc<GroupSettings>,
    created_ms: WallMs,
    state: State,
    generation: i32,
    generation_last: i32,
    protocol_type: Option<Text>,
    protocol: Option<Text>,
    leader: Option<Text>,
    members: Members,
    /// Ids given out to members that have yet to join with them, and until when.
    pending: BTreeMap<Text, Instant>,
    /// Members of this generation that have not asked for their assignment yet.
    unsynced: BTreeSet<Text>,
    /// `Some` while the first round of an empty group is being prepared.
    initial: Option<InitialDelay>,
    join_due: Option<Instant>,
    sync_due: Option<Instant>,
    /// The last complete generation, as it is durable.
    saved: Arc<Membership>,
    offsets: OffsetTable,
    joins: Waits<JoinReply>,
    syncs: Waits<SyncReply>,
    effects: Vec<GroupEffect>,
    members_ticket: Ticket,
    offsets_ticket: Ticket,
    /// Effects were handed out, of members (0) or offsets (1), whose ticket is not yet known.
    unticketed: (bool, bool),
    head_changed: bool,
    /// Not later than any deadline.
    wake_at: Instant,
}

impl Group {
    /// A new group; its first effect says so.
    pub fn create(id: u64, name: &str, settings: Arc<GroupSettings>, now: Now) -> Group {
        let mut group = Group::blank(id, settings);
        let created = GroupEffect::Created { name: name.into(), created_ms: now.wall };
        group.commit_effect(created);
        group.arm(now.mono);
        group
    }

    /// A group that nothing is known of yet: to be filled by `load_*` and `apply`, then `opened`.
    pub fn blank(id: u64, settings: Arc<GroupSettings>) -> Group {
        Group {
            id,
            name: "".into(),
            settings,
            created_ms: 0,
            state: State::Empty,
            generation: 0,
            generation_last: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Members::default(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            initial: None,
            join_due: None,
            sync_due: None,
            saved: Arc::default(),
            offsets: OffsetTable::default(),
            joins: Waits::default(),
            syncs: Waits::default(),
            effects: Vec::new(),
            members_ticket: Ticket::DONE,
            offsets_ticket: Ticket::DONE,
            unticketed: (false, false),
            head_changed: false,
            wake_at: Instant::FAR,
        }
    }

    /// The settings changed; what members were promised before stays.
    pub fn configure(&mut self, settings: Arc<GroupSettings>) {
        self.settings = settings;
    }

    /// Begins to live after loading and replay: the members of the last complete generation
    /// resume, their sessions beginning now.
    pub fn opened(&mut self, now: Now) {
        assert!(self.members.is_empty() && self.effects.is_empty(), "a group opens once");
        if self.state == State::Dead {
            return;
        }
        let saved = self.saved.clone();
        self.generation = saved.generation;
        self.protocol_type.clone_from(&saved.protocol_type);
        self.protocol.clone_from(&saved.protocol);
        self.leader.clone_from(&saved.leader);
        for record in &saved.members {
            let due = now.mono + timers::ms(record.session_timeout_ms);
            self.members.insert(Member::new(record.clone(), false, due));
        }
        self.state = if self.members.is_empty() { State::Empty } else { State::Stable };
        self.arm(now.mono);
        if self.members.len() > self.settings.members_max {
            self.prepare_rebalance(now);
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn name(&self) -> &Text {
        &self.name
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// None in a group that never had members.
    pub fn protocol_type(&self) -> Option<&Text> {
        self.protocol_type.as_ref()
    }

    /// The protocol of the present generation.
    pub fn protocol(&self) -> Option<&Text> {
        self.protocol.as_ref()
    }

    pub fn leader(&self) -> Option<&Text> {
        self.leader.as_ref()
    }

    /// In the order of ids. Before `Stable` assignments are empty or those of before.
    pub fn members(&self) -> impl Iterator<Item = &MemberRecord> {
        self.members.iter().map(Member::record)
    }

    pub fn members_len(&self) -> usize {
        self.members.len()
    }

    /// Requests that wait for other members.
    pub fn waiting(&self) -> usize {
        self.joins.open() + self.syncs.open()
    }

    /// Takes a shared ticket from the shard for the effects taken last.
    pub fn staged(&mut self, ticket: Ticket) {
        let (members, offsets) = std::mem::take(&mut self.unticketed);
        if members {
            self.members_ticket = self.members_ticket.join(ticket);
        }
        if offsets {
            self.offsets_ticket = self.offsets_ticket.join(ticket);
        }
    }

    /// What an answer about members (join, sync, heartbeat, leave, describe) rests on.
    pub fn members_ticket(&self) -> Ticket {
        assert!(self.effects.is_empty(), "effects are staged before an answer is sent");
        self.members_ticket
    }

    /// What an answer about offsets rests on.
    pub fn offsets_ticket(&self) -> Ticket {
        assert!(self.effects.is_empty(), "effects are staged before an answer is sent");
        self.offsets_ticket
    }

    /// The decided changes since the last call, in order; often none.
    pub fn take_effects(&mut self) -> Vec<GroupEffect> {
        for effect in &self.effects {
            match effect {
                GroupEffect::Members(_) | GroupEffect::Generation(_) => self.unticketed.0 = true,
                GroupEffect::Offsets(_)
                | GroupEffect::OffsetsRemoved(_)
                | GroupEffect::TopicForgotten(_) => self.unticketed.1 = true,
                GroupEffect::Created { .. } | GroupEffect::Deleted => {
                    self.unticketed = (true, true)
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// Whom to wake, now that no lock is held.
    pub fn take_wakes(&mut self) -> Vec<Waker> {
        let mut wakes = Vec::new();
        self.joins.take_wakes(&mut wakes);
        self.syncs.take_wakes(&mut wakes);
        wakes
    }

    /// That party is gone and will not ask for its answers. Its members stay until their session
    /// ends: a client may come back on another connection.
    pub fn gone(&mut self, waker: &Waker) {
        self.joins.gone(waker);
        self.syncs.gone(waker);
    }

    /// Deletes an empty group with its offsets.
    ///
    /// # Errors
    /// `NonEmptyGroup` while there are members or a first round; `Dead` if it is deleted already.
    pub fn delete(&mut self) -> Result<(), GroupError> {
        match self.state {
            State::Dead => Err(GroupError::Dead),
            State::Empty => {
                self.commit_effect(GroupEffect::Deleted);
                Ok(())
            }
            State::Preparing | State::Completing | State::Stable => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Takes part in replay: the effect happened.
    pub fn apply(&mut self, effect: &GroupEffect) {
        match effect {
            GroupEffect::Created { name, created_ms } => {
                self.name = name.clone();
                self.created_ms = *created_ms;
                self.head_changed = true;
            }
            GroupEffect::Members(membership) => {
                self.saved = membership.clone();
                self.generation_last = self.generation_last.max(membership.generation);
                self.head_changed = true;
            }
            GroupEffect::Generation(generation) => {
                self.generation_last = self.generation_last.max(*generation);
                self.head_changed = true;
            }
            GroupEffect::Offsets(entries) => entries.iter().for_each(|e| self.offsets.put(e)),
            GroupEffect::OffsetsRemoved(keys) => {
                keys.iter().for_each(|(topic, partition)| self.offsets.remove(topic, *partition));
            }
            GroupEffect::TopicForgotten(topic) => self.offsets.forget(topic),
            GroupEffect::Deleted => {
                self.state = State::Dead;
                self.pending.clear();
                self.offsets.clear();
                self.head_changed = true;
            }
        }
    }

    /// Every durable change goes through here, so that replay cannot differ from life.
    fn commit_effect(&mut self, effect: GroupEffect) {
        self.apply(&effect);
        self.effects.push(effect);
    }

    /// Makes the live members the durable ones.
    fn save_members(&mut self, now: Now) {
        let membership = Membership {
            generation: self.generation,
            since_ms: now.wall,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members().cloned().collect(),
        };
        assert!(membership.is_sound(), "only a sound membership is kept");
        self.commit_effect(GroupEffect::Members(Arc::new(membership)));
    }

    /// A member by what a request says of it.
    fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.members.instance(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(holder) if **holder != *id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.get(id).is_some() { Ok(()) } else { Err(GroupError::UnknownMember) }
    }
}
