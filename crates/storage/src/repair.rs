//! What is left of a damaged data directory: batches, frames, rows and the identity, as far as
//! their own checksums say that they are whole; and the quarantine for what is not. What is made of
//! it is decided by whoever knows what effects and rows mean.

pub mod identity;
pub mod pieces;
pub mod quarantine;
pub mod rows;
pub mod stretches;

use std::sync::Arc;

use crate::blob::BlobMeta;
use crate::blob::fs::FsBlobs;
use crate::disk::Disk;
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

/// A store over the blobs as they are found, and these rows in memory. Removes nothing.
pub fn store_over(
    disk: Arc<dyn Disk>,
    recent: Arc<Recent>,
    rows: &RowList,
) -> Result<(Store, Vec<BlobMeta>), StoreError> {
    let looked = FsBlobs::look(disk.clone())?;
    let state = MemState::default();
    state.commit(0, 1, &Changes { put: rows.clone(), ..Changes::default() })?;
    let blobs = looked.blobs;
    let store = Store::over(disk, recent, looked.store, &blobs, Some(Arc::new(state)));
    Ok((store, blobs))
}
