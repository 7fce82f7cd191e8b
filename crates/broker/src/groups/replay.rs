//! Groups from effects and from rows, and their rows for the checkpoint.
//!
//! ```text
//! Group  sub 0  namespace u32 | head row of the group, which begins with its name   little-endian
//! Group  sub 1  applied u64: the frame as of which all rows of the group are
//! Offsets       sub = slot << 32 | page: a page of the group's offsets
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use sabir_storage::planted::{self, Bug};
use sabir_storage::state::{Changes, Key, Kind};
use sabir_storage::ticket::FrameNo;

use super::hold::Held;
use super::names::{GroupNames, GroupRef};
use crate::bytes::{Fields, Malformed, Put};
use crate::catalog::Catalog;
use crate::core::Core;
use crate::effect::Effect;
use crate::group::{Group, GroupEffect, GroupSettings, OffsetPage, Text, TopicId};
use crate::shard::Shard;

const HEAD: u64 = 0;
const APPLIED: u64 = 1;

/// What bringing groups back needs.
pub(crate) struct Restore<'a> {
    pub core: &'a Core,
    pub names: &'a GroupNames,
    pub settings: &'a Arc<GroupSettings>,
}

impl Restore<'_> {
    /// Replays an effect of a group that lies in the section of `shard`; any other is passed over.
    pub fn apply(&self, frame: FrameNo, shard: u16, effect: &Effect) -> Result<(), Malformed> {
        match effect {
            Effect::GroupNamed { id, shard, namespace, name } => {
                let name: Text = std::str::from_utf8(name).map_err(|_| Malformed)?.into();
                self.name(*id, *shard, *namespace, &name)?;
                let mut home = self.core.lock(*shard);
                home.groups.insert_named(*id, *namespace, name, self.settings.clone());
            }
            Effect::Group { id, change } => {
                let change = GroupEffect::decode(change).map_err(|_| Malformed)?;
                let mut home = self.core.lock(shard);
                let Some(held) = home.groups.map.get_mut(id) else { return Ok(()) };
                if frame > held.loaded {
                    held.group.apply(&change);
                    home.groups.dirty.insert(*id);
                }
            }
            Effect::GroupGone { id } => {
                let mut home = self.core.lock(shard);
                let Some(held) = home.groups.map.get(id) else { return Ok(()) };
                self.names.remove(held.namespace, held.group.name(), *id);
                home.groups.remove(*id);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in a row of kind `Group` or `Offsets`; rows come in the order of their keys.
    pub fn load_row(&self, key: Key, row: &[u8]) -> Result<(), Malformed> {
        if key.shard >= self.core.count() {
            return Err(Malformed);
        }
        if (key.kind, key.sub) == (Kind::Group, HEAD) {
            let mut fields = Fields(row);
            let namespace = fields.u32()?;
            let mut group = Group::blank(key.id, self.settings.clone());
            group.load_head(fields.0).map_err(|_| Malformed)?;
            self.name(key.id, key.shard, namespace, group.name())?;
            self.core.lock(key.shard).groups.insert(namespace, group, false);
            return Ok(());
        }
        let mut home = self.core.lock(key.shard);
        let held = home.groups.map.get_mut(&key.id).ok_or(Malformed)?;
        match (key.kind, key.sub) {
            (Kind::Group, APPLIED) => {
                let mut fields = Fields(row);
                held.loaded = fields.u64()?;
                fields.end()
            }
            (Kind::Offsets, sub) => {
                let page = OffsetPage { slot: (sub >> 32) as u32, page: sub as u32 };
                held.group.load_page(page, row).map_err(|_| Malformed)
            }
            _ => Err(Malformed),
        }
    }

    /// When everything is replayed: notes the offsets of topics that are gone.
    pub fn finish(&self, catalog: &Catalog) {
        for shard in 0..self.core.count() {
            let mut home = self.core.lock(shard);
            for held in home.groups.map.values_mut() {
                let topics: BTreeSet<TopicId> =
                    held.group.offsets().map(|(topic, _, _)| *topic).collect();
                let gone = |topic: &TopicId| catalog.topic_by_uuid(topic).is_none();
                held.stale = topics.into_iter().filter(gone).collect();
            }
        }
    }

    fn name(&self, id: u64, shard: u16, namespace: u32, name: &Text) -> Result<(), Malformed> {
        if shard >= self.core.count() {
            return Err(Malformed);
        }
        let mut first = self.core.lock(0);
        first.registry.next_id = first.registry.next_id.max(id + 1);
        drop(first);
        self.names.put(namespace, name.clone(), GroupRef { id, shard });
        Ok(())
    }
}

impl Shard {
    /// Begins a checkpoint: groups that differ from their rows now have to be stored.
    pub fn begin_group_rows(&mut self) {
        let groups = &mut self.groups;
        groups.imaging.append(&mut groups.dirty);
        groups.leaving.append(&mut groups.gone);
    }

    /// Adds the changed rows of at most `budget` groups; true when nothing is left. `applied` is
    /// the last frame that was cut; only while nothing is staged.
    pub fn group_rows(&mut self, applied: FrameNo, budget: usize, into: &mut Changes) -> bool {
        assert!(self.stage.is_empty(), "an image of shard {} inside an open frame", self.id);
        assert!(applied < self.open, "frame {applied} of shard {} is not cut", self.id);
        let (shard, groups) = (self.id, &mut self.groups);
        for id in groups.leaving.drain(..) {
            into.delete_ranges.push(Key::all_of(shard, Kind::Group, id));
            into.delete_ranges.push(Key::all_of(shard, Kind::Offsets, id));
        }
        for _ in 0..budget {
            let Some(id) = groups.imaging.pop_first() else { return true };
            let held = groups.map.get_mut(&id).expect("who goes is no longer imaged");
            put_rows(held, |kind, sub| Key::new(shard, kind, id, sub), applied, into);
        }
        groups.imaging.is_empty()
    }
}

fn put_rows(held: &mut Held, key: impl Fn(Kind, u64) -> Key, applied: FrameNo, into: &mut Changes) {
    let rows = held.group.take_changed_rows();
    if let Some(head) = rows.head {
        let mut row = Vec::with_capacity(4 + head.len());
        row.put_u32(held.namespace);
        row.put(&head);
        into.put.push((key(Kind::Group, HEAD), row));
    }
    into.put.push((key(Kind::Group, APPLIED), applied.to_le_bytes().to_vec()));
    for (page, row) in rows.pages {
        if planted::active(Bug::ForgetOffsetRows) {
            continue;
        }
        let key = key(Kind::Offsets, u64::from(page.slot) << 32 | u64::from(page.page));
        match row {
            Some(row) => into.put.push((key, row)),
            None => into.delete.push(key),
        }
    }
}
