//! What is left of a damaged data directory: batches, frames, rows and the identity, as far as
//! their own checksums say that they are whole; and the quarantine for what is not. What is made of
//! it is decided by whoever knows what effects and rows mean.

pub mod identity;
pub mod pieces;
pub mod quarantine;
pub mod rows;
pub mod stretches;

use std::io::Result;
use std::sync::Arc;

use crate::blob::BlobMeta;
use crate::blob::fs::FsBlobs;
use crate::disk::{Disk, DiskFile, Entry, Mode};
use crate::recent::Recent;
use crate::state::mem::MemState;
use crate::state::{Changes, Key, StateStore};
use crate::store::{Store, StoreError};

/// Rows in key order.
pub type RowList = Vec<(Key, Vec<u8>)>;

/// A disk that refuses every change, for a repair that only says what it would do.
pub fn unwritten(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    Arc::new(crate::inspect::Unwritten(disk))
}

/// The disk for a write-ahead log that begins anew: old files of one are not seen, so that none is
/// used again or removed.
pub fn beside_old_wal(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    Arc::new(Beside(disk))
}

struct Beside(Arc<dyn Disk>);

impl Disk for Beside {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        self.0.open(path, mode)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.0.remove(path)
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        if path == crate::wal::files::DIR { Ok(Vec::new()) } else { self.0.list(path) }
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

/// A store over the blobs as they are found, and these rows in memory. Removes nothing.
pub fn store_over(
    disk: Arc<dyn Disk>,
    recent: Arc<Recent>,
    rows: &RowList,
) -> std::result::Result<(Store, Vec<BlobMeta>), StoreError> {
    let looked = FsBlobs::look(disk.clone())?;
    let state = MemState::default();
    state.commit(0, 1, &Changes { put: rows.clone(), ..Changes::default() })?;
    let blobs = looked.blobs;
    let store = Store::over(disk, recent, looked.store, &blobs, Some(Arc::new(state)));
    Ok((store, blobs))
}
