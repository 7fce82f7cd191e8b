//! The state rows: the whole store checked page by page, every row read, and what the rows say of
//! the other files.

use std::collections::BTreeMap;
use std::io::Result;

use super::{Fact, Facts, Look};
use crate::blob::BlobId;
use crate::checkpoint::CheckpointRow;
use crate::extent::Extent;
use crate::log::LogId;
use crate::state::redb::mark::{self, Slot};
use crate::state::redb::{self, RedbState};
use crate::state::{Key, Kind, StateError, StateStore};
use crate::store::decode_extents;
use crate::ticket::FrameNo;

const REFUSED: &str = "no broker starts, because what was changed since cannot be told from what \
                       was not: restore the directory from a copy";

/// What the rows say of the other files.
#[derive(Default)]
pub(super) struct Rows {
    /// False if they are damaged: then it is unknown what is needed.
    pub known: bool,
    pub checkpoint: Option<CheckpointRow>,
    /// The stretches that some log has in each blob.
    pub extents: BTreeMap<BlobId, Vec<Extent>>,
}

/// What a scan of all rows gathers.
#[derive(Default)]
struct Gathered {
    rows: Rows,
    counts: BTreeMap<Kind, u64>,
    parts: Vec<Facts>,
    /// What is wrong with single rows.
    wrong: Vec<String>,
    /// The end of the last stretch of each log.
    ends: BTreeMap<LogId, u64>,
}

