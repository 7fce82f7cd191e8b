//! From entities to state rows and back: what a checkpoint stores of a shard, in slices, and what
//! an opening reads. Rows are drawn in `docs/format.md`; little-endian.

use std::sync::Arc;

use sabir_storage::log::{LogId, LogView, Offset};
use sabir_storage::state::{Changes, Key, Kind};
use sabir_storage::ticket::FrameNo;

use crate::bytes::{Fields, Malformed, Put};
use crate::producer::Producer;
use crate::shard::{LogState, Registry, Shard};

const LOG_VERSION: u8 = 1;
/// Version 1 lacks the next number for a namespace, since there was only one.
const REGISTRY_VERSION: u8 = 2;
/// The catalog row that is no topic, among those with `sub` 0.
pub const REGISTRY_ID: u64 = 0;
/// `sub` of the catalog rows that are namespaces.
pub const NAMESPACES: u64 = 1;

/// What a checkpoint collects.
#[derive(Default)]
pub struct Images {
    pub changes: Changes,
    /// Where logs begin, as stored: blobs wholly below may go.
    pub starts: Vec<(Arc<LogView>, Offset)>,
    /// Logs that are deleted for good.
    pub gone: Vec<Arc<LogView>>,
    /// The highest frame that any image rests on.
    pub applied: FrameNo,
}

impl Images {
    pub fn merge(&mut self, other: Images) {
        self.changes.put.extend(other.changes.put);
        self.changes.delete.extend(other.changes.delete);
        self.changes.delete_ranges.extend(other.changes.delete_ranges);
        self.starts.extend(other.starts);
        self.gone.extend(other.gone);
        self.applied = self.applied.max(other.applied);
    }
}

/// The row of a log.
#[derive(Debug, PartialEq)]
pub struct LogRow {
    pub start: Offset,
    pub next: Offset,
    /// Effects of frames up to here are in the row.
    pub applied: FrameNo,
    pub born: FrameNo,
    pub epochs: Vec<(i32, Offset)>,
}

