//! A disk that forgets: what would be written past the page cache is dropped, and a sync takes a
//! fixed time, so that no run waits for a real disk. Only for brokers that never read back.

use std::io::{ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use sabir_storage::disk::{Disk, DiskFile, Entry, Mode, OsDisk};

/// That of a good disk: with none the WAL would cut a frame for every operation.
const SYNC: Duration = Duration::from_micros(100);

/// The few files that are not written directly lie in a real directory.
pub struct Sink(OsDisk);

impl Sink {
    pub fn new(root: &Path) -> Result<Self> {
        Ok(Self(OsDisk::new(root)?))
    }
}

/// A file without content.
#[derive(Default)]
struct Nothing {
    len: AtomicU64,
}

impl Disk for Sink {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        match mode {
            Mode::WriteDirect => Ok(Arc::new(Nothing::default())),
            _ => self.0.open(path, mode),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        if_there(self.0.rename(from, to))
    }

    fn remove(&self, path: &str) -> Result<()> {
        if_there(self.0.remove(path))
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        self.0.list(path)
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        self.0.sync_dir(path)
    }

    fn free(&self) -> Result<u64> {
        self.0.free()
    }

    fn total(&self) -> Result<u64> {
        self.0.total()
    }
}

/// Files that were never made may be renamed and removed.
fn if_there(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl DiskFile for Nothing {
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        let left = usize::try_from(self.len.load(Relaxed).saturating_sub(at)).unwrap_or(usize::MAX);
        let got = into.len().min(left);
        into[..got].fill(0);
        Ok(got)
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<()> {
        self.len.fetch_max(at + from.len() as u64, Relaxed);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        thread::sleep(SYNC);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.len.load(Relaxed))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.len.store(len, Relaxed);
        Ok(())
    }
}
