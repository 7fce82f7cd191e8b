//! The rows a repair goes by: those of the store if it is whole, else the newest copy of them that
//! is; and the new store that takes the place of one that is not.

use std::io::ErrorKind;
use std::sync::Arc;

use super::RowList;
use crate::disk::Disk;
use crate::export;
use crate::frame::{FileHeader, Secret};
use crate::state::redb::{self, Building, Read, RedbState, mark};
use crate::state::{Changes, Kind, Result, StateError, StateStore};
use crate::wal::replay::open_all;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The store, which is whole and up to date, or was never made.
    Current,
    /// The store, which is whole, but at least one commit behind or without its witness.
    Behind,
    /// An export.
    Export { path: String, taken_ms: i64 },
    /// There are none.
    Nothing,
}

/// Rows that were found.
pub struct Found {
    pub rows: RowList,
    pub origin: Origin,
    /// The checkpoint they are of.
    pub checkpoint: u64,
    /// The highest checkpoint that anything tells of.
    pub highest: u64,
    /// What could not be used, and why.
    pub refused: Vec<(String, String)>,
}

/// Finds the best rows there are. `usable` says whether their contents can be read.
///
/// # Errors
/// What the disk says; damage is none.
pub fn best(
    disk: &dyn Disk,
    secret: Secret,
    usable: &mut dyn FnMut(&RowList) -> std::result::Result<(), String>,
) -> Result<Found> {
    let marked = mark::Mark::read(disk).ok();
    let marked = marked.and_then(|slots| slots.iter().filter_map(|(_, slot)| slot.number()).max());
    let mut refused = Vec::new();
    let mut highest = marked.unwrap_or(0);
    match redb::read(disk) {
        Ok(Some(Read { rows, number })) => match usable(&rows) {
            Ok(()) => {
                let current = marked.is_some_and(|marked| marked <= number);
                let origin = if current { Origin::Current } else { Origin::Behind };
                highest = highest.max(number);
                // A copy may be newer than a store that fell back.
                if current || !has_newer(disk, number)? {
                    return Ok(Found { rows, origin, checkpoint: number, highest, refused });
                }
                let why = format!("it is at checkpoint {number}, and {highest} was committed");
                refused.push((redb::FILE.to_owned(), why));
            }
            Err(why) => refused.push((redb::FILE.to_owned(), why)),
        },
        Ok(None) if highest == 0 && never_had_any(disk, secret)? => {
            let (rows, checkpoint) = (Vec::new(), 0);
            return Ok(Found { rows, origin: Origin::Current, checkpoint, highest, refused });
        }
        Ok(None) => refused.push((redb::FILE.to_owned(), "it is not there".to_owned())),
        Err(error) => refused.push((redb::FILE.to_owned(), error.to_string())),
    }
    for path in export::list(disk).map_err(|error| StateError::io(export::DIR, error))? {
        let read = export::read(disk, &path).map_err(|error| error.to_string());
        match read.and_then(|export| usable(&export.rows).map(|()| export)) {
            Ok(export::Export { head, checkpoint, rows }) => {
                let origin = Origin::Export { path, taken_ms: head.taken_ms };
                let highest = highest.max(checkpoint);
                return Ok(Found { rows, origin, checkpoint, highest, refused });
            }
            Err(why) => refused.push((path, why)),
        }
    }
    let (rows, origin) = (Vec::new(), Origin::Nothing);
    Ok(Found { rows, origin, checkpoint: 0, highest, refused })
}

fn has_newer(disk: &dyn Disk, number: u64) -> Result<bool> {
    let paths = export::list(disk).map_err(|error| StateError::io(export::DIR, error))?;
    Ok(paths.iter().any(|path| *path > export::path_of(number) && export::read(disk, path).is_ok()))
}

/// True if the write-ahead log begins with its first frame, or with none: then no checkpoint was
/// ever made.
fn never_had_any(disk: &dyn Disk, secret: Secret) -> Result<bool> {
    let failed = |error: std::io::Error| StateError::io("wal", error);
    let files = open_all(disk, secret).map_err(|error| failed(std::io::Error::other(error)))?;
    let blobs = disk.list("blob").map_err(failed)?;
    let first = |header: Option<FileHeader>| header.is_some_and(|header| header.first == 1);
    Ok(files.iter().any(|file| first(file.header)) || files.is_empty() && blobs.is_empty())
}

/// A store being made anew beside the one that it replaces.
pub struct NewStore {
    disk: Arc<dyn Disk>,
    building: Building,
}

impl NewStore {
    /// Makes one that holds these rows, but those that a repair writes anew: where the checkpoint
    /// is, which stretches and which logs there are. Its number is above `highest`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn of(disk: Arc<dyn Disk>, rows: &RowList, highest: u64) -> Result<NewStore> {
        let building = Building::begin(&*disk)?;
        let anew = [Kind::Checkpoint, Kind::Extents, Kind::Log];
        let kept = rows.iter().filter(|(key, _)| !anew.contains(&key.kind)).cloned();
        let changes = Changes { put: kept.collect(), ..Changes::default() };
        building.state.commit(0, highest + 1, &changes)?;
        Ok(NewStore { disk, building })
    }

    /// The store, for the commit that completes it.
    pub fn state(&self) -> Arc<RedbState> {
        self.building.state.clone()
    }

    /// Gives it the name of the store. The old one must be gone, and nobody may hold this one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn install(self) -> Result<()> {
        self.building.install(&*self.disk)
    }
}

/// Makes both slots of the mark whole.
///
/// # Errors
/// What the disk says.
pub fn renew_mark(disk: &dyn Disk) -> Result<()> {
    let broken = match mark::Mark::read(disk) {
        Ok(slots) => slots.iter().any(|(_, slot)| *slot == mark::Slot::Broken),
        Err(StateError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if broken {
        let state = RedbState::open(disk, false)?;
        for _ in 0..2 {
            let number = state.number()?;
            state.commit(number, number + 1, &Changes::default())?;
        }
    }
    Ok(())
}