impl LogRow {
    fn of(log: &LogState, applied: FrameNo) -> LogRow {
        LogRow {
            start: log.view.start(),
            next: log.next,
            applied,
            born: log.born,
            epochs: log.epochs.clone(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::new();
        row.put_u8(LOG_VERSION);
        row.put_i64(self.start);
        row.put_i64(self.next);
        row.put_u64(self.applied);
        row.put_u64(self.born);
        row.put_u32(self.epochs.len() as u32);
        for (epoch, base) in &self.epochs {
            row.put_i32(*epoch);
            row.put_i64(*base);
        }
        row
    }

    pub fn decode(row: &[u8]) -> Result<LogRow, Malformed> {
        let mut fields = Fields(row);
        if fields.u8()? != LOG_VERSION {
            return Err(Malformed);
        }
        let (start, next) = (fields.i64()?, fields.i64()?);
        let (applied, born) = (fields.u64()?, fields.u64()?);
        let mut epochs = Vec::new();
        for _ in 0..fields.count(12)? {
            epochs.push((fields.i32()?, fields.i64()?));
        }
        fields.end()?;
        let sound = 0 <= start && start <= next;
        if sound { Ok(LogRow { start, next, applied, born, epochs }) } else { Err(Malformed) }
    }
}

impl Registry {
    fn encode(&self, applied: FrameNo) -> Vec<u8> {
        let mut row = Vec::new();
        row.put_u8(REGISTRY_VERSION);
        row.put_u64(self.next_id);
        row.put_i64(self.producers_below);
        row.put_u64(applied);
        row.put_u32(self.next_namespace);
        row
    }

    pub fn decode(row: &[u8]) -> Result<Registry, Malformed> {
        let mut fields = Fields(row);
        let version = fields.u8()?;
        if version == 0 || version > REGISTRY_VERSION {
            return Err(Malformed);
        }
        let next_id = fields.u64()?;
        let producers_below = fields.i64()?;
        let stored = fields.u64()?;
        let next_namespace = if version == 1 { 1 } else { fields.u32()? };
        fields.end()?;
        let next_producer = producers_below;
        Ok(Registry {
            next_id,
            next_producer,
            producers_below,
            stored,
            next_namespace,
            ..Registry::default()
        })
    }
}

impl Shard {
    /// Begins a checkpoint: what is dirty now has to be stored. Effects in frames from the returned
    /// one on are either stored too, or replayed. What a checkpoint that found no room has left is
    /// taken along.
    pub fn begin_images(&mut self) -> FrameNo {
        self.imaging.append(&mut self.dirty);
        self.begin_group_rows();
        for id in &self.imaging {
            if let Some(log) = self.logs.get_mut(id) {
                log.dirty = false;
            }
        }
        self.open
    }

    /// Stores up to `budget` entities; true when nothing is left. Only while nothing is staged: an
    /// image inside an open frame would carry the number of a frame that still grows.
    pub fn image(&mut self, budget: usize, into: &mut Images) -> bool {
        assert!(self.stage.is_empty(), "an image of shard {} inside an open frame", self.id);
        let applied = self.open - 1;
        into.applied = into.applied.max(applied);
        if self.id == 0 {
            self.image_catalog(applied, into);
        }
        for _ in 0..budget {
            let Some(id) = self.imaging.pop() else {
                return self.group_rows(applied, budget, &mut into.changes);
            };
            self.image_log(id, applied, into);
        }
        false
    }

    fn image_catalog(&mut self, applied: FrameNo, into: &mut Images) {
        let registry = &mut self.registry;
        let key = |id| Key::new(0, Kind::Catalog, id, 0);
        into.changes.put.push((key(REGISTRY_ID), registry.encode(applied)));
        for (id, row) in std::mem::take(&mut registry.rows) {
            match row {
                Some(row) => into.changes.put.push((key(id), row)),
                None => into.changes.delete.push(key(id)),
            }
        }
        let key = |id| Key::new(0, Kind::Catalog, u64::from(id), NAMESPACES);
        for (id, row) in std::mem::take(&mut registry.namespaces) {
            match row {
                Some(row) => into.changes.put.push((key(id), row)),
                None => into.changes.delete.push(key(id)),
            }
        }
        into.gone.append(&mut registry.gone);
    }

    fn image_log(&mut self, id: LogId, applied: FrameNo, into: &mut Images) {
        let shard = self.id;
        let Some(log) = self.logs.get_mut(&id) else { return };
        let row = LogRow::of(log, applied);
        into.starts.push((log.view.clone(), row.start));
        into.changes.put.push((Key::new(shard, Kind::Log, id, 0), row.encode()));
        for producer in std::mem::take(&mut log.changed) {
            let key = Key::new(shard, Kind::Producer, id, producer.unsigned_abs());
            match log.producers.get(&producer) {
                Some(known) => {
                    let mut row = Vec::new();
                    known.encode(&mut row);
                    into.changes.put.push((key, row));
                }
                None => into.changes.delete.push(key),
            }
        }
    }
}

impl LogState {
    /// Takes over what the row says.
    pub fn load(&mut self, row: LogRow) {
        assert_eq!(self.next, row.next, "the view was made from the same row");
        (self.stored, self.born, self.epochs) = (row.applied, row.born, row.epochs);
    }

    pub fn load_producer(&mut self, id: i64, row: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields(row);
        let producer = Producer::decode(&mut fields)?;
        fields.end()?;
        self.producers.insert(id, producer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_reads_back_and_one_of_version_1_has_given_no_namespace_a_number() {
        let registry = Registry { next_id: 7, producers_below: 8, ..Registry::default() };
        let bytes = Registry { next_namespace: 9, ..registry }.encode(77);
        let golden = "02 0700000000000000 0800000000000000 4d00000000000000 09000000";
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        let check = |bytes: &[u8], next_namespace| {
            let read = Registry::decode(bytes).expect("sound");
            let all = (read.next_id, read.producers_below, read.stored, read.next_namespace);
            assert_eq!(all, (7, 8, 77, next_namespace));
        };
        check(&bytes, 9);
        let first = [&[1], &bytes[1..25]].concat();
        check(&first, 1);
        for bytes in [&bytes[..], &first] {
            for len in 0..bytes.len() {
                assert!(Registry::decode(&bytes[..len]).is_err(), "cut at {len}");
            }
        }
    }

    #[test]
    fn a_log_row_reads_back_and_damage_is_refused() {
        let row = LogRow { start: 3, next: 9, applied: 77, born: 5, epochs: vec![(1, 0), (4, 7)] };
        let bytes = row.encode();
        assert_eq!(LogRow::decode(&bytes), Ok(row));
        for len in 0..bytes.len() {
            assert_eq!(LogRow::decode(&bytes[..len]), Err(Malformed), "cut at {len}");
        }
    }
}
