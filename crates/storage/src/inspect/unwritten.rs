//! A disk that refuses to be changed, so that looking cannot do harm.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Entry, Mode};

/// The disk below, for reading only. Files opened for writing are open for reading, and refuse.
pub(crate) struct Unwritten(pub Arc<dyn Disk>);

impl Disk for Unwritten {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        let mode = match mode {
            Mode::Write => Mode::Read,
            Mode::WriteDirect => Mode::ReadDirect,
            reading => reading,
        };
        Ok(Arc::new(UnwrittenFile(self.0.open(path, mode)?)))
    }

    fn rename(&self, from: &str, _to: &str) -> Result<()> {
        refused(from)
    }

    fn remove(&self, path: &str) -> Result<()> {
        refused(path)
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        refused(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        self.0.list(path)
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        refused(path)
    }

    fn free(&self) -> Result<u64> {
        self.0.free()
    }

    fn total(&self) -> Result<u64> {
        self.0.total()
    }
}

struct UnwrittenFile(Arc<dyn DiskFile>);

impl DiskFile for UnwrittenFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        self.0.read_at(into, at)
    }

    fn write_at(&self, _from: &[u8], _at: u64) -> Result<()> {
        refused("a file")
    }

    fn sync(&self) -> Result<()> {
        refused("a file")
    }

    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn set_len(&self, _len: u64) -> Result<()> {
        refused("a file")
    }
}

fn refused(path: &str) -> Result<()> {
    let what = format!("{path}: nothing is written while a directory is looked at");
    Err(Error::new(ErrorKind::PermissionDenied, what))
}
