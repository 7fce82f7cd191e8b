//! What is left of the write-ahead log, applied over its gaps.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use sabir_storage::batch::{Compression, Header};
use sabir_storage::log::{LogId, LogView, Offset, TailBatch};
use sabir_storage::repair::pieces;
use sabir_storage::store::StoreError;
use sabir_storage::ticket::FrameNo;
use sabir_storage::wal::replay::ReplayError;
use sabir_storage::wal::salvage::Salvaged;

use super::pass::{Pass, Reached, known, offset};
use crate::broker::OpenError;
use crate::bytes::Malformed;
use crate::effect::{self, Effect};
use crate::image::LogRow;
use crate::namespace::NamespaceRow;
use crate::quota::Quota;

/// Frames in memory before they are written into blobs, in bytes.
const REPLAYED_MAX: usize = 64 << 20;

impl Pass<'_> {
    /// Applies what is left of a frame.
    pub fn frame(&mut self, frame: Salvaged) -> Result<(), ReplayError> {
        let (mut views, mut bytes) = (Vec::new(), 0);
        for section in frame.sections.iter().filter(|s| s.shard < self.recovery.core.count()) {
            bytes += section.effects.len();
            for effect in effect::decode(&section.effects) {
                match effect {
                    Ok(Effect::Append { log, batch }) => {
                        views.extend(self.append(frame.number, section.shard, log, batch));
                    }
                    Ok(Effect::LogStart { log, start }) => {
                        self.log_start(frame.number, section.shard, log, start);
                    }
                    Ok(other) => {
                        if let Err(error) = self.recovery.apply(frame.number, section.shard, other)
                        {
                            self.doubts.push(format!("frame {}: {error}", frame.number));
                        }
                    }
                    Err(Malformed) => {
                        let number = frame.number;
                        self.doubts.push(format!("frame {number} has an effect that is unknown"));
                    }
                }
            }
        }
        for section in frame.damaged.iter().filter(|s| s.shard < self.recovery.core.count()) {
            bytes += section.effects.len();
            views.extend(self.doubtful(frame.number, section.shard, &section.effects));
        }
        if self.goal.write {
            self.keep(frame.number, bytes, views)
                .map_err(|e| ReplayError::Refused(e.to_string()))?;
        }
        Ok(())
    }

    /// Batches in a section that is damaged somewhere. One whose checksum is right is taken if it
    /// lies exactly where its log goes on; one whose checksum is wrong tells what is lost.
    fn doubtful(&mut self, frame: FrameNo, shard: u16, section: &Bytes) -> Vec<Arc<LogView>> {
        let mut views = Vec::new();
        for effect in effect::decode(section) {
            let Ok(Effect::Append { log, batch }) = effect else { continue };
            let Ok(header) = Header::parse(&batch) else { continue };
            let mut locked = self.recovery.core.lock(shard);
            let Some(state) = locked.logs.get(&log) else { continue };
            let fits = header.base_offset == state.next && header.len == batch.len();
            let dense = header.count > 0 && header.last_delta == header.count - 1;
            if !fits || !dense || frame <= state.stored {
                continue;
            }
            if sabir_storage::batch::checksum(&batch) == header.crc {
                drop(locked);
                views.extend(self.append(frame, shard, log, batch));
                continue;
            }
            // Each record takes some bytes: more than fit were never in it.
            let records = usize::try_from(header.count).unwrap_or(usize::MAX);
            let believed =
                header.compression() != Ok(Compression::None) || records < header.len / 7;
            if believed {
                locked.skip_to(log, header.next_offset());
            }
        }
        views
    }

    /// Takes note of batches in memory, and writes them into blobs when they are many.
    fn keep(
        &self,
        frame: FrameNo,
        bytes: usize,
        views: Vec<Arc<LogView>>,
    ) -> Result<(), StoreError> {
        let recent = &self.recovery.store.recent;
        recent.add(frame, bytes, views);
        if recent.bytes().0 > REPLAYED_MAX {
            self.recovery.store.bundle(frame)?;
            recent.evict(REPLAYED_MAX / 2);
        }
        Ok(())
    }

    fn append(
        &mut self,
        frame: FrameNo,
        shard: u16,
        log: LogId,
        batch: Bytes,
    ) -> Option<Arc<LogView>> {
        let header = Header::parse(&batch).ok().filter(|header| header.base_offset >= 0);
        let Some(header) = header else {
            self.doubts.push(format!("frame {frame} has a batch of log {log} that is none"));
            return None;
        };
        self.highest_producer = self.highest_producer.max(header.producer_id);
        self.highest_epoch = self.highest_epoch.max(header.leader_epoch);
        if !self.recovery.core.lock(shard).logs.contains_key(&log) {
            // Rows that are newer than the frame know that its topic is gone.
            if frame <= self.recovery.core.lock(0).registry.stored {
                return None;
            }
            let start = header.base_offset;
            let epochs = Vec::new();
            let row = LogRow { start, next: start, applied: 0, born: 0, epochs };
            self.name(shard, log, Some(row), (0, Vec::new()));
        }
        let mut locked = self.recovery.core.lock(shard);
        let state = locked.logs.get_mut(&log)?;
        let view = state.view.clone();
        if frame > state.stored && header.base_offset >= state.next {
            locked.skip_to(log, header.base_offset);
            locked.replay_append(frame, log, &header);
        }
        drop(locked);
        if view.is_gone() {
            return None;
        }
        let mut reached = self.reached(&view);
        let next = header.next_offset();
        assert!(view.start() <= reached.next, "log {log} is accounted for from its start on");
        if header.base_offset > reached.next {
            let lost = reached.next..header.base_offset;
            self.hole(log, lost.clone(), reached.ms, known(header.max_timestamp));
            self.fill(&view, lost, frame, header.leader_epoch);
            reached.next = header.base_offset;
        }
        if header.base_offset != reached.next {
            return None;
        }
        self.reached.insert(log, Reached { next, ms: known(header.max_timestamp).or(reached.ms) });
        if self.goal.write {
            let (base, max_timestamp) = (header.base_offset, header.max_timestamp);
            view.push(TailBatch { base, next, max_timestamp, frame, bytes: batch });
        }
        if next > view.visible() {
            view.show(next, &mut Vec::new());
        }
        Some(view)
    }

    fn reached(&self, view: &LogView) -> Reached {
        let known = self.reached.get(&view.id).copied();
        known.unwrap_or(Reached { next: view.start(), ms: None })
    }

    /// Puts empty batches where nothing is left, as if they lay in `frame`.
    fn fill(&self, view: &LogView, lost: Range<i64>, frame: FrameNo, leader_epoch: i32) {
        let offsets = lost.start.unsigned_abs()..lost.end.unsigned_abs();
        for batch in pieces::empty(offsets, leader_epoch) {
            if self.goal.write {
                view.push(TailBatch {
                    base: offset(batch.base),
                    next: offset(batch.next),
                    max_timestamp: batch.max_timestamp,
                    frame,
                    bytes: batch.bytes,
                });
            }
        }
        if lost.end > view.visible() {
            view.show(lost.end, &mut Vec::new());
        }
    }

    fn log_start(&mut self, frame: FrameNo, shard: u16, log: LogId, start: Offset) {
        let mut locked = self.recovery.core.lock(shard);
        let Some(state) = locked.logs.get(&log).filter(|log| frame > log.stored) else { return };
        let view = state.view.clone();
        let mut reached = self.reached(&view);
        if reached.next < start {
            reached.next = start;
            self.reached.insert(log, reached);
        }
        locked.skip_to(log, start);
        if start > view.visible() {
            view.show(start, &mut Vec::new());
        }
        locked.replay_start(log, start);
    }

    /// When all frames are applied: what was given out and is nowhere is lost. Returns that as if
    /// it lay in `frame`.
    pub fn finish(&mut self, frame: FrameNo) -> Result<(), OpenError> {
        let (mut views, mut bytes) = (Vec::new(), 0);
        for topic in self.recovery.catalog.all() {
            for partition in &topic.partitions {
                let (view, epoch) = (&partition.view, self.highest_epoch);
                let locked = self.recovery.core.lock(partition.shard);
                let next = locked.logs.get(&partition.log).map_or(0, |log| log.next);
                drop(locked);
                let reached = self.reached(view);
                if reached.next < next {
                    self.hole(partition.log, reached.next..next, reached.ms, None);
                    self.fill(view, reached.next..next, frame, epoch);
                    views.push(view.clone());
                    bytes += 64;
                }
            }
        }
        self.name_namespaces();
        self.recovery.groups.finish(self.recovery.catalog);
        if self.goal.write {
            self.recovery.store.recent.add(frame, bytes, views);
            self.recovery.check_whole()?;
        }
        self.raise_numbers();
        Ok(())
    }

    /// Namespaces whose rows are lost get a name, or nobody could reach what lies in them.
    fn name_namespaces(&mut self) {
        let known = &self.recovery.catalog.namespaces;
        for topic in self.recovery.catalog.all() {
            let id = topic.namespace;
            if known.get(id).is_some() {
                continue;
            }
            let name = format!("recovered-{id}");
            let quota = Quota::default();
            let row = NamespaceRow { id, name: name.clone(), created_ms: 0, quota };
            let bytes = row.encode();
            if known.restore(row).is_err() {
                self.doubts.push(format!("namespace {id} is not known, and {name} is taken"));
                continue;
            }
            self.recovery.note_namespace(id, Some(bytes));
            self.doubts.push(format!("namespace {id} has lost its name and its quota: now {name}"));
        }
    }

    /// Numbers that may have been given out by what is lost are not given out again.
    fn raise_numbers(&mut self) {
        /// More than any number of frames has given out.
        const SKIPPED: u64 = 1_000_000;
        let registry = &mut self.recovery.core.lock(0).registry;
        registry.next_id = registry.next_id.max(self.highest_id + 1) + SKIPPED;
        let seen = registry.producers_below.max(self.highest_producer + 1);
        registry.producers_below = seen + SKIPPED.cast_signed();
        registry.next_producer = registry.producers_below;
        registry.next_namespace = registry.next_namespace.saturating_add(1000);
        assert!(self.highest_id < registry.next_id, "no number is given out twice");
        assert!(self.highest_producer < registry.next_producer, "no producer id is, either");
    }
}