impl Look<'_> {
    /// Reads and checks `state.redb` and `state.mark`.
    pub(super) fn state(&mut self) -> Result<Rows> {
        let entries = self.disk.list("")?;
        let len = |name: &str| entries.iter().find(|e| e.name == name).map(|entry| entry.len);
        let marked = len(mark::FILE).map(|len| self.mark(len));
        // A store of no bytes is one that was never made.
        let Some(len) = len(redb::FILE).filter(|len| *len > 0) else {
            let known = marked.flatten().unwrap_or(0) == 0;
            if !known {
                self.report.damage(redb::FILE, 0..0, "it is not there, and was once", REFUSED);
            }
            return Ok(Rows { known, ..Rows::default() });
        };
        if marked.is_none() {
            self.report.damage(mark::FILE, 0..0, "it is not there", REFUSED);
        }
        let state = match redb::look(&*self.disk) {
            Ok(state) => state,
            Err(error) => {
                self.report.file(redb::FILE, len, "state", Vec::new());
                let (file, why) = told(error);
                // What is wrong with the mark has been said.
                if file == redb::FILE {
                    self.report.damage(redb::FILE, 0..len, why, REFUSED);
                }
                return Ok(Rows::default());
            }
        };
        Ok(self.rows(&state, len))
    }

    fn mark(&mut self, len: u64) -> Option<u64> {
        const ONE_LEFT: &str = "nothing is lost: the other slot is whole; a power cut while it was \
                                written may also leave it so";
        let slots = match mark::Mark::read(&*self.disk) {
            Ok(slots) => slots,
            Err(error) => {
                self.report.file(mark::FILE, len, "state mark", Vec::new());
                self.report.damage(mark::FILE, 0..len, told(error).1, REFUSED);
                return None;
            }
        };
        let whole = slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Whole(number) => Some(*number),
            Slot::Unused | Slot::Broken => None,
        });
        let number = whole.max();
        let facts = number.map(|number| ("checkpoint", Fact::Number(number)));
        self.report.file(mark::FILE, len, "state mark", facts.into_iter().collect());
        if number.is_none() {
            self.report.damage(mark::FILE, 0..len, "neither of its slots is whole", REFUSED);
            return None;
        }
        for (range, _) in slots.into_iter().filter(|(_, slot)| *slot == Slot::Broken) {
            self.report.damage(mark::FILE, range, "one of its slots is not whole", ONE_LEFT);
        }
        number
    }

    fn rows(&mut self, state: &RedbState, len: u64) -> Rows {
        let mut gathered = Gathered::default();
        let detail = self.in_detail(redb::FILE);
        let (from, to) = Key::everything();
        let scanned = state.scan(from, to, &mut |key, row| {
            if detail {
                gathered.parts.push(describe(key, row));
            }
            *gathered.counts.entry(key.kind).or_default() += 1;
            self.row(key, row, &mut gathered);
            Ok(())
        });
        gathered.rows.known = scanned.is_ok() && gathered.wrong.is_empty();
        if let Err(error) = scanned {
            gathered.wrong.push(told(error).1);
        }
        gathered.wrong.extend(self.decoder.contradictions());
        let mut facts = Vec::new();
        match state.number() {
            Ok(number) => facts.push(("checkpoint", Fact::Number(number))),
            Err(error) => gathered.wrong.push(told(error).1),
        }
        if let Some(row) = gathered.rows.checkpoint {
            let place = row.replay_from;
            facts.push(("durable to frame", Fact::Number(row.durable)));
            facts.push(("replay from frame", Fact::Number(place.frame)));
            facts.push(("in file", Fact::Number(place.file)));
            facts.push(("at byte", Fact::Number(place.offset)));
        }
        let counts = gathered.counts.iter();
        facts.extend(counts.map(|(kind, count)| (kind_name(*kind), Fact::Number(*count))));
        self.report.file(redb::FILE, len, "state", facts);
        self.report.files.last_mut().expect("just added").parts = gathered.parts;
        for wrong in gathered.wrong {
            self.report.damage(redb::FILE, 0..len, wrong, REFUSED);
        }
        gathered.rows
    }

    fn row(&mut self, key: Key, row: &[u8], into: &mut Gathered) {
        let place =
            || format!("the row of {} {} in shard {}", kind_name(key.kind), key.id, key.shard);
        match key.kind {
            Kind::Checkpoint => match CheckpointRow::decode(row) {
                Some(row) if key == CheckpointRow::KEY => into.rows.checkpoint = Some(row),
                _ => into.wrong.push(format!("{} cannot be read", place())),
            },
            Kind::Extents => {
                let page = decode_extents(row);
                let page = page.filter(|(_, of)| of.iter().all(|extent| extent.log == key.id));
                let Some((_, extents)) = page else {
                    into.wrong.push(format!("{} cannot be read", place()));
                    return;
                };
                for extent in extents {
                    assert!(extent.base < extent.next, "an extent that was decoded is sound");
                    let before = into.ends.insert(extent.log, extent.next);
                    if let Some(end) = before.filter(|end| *end != extent.base) {
                        let base = extent.base;
                        into.wrong.push(format!("{}: from {end} to {base} in none", place()));
                    }
                    into.rows.extents.entry(extent.blob).or_default().push(extent);
                }
            }
            _ => {
                if let Err(why) = self.decoder.row(key, row) {
                    into.wrong.push(format!("{}: {why}", place()));
                }
            }
        }
    }
}

impl Rows {
    /// The frame that replay begins with: what lies before is no longer needed.
    pub fn replay_from(&self) -> Option<FrameNo> {
        self.checkpoint.map(|row| row.replay_from.frame)
    }
}

/// The file, and what is wrong with it.
fn told(error: StateError) -> (String, String) {
    match error {
        StateError::Damaged { file, why } => (file, why),
        StateError::Io { file, error } => (file, format!("it cannot be read: {error}")),
        other => (redb::FILE.to_owned(), other.to_string()),
    }
}

fn describe(key: Key, row: &[u8]) -> Facts {
    vec![
        ("row", Fact::Text(kind_name(key.kind).to_owned())),
        ("shard", Fact::Number(key.shard.into())),
        ("id", Fact::Number(key.id)),
        ("sub", Fact::Number(key.sub)),
        ("bytes", Fact::Number(row.len() as u64)),
    ]
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Checkpoint => "checkpoint",
        Kind::Blob => "blob",
        Kind::Log => "log",
        Kind::Extents => "extents",
        Kind::Group => "group",
        Kind::Offsets => "offsets",
        Kind::Producer => "producer",
        Kind::Catalog => "catalog",
    }
}
