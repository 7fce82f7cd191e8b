//! Who may commit, read and remove offsets, and when they end by themselves.

use super::{Committed, Group, GroupEffect, GroupError, OffsetEntry, State, Text, TopicId, timers};
use crate::clock::{Now, WallMs};
use sabir_storage::planted::{self, Bug};

/// Offsets that a member, or a client outside any generation, wants kept.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Empty from a client that is no member.
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Negative from a client that is no member.
    pub generation: i32,
    pub offsets: &'a [OffsetCommit<'a>],
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct OffsetCommit<'a> {
    pub topic: TopicId,
    /// Not negative; the caller has checked that it exists.
    pub partition: i32,
    pub offset: i64,
    /// -1 = not told.
    pub leader_epoch: i32,
    /// At most `offset_metadata_bytes_max` bytes.
    pub metadata: &'a str,
    /// End of a retention of its own.
    pub expire_ms: Option<WallMs>,
}

/// Reads what the core cannot: given the protocol type and a member's metadata, whether the member
/// reads that topic; `None` if it cannot tell.
pub type Subscribed<'a> = dyn Fn(&str, &[u8], &TopicId) -> Option<bool> + 'a;

impl Group {
    /// Keeps offsets; the results are per partition, in the order given.
    ///
    /// # Errors
    /// For all together when the sender may not commit: `UnknownMember`, `FencedInstance`,
    /// `IllegalGeneration`, `RebalanceInProgress` (joined, but without an assignment yet), `Dead`.
    pub fn commit(
        &mut self,
        now: Now,
        commit: Commit<'_>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.check_commit(&commit) {
            Err(GroupError::IllegalGeneration) if planted::active(Bug::CommitZombie) => {}
            checked => checked?,
        }
        self.renew(now, commit.member_id);
        let mut entries = Vec::with_capacity(commit.offsets.len());
        let mut results = Vec::with_capacity(commit.offsets.len());
        for offset in commit.offsets {
            let result = self.check_offset(offset);
            if result.is_ok() {
                entries.push(offset.entry(now));
            }
            results.push(result);
        }
        if !entries.is_empty() {
            if self.state == State::Empty {
                let ends = entries.iter().map(|entry| self.retained_until(&entry.committed));
                let first = ends.min().expect("there are entries");
                self.arm(timers::at_wall(now, first));
            }
            self.commit_effect(GroupEffect::Offsets(entries));
        }
        Ok(results)
    }

    /// The offset of one partition.
    pub fn offset(&self, topic: &TopicId, partition: i32) -> Option<&Committed> {
        self.offsets.get(topic, partition)
    }

    /// All offsets, by topic and partition.
    pub fn offsets(&self) -> impl Iterator<Item = (&TopicId, i32, &Committed)> {
        self.offsets.iter()
    }

    /// Removes offsets at somebody's wish; the results are in the order given. An offset that is
    /// not there is removed without harm.
    ///
    /// # Errors
    /// `NonEmptyGroup` for all together if some member's metadata tells nothing; `Dead`. For one
    /// offset `SubscribedToTopic` if a member reads its topic.
    pub fn remove_offsets(
        &mut self,
        now: Now,
        keys: &[(TopicId, i32)],
        subscribed: &Subscribed<'_>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if self.state == State::Dead {
            return Err(GroupError::Dead);
        }
        let mut results = Vec::with_capacity(keys.len());
        for (topic, _) in keys {
            let read = self.is_subscribed(topic, subscribed).ok_or(GroupError::NonEmptyGroup)?;
            results.push(if read { Err(GroupError::SubscribedToTopic) } else { Ok(()) });
        }
        let gone = keys.iter().zip(&results).filter(|((topic, partition), result)| {
            result.is_ok() && self.offsets.get(topic, *partition).is_some()
        });
        let gone: Vec<_> = gone.map(|(key, _)| *key).collect();
        if !gone.is_empty() {
            self.commit_effect(GroupEffect::OffsetsRemoved(gone));
            self.arm(now.mono);
        }
        Ok(results)
    }

    pub fn has_offsets_of(&self, topic: &TopicId) -> bool {
        self.offsets.has_topic(topic)
    }

    /// A topic was deleted: its offsets go, whoever reads it.
    pub fn forget_topic(&mut self, now: Now, topic: &TopicId) {
        if self.state != State::Dead && self.offsets.has_topic(topic) {
            self.commit_effect(GroupEffect::TopicForgotten(*topic));
            self.arm(now.mono);
        }
    }

    /// In an empty group: removes offsets whose retention is over, and ends a group of which
    /// nothing is left. Returns the wall time of the next such moment.
    pub(super) fn expire_offsets(&mut self, now: Now) -> Option<WallMs> {
        if self.state != State::Empty {
            return None;
        }
        let ends: Vec<(TopicId, i32, WallMs)> =
            self.offsets.iter().map(|(t, p, c)| (*t, p, self.retained_until(c))).collect();
        let over: Vec<_> =
            ends.iter().filter(|end| end.2 <= now.wall).map(|end| (end.0, end.1)).collect();
        if !over.is_empty() {
            self.commit_effect(GroupEffect::OffsetsRemoved(over));
        }
        if !self.offsets.is_empty() {
            return ends.iter().map(|end| end.2).filter(|end| *end > now.wall).min();
        }
        if !self.pending.is_empty() {
            return None;
        }
        let unused = self.empty_since().saturating_add_unsigned(self.settings.unused_ms);
        if unused > now.wall {
            return Some(unused);
        }
        self.commit_effect(GroupEffect::Deleted);
        None
    }

    fn empty_since(&self) -> WallMs {
        if self.saved.protocol_type.is_some() { self.saved.since_ms } else { self.created_ms }
    }

    /// Offsets of a group that had members end together, counted from when the last one left.
    fn retained_until(&self, committed: &Committed) -> WallMs {
        let had_members = self.saved.protocol_type.is_some();
        let from = if had_members { self.saved.since_ms } else { committed.commit_ms };
        let until = from.saturating_add_unsigned(self.settings.offset_retention_ms);
        committed.expire_ms.unwrap_or(until)
    }

    fn is_subscribed(&self, topic: &TopicId, subscribed: &Subscribed<'_>) -> Option<bool> {
        let kind = self.protocol_type.as_deref().unwrap_or("");
        let protocol = self.protocol.as_deref();
        let mut any = false;
        for member in self.members() {
            // Before the first generation there is no choice yet: what it likes best counts.
            let chosen = protocol.and_then(|name| member.protocol(name));
            let metadata = &chosen.or(member.protocols.first())?.metadata;
            any |= subscribed(kind, metadata, topic)?;
        }
        Some(any)
    }

    fn check_commit(&self, commit: &Commit<'_>) -> Result<(), GroupError> {
        let outside =
            commit.generation < 0 && commit.member_id.is_empty() && commit.instance_id.is_none();
        match self.state {
            State::Dead => return Err(GroupError::Dead),
            State::Empty if commit.generation < 0 => return Ok(()),
            _ if outside => return Err(GroupError::UnknownMember),
            _ => {}
        }
        self.check_member(commit.member_id, commit.instance_id)?;
        if commit.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == State::Completing {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    fn check_offset(&self, offset: &OffsetCommit<'_>) -> Result<(), GroupError> {
        if offset.metadata.len() > self.settings.offset_metadata_bytes_max {
            Err(GroupError::OffsetMetadataTooLarge)
        } else if offset.partition < 0 {
            Err(GroupError::Invalid)
        } else {
            Ok(())
        }
    }
}

impl OffsetCommit<'_> {
    fn entry(&self, now: Now) -> OffsetEntry {
        OffsetEntry {
            topic: self.topic,
            partition: self.partition,
            committed: Committed {
                offset: self.offset,
                leader_epoch: self.leader_epoch,
                commit_ms: now.wall,
                expire_ms: self.expire_ms,
                metadata: Text::from(self.metadata),
            },
        }
    }
}
