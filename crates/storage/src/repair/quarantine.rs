//! Where damaged pieces go instead of being deleted, and the note that a repair is under way: while
//! it is there no broker starts, and the next repair finishes what this one has begun.
//!
//! ```text
//! REPAIR                       the folder of the quarantine, then the paths still to be moved
//! quarantine/TIME/REPORT.txt   what was damaged, what was lost, what was done
//! quarantine/TIME/...          the pieces, under the paths they had
//! ```

use std::io::{Error, ErrorKind, Result};

use crate::disk::{Disk, Mode, read_exact};
use crate::ident::{self, Ident};

/// Says that a repair has not come to its end.
pub const UNDER_WAY: &str = "REPAIR";
const UNDER_WAY_NEW: &str = "REPAIR.new";
/// The directory of all quarantines.
pub const DIR: &str = "quarantine";
const REPORT: &str = "REPORT.txt";

/// What a repair moves, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    /// Relative to the data directory.
    pub dir: String,
    pub paths: Vec<String>,
}

/// Refuses a directory whose repair did not come to its end.
///
/// # Errors
/// `InvalidData` if so; what the disk says.
pub fn refuse_unfinished(disk: &dyn Disk) -> Result<()> {
    let begun = disk.list("")?.iter().any(|entry| entry.name == UNDER_WAY);
    let what = "a repair of the data directory did not come to its end: repeat it";
    if begun { Err(Error::new(ErrorKind::InvalidData, what)) } else { Ok(()) }
}

impl Quarantine {
    /// One for this time, which is written as people read it.
    pub fn new(time: &str, paths: Vec<String>) -> Quarantine {
        Quarantine { dir: format!("{DIR}/{time}"), paths }
    }

    /// The one of a repair that did not come to its end.
    ///
    /// # Errors
    /// What the disk says.
    pub fn unfinished(disk: &dyn Disk) -> Result<Option<Quarantine>> {
        let file = match disk.open(UNDER_WAY, Mode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let len = usize::try_from(file.len()?).map_err(Error::other)?;
        let text = read_exact(&*file, 0, len)?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::to_owned);
        let dir = lines.next().unwrap_or_else(|| format!("{DIR}/unknown"));
        Ok(Some(Quarantine { dir, paths: lines.collect() }))
    }

    /// Notes that the repair is under way, with its report beside the pieces to come; durable when
    /// this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(&self, disk: &dyn Disk, report: &str) -> Result<()> {
        disk.create_dir(&self.dir)?;
        write(disk, &format!("{}/{REPORT}", self.dir), report)?;
        disk.sync_dir(&self.dir)?;
        disk.sync_dir(DIR)?;
        let note = format!("{}\n{}\n", self.dir, self.paths.join("\n"));
        write(disk, UNDER_WAY_NEW, &note)?;
        disk.rename(UNDER_WAY_NEW, UNDER_WAY)?;
        disk.sync_dir("")
    }

    /// Keeps a copy of a damaged identity here, if there is any, and writes this one in its place.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_identity(&self, disk: &dyn Disk, ident: &Ident) -> Result<()> {
        disk.create_dir(&self.dir)?;
        if let Ok(file) = disk.open(ident::PATH, Mode::Read) {
            let len = usize::try_from(file.len()?).map_err(Error::other)?;
            let bytes = read_exact(&*file, 0, len)?;
            let copy = disk.open(&format!("{}/{}", self.dir, ident::PATH), Mode::Write)?;
            copy.write_at(&bytes, 0)?;
            copy.sync()?;
            disk.sync_dir(&self.dir)?;
        }
        ident.write(disk)
    }

    /// Moves one file here, under the path it had; nothing happens if it is not there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn take(&self, disk: &dyn Disk, path: &str) -> Result<()> {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let to = format!("{}/{path}", self.dir);
        let parent = to.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned();
        match disk.open(path, Mode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => drop(opened?),
        }
        disk.create_dir(&parent)?;
        disk.rename(path, &to)?;
        let mut made = parent.as_str();
        while !made.is_empty() {
            disk.sync_dir(made)?;
            made = made.rsplit_once('/').map_or("", |(dir, _)| dir);
        }
        disk.sync_dir(dir)
    }

    /// Moves all that is left to move, and takes the note away: the repair has come to its end.
    ///
    /// # Errors
    /// What the disk says.
    pub fn end(&self, disk: &dyn Disk) -> Result<()> {
        self.paths.iter().try_for_each(|path| self.take(disk, path))?;
        disk.remove(UNDER_WAY)?;
        disk.sync_dir("")
    }
}

fn write(disk: &dyn Disk, path: &str, text: &str) -> Result<()> {
    let file = disk.open(path, Mode::Write)?;
    file.set_len(0)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Cut, Fault, Handle, SimDisk};

    #[test]
    fn what_was_begun_is_finished_after_a_cut_at_any_step() {
        let paths = || vec!["wal/1".to_owned(), "gone".to_owned(), "top".to_owned()];
        for after in 0..24 {
            let disk = SimDisk::new();
            let handle = Handle(disk.clone());
            handle.create_dir("wal").expect("makes");
            for path in ["wal/1", "top"] {
                write(&handle, path, path).expect("writes");
            }
            handle.sync_dir("wal").expect("syncs");
            handle.sync_dir("").expect("syncs");
            disk.fail(Fault { after, kind: ErrorKind::Other, syncs_only: false });
            let quarantine = Quarantine::new("now", paths());
            let begun = quarantine.begin(&handle, "all");
            let _ = begun.as_ref().map(|()| quarantine.end(&handle));
            disk.cut(Cut::Lost, || 0);
            let handle = Handle(disk.clone());
            let left = Quarantine::unfinished(&handle).expect("readable");
            assert_eq!(left.is_some(), refuse_unfinished(&handle).is_err());
            if let Some(left) = left {
                assert_eq!(left, quarantine);
                left.end(&handle).expect("ends");
            }
            let files: Vec<String> = disk.files().into_iter().map(|file| file.0).collect();
            for path in ["wal/1", "top"] {
                let moved = format!("quarantine/now/{path}");
                let count = files.iter().filter(|file| **file == path || **file == moved).count();
                assert_eq!(count, 1, "fault at {after}: {files:?}");
            }
        }
    }
}
