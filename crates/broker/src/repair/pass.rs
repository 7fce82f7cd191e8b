//! One pass over a damaged directory: rows, stretches and frames become the state of the shards, as
//! far as they are whole. It either only counts what is lost, or writes what takes its place.
//! Frames are in the module beside this one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use sabir_storage::batch::Header;
use sabir_storage::extent::Extent;
use sabir_storage::log::{LogId, LogView, Offset};
use sabir_storage::repair::pieces::{self, Piece};
use sabir_storage::repair::stretches;
use sabir_storage::store::StoreError;
use sabir_storage::ticket::FrameNo;

use super::Lost;
use super::cover::{Part, cover};
use crate::broker::OpenError;
use crate::image::LogRow;
use crate::namespace::DEFAULT;
use crate::recovery::{Logs, Recovery};
use crate::topic::{Policy, Row};

/// What a pass goes by.
pub(super) struct Goal {
    /// Write what takes the place of what is damaged.
    pub write: bool,
    /// The rows may not name all stretches: those that blobs tell of count.
    pub adopt: bool,
    /// Paths of blobs of which anything is damaged: nothing stays in them.
    pub damaged: BTreeSet<String>,
    /// Numbers above this one were never given out.
    pub unused_above: u64,
}

/// Offsets of a log that are lost.
struct Hole {
    log: LogId,
    offsets: Range<i64>,
    after_ms: Option<i64>,
    before_ms: Option<i64>,
}

/// How far the records of a log are accounted for: in blobs, in memory, or lost.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    pub next: Offset,
    /// The highest timestamp of what was last, if it has one.
    pub ms: Option<i64>,
}

pub(super) struct Pass<'a> {
    pub recovery: Recovery<'a>,
    pub goal: Goal,
    pub reached: BTreeMap<LogId, Reached>,
    holes: Vec<Hole>,
    /// The highest number given out, and the highest id of a producer.
    pub highest_id: u64,
    pub highest_producer: i64,
    /// The highest generation that appended anything.
    pub highest_epoch: i32,
    pub doubts: Vec<String>,
    /// Logs whose stretches differ from those in the rows.
    changed: Vec<LogId>,
    /// Topics that had to be given a name.
    pub named: Vec<String>,
}

