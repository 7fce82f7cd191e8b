//! State exports as files: all rows of a checkpoint and who the directory is, so that lost rows and
//! a lost identity come back. The rows' own form is in [`crate::state::export`].
//!
//! ```text
//! export/0000000000000042.rows     the checkpoint's number in decimal
//!
//!  0  "SbExport" | level u32 = 1 | 0 u32 | taken i64, milliseconds since 1970
//! 24  IDENT, its first 48 bytes as they are
//! 72  crc of the 72 bytes before u32
//! 76  the export of the rows
//! ```
//! All big-endian but the copy of IDENT.

use std::io::{Error, ErrorKind};
use std::sync::Arc;

use crate::crc::crc32c;
use crate::disk::{Disk, DiskFile, Mode, read_exact};
use crate::ident::{self, Ident};
use crate::state::export::read_export;
use crate::state::{Key, Result, StateError, StateStore};

/// The directory of the exports.
pub const DIR: &str = "export";
/// So many are kept, the newest ones.
pub const KEPT: usize = 2;

const MAGIC: [u8; 8] = *b"SbExport";
const LEVEL: u32 = 1;
const HEAD_BYTES: usize = 76;
const ENDING: &str = ".rows";
/// Ending of a file that is being written.
pub(crate) const TEMPORARY: &str = ".rows.tmp";
/// How often an export is begun anew because a checkpoint came between.
const TRIES: usize = 5;

/// An export that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Relative to the data directory.
    pub path: String,
    /// The checkpoint whose rows these are.
    pub checkpoint: u64,
    pub bytes: u64,
}

/// What the head of an export says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Milliseconds since 1970.
    pub taken_ms: i64,
    pub ident: Ident,
}

/// A whole export that was read back.
pub struct Export {
    pub head: Head,
    pub checkpoint: u64,
    /// In key order.
    pub rows: Vec<(Key, Vec<u8>)>,
}

/// The path of the export of a checkpoint.
pub fn path_of(checkpoint: u64) -> String {
    format!("{DIR}/{checkpoint:016}{ENDING}")
}

/// The checkpoint in a name made by [`path_of`], directory left out.
pub fn checkpoint_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    (digits.len() >= 16).then(|| digits.parse().ok()).flatten()
}

/// Paths of all exports there are, the newest first.
pub fn list(disk: &dyn Disk) -> std::io::Result<Vec<String>> {
    let mut found: Vec<u64> =
        disk.list(DIR)?.iter().filter_map(|entry| checkpoint_of(&entry.name)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(path_of).collect())
}

/// Writes the rows of the last checkpoint into a new export, and removes all but the newest
/// [`KEPT`]. The export has its name only once it is whole and durable.
///
/// # Errors
/// What the disk or the store says; `Conflict` if checkpoints kept coming between.
pub fn write(
    disk: &dyn Disk,
    ident: &Ident,
    taken_ms: i64,
    state: &dyn StateStore,
) -> Result<Exported> {
    let failed = |at: &str, error| StateError::io(at, error);
    disk.create_dir(DIR).map_err(|error| failed(DIR, error))?;
    let mut tries = 0;
    let (checkpoint, temporary, bytes) = loop {
        let checkpoint = state.number()?;
        let temporary = format!("{DIR}/{checkpoint:016}{TEMPORARY}");
        let file = disk.open(&temporary, Mode::Write).map_err(|error| failed(&temporary, error))?;
        match write_all(&file, &temporary, &Head { taken_ms, ident: *ident }, state) {
            Ok(bytes) => break (checkpoint, temporary, bytes),
            Err(error) => {
                let _removed_at_the_next_one = disk.remove(&temporary);
                tries += 1;
                if !matches!(error, StateError::Conflict { .. }) || tries == TRIES {
                    return Err(error);
                }
            }
        }
    };
    let path = path_of(checkpoint);
    disk.rename(&temporary, &path).map_err(|error| failed(&path, error))?;
    for dir in [DIR, ""] {
        disk.sync_dir(dir).map_err(|error| failed(DIR, error))?;
    }
    forget_old(disk).map_err(|error| failed(DIR, error))?;
    Ok(Exported { path, checkpoint, bytes })
}

fn write_all(
    file: &Arc<dyn DiskFile>,
    path: &str,
    head: &Head,
    state: &dyn StateStore,
) -> Result<u64> {
    let failed = |error| StateError::io(path, error);
    file.set_len(0).map_err(failed)?;
    let head = head.encode();
    file.write_at(&head, 0).map_err(failed)?;
    let mut at = head.len() as u64;
    state.export(&mut |piece| {
        file.write_at(&piece, at).map_err(failed)?;
        at += piece.len() as u64;
        Ok(())
    })?;
    file.sync().map_err(failed)?;
    Ok(at)
}

/// Removes all but the newest exports, and what was not finished.
fn forget_old(disk: &dyn Disk) -> std::io::Result<()> {
    let mut old: Vec<String> = list(disk)?.split_off(KEPT.min(list(disk)?.len()));
    let unfinished = disk.list(DIR)?.into_iter().filter(|entry| entry.name.ends_with(TEMPORARY));
    old.extend(unfinished.map(|entry| format!("{DIR}/{}", entry.name)));
    old.iter().try_for_each(|path| disk.remove(path))
}

