//! The offset table of a group, by topic id and partition, cut into pages for its rows. It knows
//! no member; who may commit is decided in `commit.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::{self, DecodeError, Reader};
use super::{Text, TopicId};
use crate::clock::WallMs;

/// Partitions of one page.
const PAGE_PARTITIONS: i32 = 64;
const VERSION: u8 = 1;

/// How far a group has read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// Leader epoch of the last record read, -1 if the client did not tell.
    pub leader_epoch: i32,
    pub commit_ms: WallMs,
    /// End of its retention, where the client asked for one of its own.
    pub expire_ms: Option<WallMs>,
    /// What the client wanted kept with it.
    pub metadata: Text,
}

impl Committed {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.leader_epoch.to_le_bytes());
        out.extend_from_slice(&self.commit_ms.to_le_bytes());
        codec::put_option_i64(out, self.expire_ms);
        codec::put_text(out, &self.metadata);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Committed, DecodeError> {
        Ok(Committed {
            offset: reader.i64("an offset")?,
            leader_epoch: reader.i32("a leader epoch")?,
            commit_ms: reader.i64("a time")?,
            expire_ms: reader.option_i64("a time")?,
            metadata: reader.text("offset metadata")?,
        })
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub topic: TopicId,
    /// Not negative.
    pub partition: i32,
    pub committed: Committed,
}

/// Which row holds a part of the table: 64 neighbouring partitions of one topic. A topic keeps its
/// slot as long as the group has offsets in it; a free slot is given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetPage {
    pub slot: u32,
    /// Partition / 64, thus below 2^25.
    pub page: u32,
}

struct TopicOffsets {
    slot: u32,
    partitions: BTreeMap<i32, Committed>,
}

/// Invariant: no topic without partitions; `slots` names each topic once.
#[derive(Default)]
pub(super) struct OffsetTable {
    topics: BTreeMap<TopicId, TopicOffsets>,
    slots: BTreeMap<u32, TopicId>,
    /// Pages whose row is older than the table.
    changed: BTreeSet<OffsetPage>,
}

impl OffsetTable {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub fn get(&self, topic: &TopicId, partition: i32) -> Option<&Committed> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    pub fn has_topic(&self, topic: &TopicId) -> bool {
        self.topics.contains_key(topic)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicId, i32, &Committed)> {
        self.topics.iter().flat_map(|(topic, offsets)| {
            offsets
                .partitions
                .iter()
                .map(move |(partition, committed)| (topic, *partition, committed))
        })
    }

    pub fn put(&mut self, entry: &OffsetEntry) {
        assert!(entry.partition >= 0, "partitions count from 0");
        let slot = self.slot(&entry.topic);
        let offsets = self
            .topics
            .entry(entry.topic)
            .or_insert_with(|| TopicOffsets { slot, partitions: BTreeMap::new() });
        offsets.partitions.insert(entry.partition, entry.committed.clone());
        self.changed.insert(page_of(slot, entry.partition));
    }

    pub fn remove(&mut self, topic: &TopicId, partition: i32) {
        let Some(offsets) = self.topics.get_mut(topic) else { return };
        if offsets.partitions.remove(&partition).is_none() {
            return;
        }
        self.changed.insert(page_of(offsets.slot, partition));
        if offsets.partitions.is_empty() {
            self.slots.remove(&offsets.slot);
            self.topics.remove(topic);
        }
    }

    pub fn forget(&mut self, topic: &TopicId) {
        let Some(offsets) = self.topics.remove(topic) else { return };
        self.slots.remove(&offsets.slot);
        self.changed.extend(offsets.partitions.keys().map(|p| page_of(offsets.slot, *p)));
    }

    /// Drops everything, each row with it.
    pub fn clear(&mut self) {
        let topics: Vec<TopicId> = self.topics.keys().copied().collect();
        topics.iter().for_each(|topic| self.forget(topic));
    }

    /// Every page in use.
    pub fn pages(&self) -> BTreeSet<OffsetPage> {
        let topics = self.topics.values();
        topics.flat_map(|t| t.partitions.keys().map(|p| page_of(t.slot, *p))).collect()
    }

    pub fn take_changed(&mut self) -> BTreeSet<OffsetPage> {
        std::mem::take(&mut self.changed)
    }

    /// The row of a page; none when nothing is left in it.
    ///
    /// `version u8 = 1 | topic 16 B | count u32 | (partition i32 | committed)*`
    pub fn encode_page(&self, page: OffsetPage) -> Option<Vec<u8>> {
        let topic = self.slots.get(&page.slot)?;
        let from = i32::try_from(page.page).expect("a page is below 2^25") * PAGE_PARTITIONS;
        let partitions = &self.topics.get(topic)?.partitions;
        let here = partitions.range(from..=from + (PAGE_PARTITIONS - 1));
        let count = here.clone().count();
        if count == 0 {
            return None;
        }
        let mut out = vec![VERSION];
        out.extend_from_slice(topic);
        codec::put_count(&mut out, count);
        for (partition, committed) in here {
            out.extend_from_slice(&partition.to_le_bytes());
            committed.encode(&mut out);
        }
        Some(out)
    }

    /// Takes in a row as it was written.
    pub fn load_page(&mut self, page: OffsetPage, row: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(row);
        if reader.u8("a version")? != VERSION {
            return reader.fail("version 1");
        }
        let topic: TopicId = reader.array("a topic id")?;
        let by_slot = self.slots.get(&page.slot).is_none_or(|other| *other == topic);
        let by_topic = self.topics.get(&topic).is_none_or(|offsets| offsets.slot == page.slot);
        if !by_slot || !by_topic {
            return reader.fail("one topic per slot");
        }
        let count = reader.count(29, "a number of partitions")?;
        let mut read = BTreeMap::new();
        for _ in 0..count {
            let partition = reader.i32("a partition")?;
            if partition < 0 || page_of(page.slot, partition) != page {
                return reader.fail("a partition of this page");
            }
            read.insert(partition, Committed::decode(&mut reader)?);
        }
        reader.end()?;
        if !read.is_empty() {
            self.slots.insert(page.slot, topic);
            let offsets = self.topics.entry(topic);
            offsets
                .or_insert_with(|| TopicOffsets { slot: page.slot, partitions: BTreeMap::new() })
                .partitions
                .append(&mut read);
        }
        Ok(())
    }

    /// The slot of a topic; a new topic gets the lowest free one, so replay gives the same.
    fn slot(&mut self, topic: &TopicId) -> u32 {
        if let Some(offsets) = self.topics.get(topic) {
            return offsets.slot;
        }
        let mut free = 0;
        for used in self.slots.keys() {
            if *used != free {
                break;
            }
            free += 1;
        }
        self.slots.insert(free, *topic);
        free
    }
}

fn page_of(slot: u32, partition: i32) -> OffsetPage {
    OffsetPage { slot, page: (partition / PAGE_PARTITIONS).unsigned_abs() }
}