impl<'a> Pass<'a> {
    pub fn new(recovery: Recovery<'a>, goal: Goal) -> Pass<'a> {
        let highest_id = goal.unused_above;
        Pass {
            recovery,
            goal,
            reached: BTreeMap::new(),
            holes: Vec::new(),
            highest_id,
            highest_producer: -1,
            highest_epoch: 0,
            doubts: Vec::new(),
            changed: Vec::new(),
            named: Vec::new(),
        }
    }

    /// Takes in the rows, and the stretches: those that the rows name, or those that are told of.
    pub fn load(&mut self, told: Vec<Extent>) -> Result<(), OpenError> {
        let mut shards = self.recovery.load_logs()?;
        if self.goal.adopt {
            take_told(&mut shards, told);
        }
        for (shard, logs) in (0..).zip(&mut shards) {
            let ids: BTreeSet<LogId> =
                logs.rows.keys().chain(logs.extents.keys()).copied().collect();
            for id in ids {
                self.lay(shard, id, logs)?;
            }
        }
        let kept: Vec<Extent> = shards
            .iter()
            .flat_map(|logs| logs.extents.values().flat_map(|(_, e)| e.clone()))
            .collect();
        self.recovery.store.note_uses(kept.iter());
        self.recovery.load_catalog(&mut shards)?;
        for (shard, logs) in (0..).zip(shards) {
            self.name_homeless(shard, logs);
        }
        for topic in self.recovery.catalog.all() {
            self.highest_id = self.highest_id.max(topic.id);
            for partition in &topic.partitions {
                self.highest_id = self.highest_id.max(partition.log);
            }
        }
        self.recovery.load_others()?;
        self.read_adopted();
        Ok(())
    }

    /// Puts the stretches of a log together, writing anew what has to be.
    fn lay(&mut self, shard: u16, log: LogId, logs: &mut Logs) -> Result<(), OpenError> {
        let (first, there) = logs.extents.remove(&log).unwrap_or_default();
        let before = there.clone();
        let row = logs.rows.get_mut(&log);
        let start = row.as_ref().map_or(0, |row| row.start);
        let anew = |extent: &Extent| {
            let index = extent.blob.index().map(|blob| blob.path());
            self.goal.damaged.contains(&extent.blob.path())
                || index.is_some_and(|path| self.goal.damaged.contains(&path))
        };
        let parts = cover(there, start.unsigned_abs(), &anew);
        let mut reached = Reached { next: start, ms: None };
        let mut extents = Vec::new();
        for part in parts {
            match part {
                Part::Keep(extent) => {
                    reached =
                        Reached { next: offset(extent.next), ms: known(extent.max_timestamp) };
                    extents.push(extent);
                }
                Part::Copy(extent, from) => {
                    let pieces = stretches::pieces(&*self.recovery.store.blobs, &extent);
                    let pieces = from_offset(pieces, from);
                    extents.extend(self.rewrite(shard, log, pieces, &mut reached)?);
                }
                Part::Hole(offsets) => {
                    let pieces = vec![Piece::Hole(offsets)];
                    extents.extend(self.rewrite(shard, log, pieces, &mut reached)?);
                }
            }
        }
        // What lies before the first stretch was given up, or is lost: nobody can tell which.
        let begins = extents.first().map(|extent| offset(extent.base));
        if let Some(row) = row {
            self.highest_epoch =
                row.epochs.iter().map(|known| known.0).fold(self.highest_epoch, i32::max);
            self.settle_start(log, row, begins);
            reached.next = reached.next.max(row.start);
        } else if let Some(begins) = begins {
            let (next, epochs) = (begins, Vec::new());
            logs.rows.insert(log, LogRow { start: begins, next, applied: 0, born: 0, epochs });
        }
        self.reached.insert(log, reached);
        if before != extents {
            self.changed.push(log);
        }
        if !extents.is_empty() {
            logs.extents.insert(log, (first, extents));
        }
        Ok(())
    }

    /// Where a log begins that has lost its front.
    fn settle_start(&mut self, log: LogId, row: &mut LogRow, begins: Option<Offset>) {
        let begins = match begins {
            // In its rows or not, what the log has may all lie in the write-ahead log.
            None if !self.goal.adopt => return,
            None => row.next,
            Some(begins) => begins,
        };
        if begins > row.start {
            let (from, to) = (row.start, begins);
            if self.goal.adopt {
                self.doubts.push(format!(
                    "offsets {from} to {} of log {log} are not there: retention has deleted them \
                     since, or they are lost",
                    to - 1
                ));
            } else {
                self.hole(log, from..to, None, None);
            }
            row.start = begins;
            row.next = row.next.max(begins);
        }
    }

    /// Writes pieces of a log into a stretch of their own, holes as empty batches.
    fn rewrite(
        &mut self,
        shard: u16,
        log: LogId,
        pieces: Vec<Piece>,
        reached: &mut Reached,
    ) -> Result<Option<Extent>, StoreError> {
        for (at, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Batch(batch) => {
                    let ms = known(batch.max_timestamp).or(reached.ms);
                    *reached = Reached { next: offset(batch.next), ms };
                }
                Piece::Hole(offsets) => {
                    let before = pieces.get(at + 1).and_then(|piece| match piece {
                        Piece::Batch(batch) => known(batch.max_timestamp),
                        Piece::Hole(_) => None,
                    });
                    let lost = offset(offsets.start)..offset(offsets.end);
                    reached.next = lost.end;
                    self.hole(log, lost, reached.ms, before);
                }
            }
        }
        if !self.goal.write || pieces.is_empty() {
            let span = |piece: &Piece| match piece {
                Piece::Batch(batch) => batch.base..batch.next,
                Piece::Hole(offsets) => offsets.clone(),
            };
            let (Some(front), Some(back)) = (pieces.first(), pieces.last()) else {
                return Ok(None);
            };
            // Stands for what would be written; nothing of it is read.
            let blob =
                sabir_storage::blob::BlobId::segment(shard, log, u32::MAX, span(front).start);
            let (base, next) = (span(front).start, span(back).end);
            let max_timestamp = reached.ms.unwrap_or(-1);
            return Ok(Some(Extent { log, blob, position: 0, len: 1, base, next, max_timestamp }));
        }
        let batches = pieces::filled(pieces);
        assert!(batches.is_sorted_by(|a, b| a.next == b.base), "log {log} stays dense");
        self.recovery.store.rewrite(shard, log, &batches).map(Some)
    }

    pub(super) fn hole(
        &mut self,
        log: LogId,
        offsets: Range<i64>,
        after_ms: Option<i64>,
        before_ms: Option<i64>,
    ) {
        assert!(offsets.start < offsets.end, "nothing is lost of log {log}");
        if let Some(last) = self.holes.last_mut()
            && last.log == log
            && last.offsets.end == offsets.start
        {
            (last.offsets.end, last.before_ms) = (offsets.end, before_ms);
            return;
        }
        self.holes.push(Hole { log, offsets, after_ms, before_ms });
    }

    /// Logs whose topic nobody knows get one with a name of their own.
    fn name_homeless(&mut self, shard: u16, mut logs: Logs) {
        let ids: BTreeSet<LogId> = logs.rows.keys().chain(logs.extents.keys()).copied().collect();
        for log in ids {
            let row = logs.rows.remove(&log);
            let extents = logs.extents.remove(&log).unwrap_or_default();
            self.name(shard, log, row, extents);
        }
    }

