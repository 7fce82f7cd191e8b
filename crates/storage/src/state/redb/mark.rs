//! `state.mark`: which checkpoint was the last to be committed, in a file of its own. It is written
//! after the commit it witnesses, so it is never ahead of a whole store.
//!
//! ```text
//! two slots, at 0 and 4096, taken in turn:   "SbSm" | level u32 | number u64 | crc32c u32
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::super::{Result, StateError};
use crate::crc::crc32c;
use crate::disk::{Disk, DiskFile, Mode};

pub(crate) const FILE: &str = "state.mark";
const MAGIC: [u8; 4] = *b"SbSm";
const LEVEL: u32 = 1;
const SLOT_STEP: u64 = 4096;
const SLOT_BYTES: usize = 20;

/// What one slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Unused,
    Whole(u64),
    Broken,
}

impl Slot {
    /// The checkpoint it names.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Slot::Whole(number) => Some(number),
            Slot::Unused | Slot::Broken => None,
        }
    }
}

pub(crate) struct Mark {
    file: Arc<dyn DiskFile>,
}

impl Mark {
    /// A mark at 0. Durable once the directory is synced.
    pub(super) fn create(disk: &dyn Disk, name: &str) -> Result<Mark> {
        let file = disk.open(name, Mode::Write).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        let mark = Mark { file };
        mark.write(0)?;
        Ok(mark)
    }

    pub(super) fn open(disk: &dyn Disk) -> Result<Mark> {
        // Not made if it is absent: opening for writing would.
        disk.open(FILE, Mode::Read).map_err(failed)?;
        Ok(Mark { file: disk.open(FILE, Mode::Write).map_err(failed)? })
    }

    /// Both slots with their places, read without a store beside them.
    pub(crate) fn read(disk: &dyn Disk) -> Result<[(Range<u64>, Slot); 2]> {
        let mark = Mark { file: disk.open(FILE, Mode::Read).map_err(failed)? };
        let look = |at: u64| {
            let mut slot = [0; SLOT_BYTES];
            mark.file.read_at(&mut slot, at).map_err(failed)?;
            let unused = slot.iter().all(|byte| *byte == 0);
            let broken = if unused { Slot::Unused } else { Slot::Broken };
            Ok((at..at + SLOT_BYTES as u64, mark.slot(at)?.map_or(broken, Slot::Whole)))
        };
        Ok([look(0)?, look(SLOT_STEP)?])
    }

    pub(super) fn write(&self, number: u64) -> Result<()> {
        let slot = encode(number);
        self.file.write_at(&slot, number % 2 * SLOT_STEP).map_err(failed)?;
        self.file.sync().map_err(failed)
    }

    /// Damaged if the store, which says to be at `number`, was further once.
    pub(super) fn witness(&self, number: u64) -> Result<()> {
        let slots = [self.slot(0)?, self.slot(SLOT_STEP)?];
        match slots.into_iter().flatten().max() {
            None => Err(StateError::damaged(FILE, "neither of its slots is whole")),
            Some(last) if number < last => {
                let why = format!("it is at checkpoint {number}, and {last} was committed");
                Err(StateError::damaged(super::FILE, why))
            }
            Some(_) => Ok(()),
        }
    }

    fn slot(&self, at: u64) -> Result<Option<u64>> {
        let mut slot = [0; SLOT_BYTES];
        let got = self.file.read_at(&mut slot, at).map_err(failed)?;
        let number = u64::from_be_bytes(slot[8..16].try_into().expect("eight bytes"));
        Ok((got == SLOT_BYTES && slot == encode(number)).then_some(number))
    }
}

fn encode(number: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(&MAGIC);
    slot[4..8].copy_from_slice(&LEVEL.to_be_bytes());
    slot[8..16].copy_from_slice(&number.to_be_bytes());
    let crc = crc32c(&[&slot[..16]]);
    slot[16..].copy_from_slice(&crc.to_be_bytes());
    slot
}

fn failed(error: std::io::Error) -> StateError {
    StateError::io(FILE, error)
}