/// Reads the head of an export alone.
///
/// # Errors
/// `Damaged` if it is no export of a known level; what the disk says.
pub fn read_head(disk: &dyn Disk, path: &str) -> Result<Head> {
    let file = disk.open(path, Mode::Read).map_err(|error| StateError::io(path, error))?;
    match read_exact(&*file, 0, HEAD_BYTES) {
        Ok(bytes) => Head::decode(&bytes).ok_or_else(|| damaged(path, "its head is not intact")),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(damaged(path, "it ends inside its head"))
        }
        Err(error) => Err(StateError::io(path, error)),
    }
}

/// Reads a whole export and checks all of it.
///
/// # Errors
/// As [`read_head`].
pub fn read(disk: &dyn Disk, path: &str) -> Result<Export> {
    let head = read_head(disk, path)?;
    let failed = |error: Error| StateError::io(path, error);
    let file = disk.open(path, Mode::Read).map_err(failed)?;
    let len = usize::try_from(file.len().map_err(failed)?).expect("a file in memory");
    let bytes = read_exact(&*file, 0, len).map_err(failed)?;
    let mut rows = Vec::new();
    let read = read_export(&bytes[HEAD_BYTES..], &mut |key, row| {
        rows.push((key, row.to_vec()));
        Ok(())
    });
    match read {
        Ok(checkpoint) => Ok(Export { head, checkpoint, rows }),
        Err(StateError::Damaged { why, .. }) => Err(damaged(path, &why)),
        Err(error) => Err(error),
    }
}

fn damaged(path: &str, why: &str) -> StateError {
    StateError::damaged(path, why)
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&LEVEL.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&self.taken_ms.to_be_bytes());
        head.extend_from_slice(&self.ident.encode());
        let crc = crc32c(&[&head]);
        head.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(head.len(), HEAD_BYTES, "the head of an export has one length");
        head
    }

    fn decode(bytes: &[u8]) -> Option<Head> {
        let (said, crc) = bytes.first_chunk::<HEAD_BYTES>()?.split_last_chunk::<4>()?;
        let level = u32::from_be_bytes(*said[8..].first_chunk()?);
        let whole = said[..8] == MAGIC && level == LEVEL && crc32c(&[said]).to_be_bytes() == *crc;
        let taken_ms = i64::from_be_bytes(*said[16..].first_chunk()?);
        let ident = Ident::parse(&said[24..24 + ident::LEN]).ok()?;
        whole.then_some(Head { taken_ms, ident })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Cut, Fault, Handle, SimDisk};
    use crate::frame::Secret;
    use crate::state::mem::MemState;
    use crate::state::{Changes, Kind};

    const IDENT: Ident = Ident { cluster: [3; 16], shards: 16, secret: Secret(77) };

    fn state(rows: u64) -> MemState {
        let state = MemState::default();
        let row = |id| (Key::new(1, Kind::Log, id, 0), vec![id as u8; 1000]);
        let changes = Changes { put: (0..rows).map(row).collect(), ..Changes::default() };
        state.commit(0, 5, &changes).expect("commits");
        state
    }

    #[test]
    fn an_export_reads_back_and_the_last_two_are_kept() {
        let disk = SimDisk::new();
        let disk = Handle(disk);
        let state = state(3000);
        for (next, taken) in [(6, 10), (7, 20), (8, 30)] {
            let done = write(&disk, &IDENT, taken, &state).expect("writes");
            assert_eq!(done.path, path_of(next - 1));
            state.commit(next - 1, next, &Changes::default()).expect("commits");
        }
        let paths = list(&disk).expect("lists");
        assert_eq!(paths, [path_of(7), path_of(6)]);
        let export = read(&disk, &paths[0]).expect("reads");
        assert_eq!((export.checkpoint, export.head.taken_ms, export.rows.len()), (7, 30, 3000));
        assert!(export.head.ident == IDENT);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let disk = SimDisk::new();
        let handle = Handle(disk.clone());
        let path = write(&handle, &IDENT, 1, &state(2)).expect("writes").path;
        let len = disk.files().iter().find(|file| file.0 == path).expect("there").1;
        for byte in 0..len {
            disk.flip(&path, byte, 3);
            assert!(read(&handle, &path).is_err(), "byte {byte}");
            disk.flip(&path, byte, 3);
        }
        assert!(read(&handle, &path).is_ok());
        for keep in [0, 10, HEAD_BYTES as u64, len - 1] {
            handle.open(&path, Mode::Write).expect("opens").set_len(keep).expect("cuts");
            assert!(read(&handle, &path).is_err(), "cut at {keep}");
        }
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_an_older_one_whole() {
        for after in 0..12 {
            let disk = SimDisk::new();
            write(&Handle(disk.clone()), &IDENT, 1, &state(2)).expect("writes");
            let later = state(2);
            later.commit(5, 9, &Changes::default()).expect("commits");
            disk.fail(Fault { after, kind: ErrorKind::Other, syncs_only: false });
            let _ = write(&Handle(disk.clone()), &IDENT, 2, &later);
            disk.cut(Cut::Lost, || 0);
            let handle = Handle(disk);
            let paths = list(&handle).expect("lists");
            assert!(paths.iter().any(|path| read(&handle, path).is_ok()), "fault at {after}");
        }
    }
}