    pub(super) fn name(
        &mut self,
        shard: u16,
        log: LogId,
        row: Option<LogRow>,
        extents: (u64, Vec<Extent>),
    ) {
        self.highest_id = self.highest_id.max(log) + 1;
        let id = self.highest_id;
        let name =
            (0..)
                .map(|n| {
                    if n == 0 { format!("recovered-{log}") } else { format!("recovered-{log}-{n}") }
                })
                .find(|name| self.recovery.catalog.topic(0, name).is_none())
                .expect("some number is free");
        let mut uuid = *b"recovered\0\0\0\0\0\0\0";
        uuid[8..].copy_from_slice(&log.to_be_bytes());
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = 0x80;
        let row_of_topic = Row {
            namespace: 0,
            name: name.clone(),
            uuid,
            id,
            partitions: vec![(log, shard)],
            policy: Policy { retention_ms: Some(-1), ..Policy::default() },
            labels: BTreeMap::new(),
            created_ms: 0,
        };
        let mut bytes = Vec::new();
        row_of_topic.encode(&mut bytes);
        self.recovery.note_topic(&row_of_topic, Some(bytes));
        let mut known = Some((row, extents));
        self.recovery.enter(&row_of_topic, 0, &mut |_, _| known.take().unwrap_or_default());
        self.named.push(name);
    }

    /// What stretches say of their log beyond its row: how far it goes, who appended, and when.
    fn read_adopted(&mut self) {
        if !self.goal.adopt {
            return;
        }
        for topic in self.recovery.catalog.all() {
            for partition in &topic.partitions {
                for extent in partition.view.extents() {
                    self.read_headers(partition.shard, &partition.view, &extent);
                }
            }
        }
    }

    fn read_headers(&mut self, shard: u16, view: &Arc<LogView>, extent: &Extent) {
        let mut locked = self.recovery.core.lock(shard);
        let next =
            |locked: &crate::shard::Shard| locked.logs.get(&extent.log).map_or(0, |l| l.next);
        if offset(extent.next) <= next(&locked) {
            return;
        }
        for piece in stretches::pieces(&*self.recovery.store.blobs, extent) {
            let Piece::Batch(batch) = piece else { continue };
            let Ok(header) = Header::parse(&batch.bytes) else { continue };
            self.highest_producer = self.highest_producer.max(header.producer_id);
            self.highest_epoch = self.highest_epoch.max(header.leader_epoch);
            if header.base_offset >= next(&locked) {
                locked.skip_to(extent.log, header.base_offset);
                locked.replay_append(FrameNo::MAX, extent.log, &header);
            }
        }
        locked.skip_to(extent.log, offset(extent.next));
        let next = next(&locked);
        drop(locked);
        if next > view.visible() {
            view.show(next, &mut Vec::new());
        }
    }

    /// Has the stretches of every log stored that differ from the rows, or of all.
    pub fn touch(&self, all: bool) {
        for topic in self.recovery.catalog.all() {
            for partition in &topic.partitions {
                if all || self.changed.contains(&partition.log) {
                    self.recovery.store.touch(&partition.view);
                }
            }
        }
    }

    /// What is lost, by topic.
    pub fn lost(&self) -> Vec<Lost> {
        let mut names = BTreeMap::new();
        for topic in self.recovery.catalog.all() {
            for (number, partition) in topic.partitions.iter().enumerate() {
                let namespace = self.recovery.catalog.namespaces.get(topic.namespace);
                let name = match namespace.filter(|namespace| namespace.id != DEFAULT) {
                    Some(namespace) => format!("{} of namespace {}", topic.name, namespace.name),
                    None => topic.name.to_string(),
                };
                names.insert(partition.log, (name, number));
            }
        }
        let holes = self.holes.iter().filter_map(|hole| {
            // A topic that was deleted further on has lost nothing.
            let (topic, partition) = names.get(&hole.log)?.clone();
            let (offsets, after_ms, before_ms) =
                (hole.offsets.clone(), hole.after_ms, hole.before_ms);
            Some(Lost { topic, partition, offsets, after_ms, before_ms })
        });
        let mut lost: Vec<Lost> = holes.collect();
        lost.sort_by(|a, b| {
            (&a.topic, a.partition, a.offsets.start).cmp(&(&b.topic, b.partition, b.offsets.start))
        });
        lost
    }
}

/// Puts what blobs tell of in the place of what rows name.
fn take_told(shards: &mut [Logs], told: Vec<Extent>) {
    shards.iter_mut().for_each(|logs| logs.extents.clear());
    for extent in told {
        if let Some(logs) = shards.get_mut(usize::from(extent.blob.shard())) {
            logs.extents.entry(extent.log).or_default().1.push(extent);
        }
    }
}

/// Pieces from an offset on.
fn from_offset(pieces: Vec<Piece>, from: u64) -> Vec<Piece> {
    let later = pieces.into_iter().filter_map(|piece| {
        let (base, next) = match &piece {
            Piece::Batch(batch) => (batch.base, batch.next),
            Piece::Hole(offsets) => (offsets.start, offsets.end),
        };
        match (next <= from, base < from) {
            (true, _) => None,
            (false, true) => Some(Piece::Hole(from..next)),
            (false, false) => Some(piece),
        }
    });
    later.collect()
}

pub(super) fn known(timestamp: i64) -> Option<i64> {
    (timestamp >= 0).then_some(timestamp)
}

/// Offsets are never negative and stay below 2^63.
pub(super) fn offset(offset: u64) -> Offset {
    i64::try_from(offset).expect("an offset is below 2^63")
}
