//! A disk in memory whose syncs can be held back, so that nothing becomes durable meanwhile.

use std::io::Result;
use std::sync::{Arc, Condvar, Mutex};

use sabir_storage::disk::sim::{Handle, SimDisk};
use sabir_storage::disk::{Disk, DiskFile, Entry, Mode};

/// Syncs wait while it is shut.
#[derive(Default)]
pub struct Gate {
    shut: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    pub fn set(&self, shut: bool) {
        *self.shut.lock().expect("nobody panics in here") = shut;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().expect("nobody panics in here");
        drop(self.moved.wait_while(shut, |shut| *shut));
    }
}

pub struct HeldDisk {
    disk: Handle,
    gate: Arc<Gate>,
}

struct HeldFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl HeldDisk {
    pub fn new(disk: Arc<SimDisk>, gate: Arc<Gate>) -> HeldDisk {
        HeldDisk { disk: Handle(disk), gate }
    }
}

impl Disk for HeldDisk {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(HeldFile { file, gate: self.gate.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.disk.remove(path)
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        self.disk.sync_dir(path)
    }

    fn free(&self) -> Result<u64> {
        self.disk.free()
    }

    fn total(&self) -> Result<u64> {
        self.disk.total()
    }
}

impl DiskFile for HeldFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<()> {
        self.file.write_at(from, at)
    }

    fn sync(&self) -> Result<()> {
        self.gate.pass();
        self.file.sync()
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }
}
