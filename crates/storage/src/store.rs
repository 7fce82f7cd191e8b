//! What lies below the WAL: blobs with batches, and state rows. Writes recent batches into blobs,
//! commits checkpoints, and deletes what no row names any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::blob::fs::{FsBlobs, Settings as BlobSettings};
use crate::blob::{BlobError, BlobId, BlobMeta, BlobStore, Put, PutOutcome};
use crate::bundle;
use crate::checkpoint::CheckpointRow;
use crate::disk::Disk;
use crate::export;
use crate::extent::{self, Extent};
use crate::ident::Ident;
use crate::log::{LogId, LogView, Offset};
use crate::recent::Recent;
use crate::segment;
use crate::state::redb::RedbState;
use crate::state::{Changes, Key, Kind, StateError, StateStore};
use crate::stretch::{BatchRef, Built, IndexCache};
use crate::ticket::FrameNo;

/// A log with at least this much to write gets a segment of its own, in bytes.
const SEGMENT_MIN: u64 = 4 << 20;
/// Bytes of a segment at most, where the log says nothing smaller.
const SEGMENT_MAX: u64 = 256 << 20;
/// The file of the state rows.
const STATE_FILE: &str = "state.redb";

mod merge;

/// Why something below the WAL went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Blob(#[from] BlobError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Rows that do not fit together; never mended by trying again.
    #[error("{STATE_FILE} is damaged: {0}")]
    Rows(String),
}

impl StoreError {
    /// True if there was no room: nothing is lost, and it may be tried again.
    pub fn is_full(&self) -> bool {
        let full = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            StoreError::Blob(BlobError::Io { error, .. })
            | StoreError::State(StateError::Io { error, .. })
            | StoreError::Io(error) => full(error),
            _ => false,
        }
    }
}

/// Called with each row; an error says what is wrong with it.
pub type VisitRow<'a> = dyn FnMut(Key, &[u8]) -> Result<(), String> + 'a;

/// Blobs and rows of one data directory.
pub struct Store {
    disk: Arc<dyn Disk>,
    pub blobs: Arc<dyn BlobStore>,
    pub indexes: IndexCache,
    /// Made at the first commit; None before it, and after a commit that failed for want of room.
    state: Mutex<Option<Arc<dyn StateStore>>>,
    /// The stretches in each blob that some log still has.
    uses: Mutex<HashMap<BlobId, u32, foldhash::fast::FixedState>>,
    next_bundle: AtomicU64,
    next_rewrite: AtomicU32,
    pub recent: Arc<Recent>,
    /// Logs whose extents have changed since the last checkpoint.
    touched: Mutex<Vec<Arc<LogView>>>,
}

impl Store {
    /// Opens what is there. Blobs that no row lists are deleted by [`Store::adopt`], once the rows
    /// are read.
    pub fn open(disk: Arc<dyn Disk>, recent: Arc<Recent>) -> Result<Store, StoreError> {
        let (blobs, listed) = FsBlobs::open(disk.clone(), BlobSettings::default())?;
        let there = disk.list("")?.iter().any(|entry| entry.name == STATE_FILE);
        let state: Option<Arc<dyn StateStore>> =
            if there { Some(Arc::new(RedbState::open(&*disk, false)?)) } else { None };
        Ok(Store::over(disk, recent, blobs, &listed, state))
    }

    /// A store over these blobs, of which `listed` are there, and these rows.
    pub(crate) fn over(
        disk: Arc<dyn Disk>,
        recent: Arc<Recent>,
        blobs: FsBlobs,
        listed: &[BlobMeta],
        state: Option<Arc<dyn StateStore>>,
    ) -> Store {
        let highest = listed.iter().filter_map(|blob| match blob.id {
            BlobId::Bundle { number, .. } => Some(number),
            BlobId::Segment { .. } => None,
        });
        let rewrites = listed.iter().filter_map(|blob| match blob.id {
            BlobId::Segment { rewrite, .. } => Some(rewrite),
            BlobId::Bundle { .. } => None,
        });
        let next_rewrite = AtomicU32::new(rewrites.max().map_or(1, |rewrite| rewrite + 1));
        let next_bundle = AtomicU64::new(highest.max().map_or(1, |number| number + 1));
        Store {
            disk,
            blobs: Arc::new(blobs),
            indexes: IndexCache::new(IndexCache::BYTES_MAX),
            state: Mutex::new(state),
            uses: Mutex::default(),
            next_bundle,
            next_rewrite,
            recent,
            touched: Mutex::default(),
        }
    }

    /// Commits go into this store of rows from now on.
    pub fn set_state(&self, state: Arc<dyn StateStore>) {
        *self.state.lock() = Some(state);
    }

    /// Lets go of the store of rows: the next commit opens it again.
    pub fn drop_state(&self) {
        *self.state.lock() = None;
    }

    /// Writes an export of the last checkpoint's rows; None while there are none. Commits go on
    /// meanwhile.
    ///
    /// # Errors
    /// As [`export::write`].
    pub fn export(
        &self,
        ident: &Ident,
        taken_ms: i64,
    ) -> Result<Option<export::Exported>, StoreError> {
        let state = self.state.lock().clone();
        let Some(state) = state else { return Ok(None) };
        Ok(Some(export::write(&*self.disk, ident, taken_ms, &*state)?))
    }

    /// When the newest whole export was taken, in milliseconds since 1970.
    ///
    /// # Errors
    /// What the disk says.
    pub fn exported_ms(&self) -> Result<Option<i64>, StoreError> {
        let paths = export::list(&*self.disk)?;
        let heads = paths.iter().filter_map(|path| export::read_head(&*self.disk, path).ok());
        Ok(heads.map(|head| head.taken_ms).max())
    }

    /// Takes note of what all logs have in blobs, and deletes nothing.
    pub fn note_uses<'a>(&self, extents: impl Iterator<Item = &'a Extent>) {
        let mut uses = self.uses.lock();
        extents.for_each(|extent| *uses.entry(extent.blob).or_default() += 1);
    }

    /// All extents of the log are stored with the next commit, whatever is stored of them.
    pub fn touch(&self, view: &Arc<LogView>) {
        view.touch_extents();
        self.touched.lock().push(view.clone());
    }

    /// Writes batches of one log into a segment that has a new name. Nothing names it yet.
    ///
    /// # Errors
    /// What the disk says.
    pub fn rewrite(
        &self,
        shard: u16,
        log: LogId,
        batches: &[BatchRef],
    ) -> Result<Extent, StoreError> {
        let Built { blobs, extents } = segment::build(shard, log, self.next_rewrite(), batches);
        self.put_new(&blobs)?;
        Ok(extents[0])
    }

    /// The last checkpoint, or None in a directory that never had one.
    pub fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        let state = self.state.lock();
        let Some(state) = &*state else { return Ok(None) };
        let Some(row) = state.get(CheckpointRow::KEY)? else { return Ok(None) };
        let row = CheckpointRow::decode(&row);
        row.map(Some).ok_or_else(|| StoreError::Rows("the checkpoint row cannot be read".into()))
    }

    /// Visits all rows of a kind in a shard.
    pub fn rows(&self, shard: u16, kind: Kind, visit: &mut VisitRow<'_>) -> Result<(), StoreError> {
        let state = self.state.lock();
        let Some(state) = &*state else { return Ok(()) };
        let (from, to) = Key::all(shard, kind);
        let mut refused = None;
        state.scan(from, to, &mut |key, row| {
            if refused.is_none() {
                refused = visit(key, row).err();
            }
            Ok(())
        })?;
        refused.map_or(Ok(()), |why| Err(StoreError::Rows(why)))
    }

    /// The extents of every log of a shard, with the ordinal of the first.
    pub fn extents(&self, shard: u16) -> Result<BTreeMap<LogId, (u64, Vec<Extent>)>, StoreError> {
        let mut logs: BTreeMap<LogId, (u64, Vec<Extent>)> = BTreeMap::new();
        self.rows(shard, Kind::Extents, &mut |key, row| {
            let (first, extents) = decode_extents(row)
                .filter(|(_, extents)| extents.iter().all(|extent| extent.log == key.id))
                .ok_or_else(|| format!("the extents of log {} cannot be read", key.id))?;
            let (_, known) = logs.entry(key.id).or_insert((first, Vec::new()));
            known.extend(extents);
            Ok(())
        })?;
        Ok(logs)
    }

    /// Takes note of what all logs have in blobs, and deletes blobs that none has: they are left
    /// over from work that no checkpoint finished.
    pub fn adopt<'a>(&self, extents: impl Iterator<Item = &'a Extent>) -> Result<(), StoreError> {
        self.note_uses(extents);
        let uses = self.uses.lock();
        let mut orphans = Vec::new();
        for blob in self.blobs.list(None)? {
            let named = match blob.id {
                BlobId::Segment { shard, log, rewrite, base, .. } => {
                    BlobId::segment(shard, log, rewrite, base)
                }
                bundle => bundle,
            };
            if !uses.contains_key(&named) {
                orphans.push(blob.id);
            }
        }
        Ok(self.blobs.delete(&orphans)?)
    }

    /// Writes every batch of frames up to `upto` that no blob holds into blobs, and syncs them.
    /// Returns the bytes written.
    pub fn bundle(&self, upto: FrameNo) -> Result<u64, StoreError> {
        let mut by_shard: BTreeMap<u16, Vec<(LogId, Vec<BatchRef>)>> = BTreeMap::new();
        let mut built = Vec::new();
        let views = self.recent.to_bundle(upto);
        for view in &views {
            let batches = view.unbundled(upto);
            if batches.is_empty() {
                continue;
            }
            let bytes: u64 = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
            let most = view.segment_bytes().min(SEGMENT_MAX);
            for part in cut(batches, most) {
                let len: u64 = part.iter().map(|batch| batch.bytes.len() as u64).sum();
                if len >= SEGMENT_MIN || bytes > most {
                    built.push(segment::build(view.shard, view.id, 0, &part));
                } else {
                    by_shard.entry(view.shard).or_default().push((view.id, part));
                }
            }
        }
        for (shard, logs) in by_shard {
            built.push(bundle::build(shard, self.next_bundle(), logs));
        }
        let written = self.put(built, &views)?;
        self.recent.bundled(upto);
        Ok(written)
    }

    fn put(&self, built: Vec<Built>, views: &[Arc<LogView>]) -> Result<u64, StoreError> {
        let mut puts = Vec::new();
        let mut extents: BTreeMap<LogId, Vec<Extent>> = BTreeMap::new();
        for Built { blobs, extents: made } in built {
            puts.extend(blobs);
            for extent in made {
                extents.entry(extent.log).or_default().push(extent);
            }
        }
        let written = puts.iter().flat_map(|put| &put.parts).map(|part| part.len() as u64).sum();
        self.put_new(&puts)?;
        let mut uses = self.uses.lock();
        for view in views {
            if let Some(mut made) = extents.remove(&view.id) {
                made.sort_unstable_by_key(|extent| extent.base);
                made.iter().for_each(|extent| *uses.entry(extent.blob).or_default() += 1);
                view.add_extents(&made);
                self.touched.lock().push(view.clone());
            }
        }
        Ok(written)
    }

    fn next_bundle(&self) -> u64 {
        self.next_bundle.fetch_add(1, Ordering::Relaxed)
    }

    fn next_rewrite(&self) -> u32 {
        self.next_rewrite.fetch_add(1, Ordering::Relaxed)
    }

    fn put_new(&self, puts: &[Put]) -> Result<(), StoreError> {
        let outcomes = self.blobs.put_all(puts).inspect_err(|_| {
            // Nothing names them, they take room, and the next try may cut the log elsewhere.
            let ids: Vec<BlobId> = puts.iter().map(|put| put.id).collect();
            let _kept_till_the_next_start = self.blobs.delete(&ids);
        })?;
        assert_eq!(outcomes.len(), puts.len(), "one outcome for each blob");
        for (put, outcome) in puts.iter().zip(outcomes) {
            if outcome == PutOutcome::Conflict {
                let why = format!("{} holds something else than what is written there", put.id);
                return Err(StoreError::Rows(why));
            }
        }
        Ok(())
    }

    /// Drops what of a log lies wholly below `start`; returns the blobs that nobody uses any more.
    pub fn drop_below(&self, view: &Arc<LogView>, start: Offset) -> Vec<BlobId> {
        let gone = view.drop_below(start);
        if gone.is_empty() {
            return Vec::new();
        }
        self.touched.lock().push(view.clone());
        self.release(&gone)
    }

    /// The changes of rows for all extents that have changed since the last call.
    pub fn take_extents(&self, changes: &mut Changes) {
        let mut touched = std::mem::take(&mut *self.touched.lock());
        touched.sort_unstable_by_key(|view| view.id);
        touched.dedup_by_key(|view| view.id);
        touched.iter().for_each(|view| put_extents(view, changes));
    }

    /// Gives stretches back; returns the blobs that no log uses any more. They may be deleted once
    /// a checkpoint without these extents is committed.
    pub fn release(&self, extents: &[Extent]) -> Vec<BlobId> {
        let mut uses = self.uses.lock();
        let mut free = Vec::new();
        for extent in extents {
            let left = uses.get_mut(&extent.blob).expect("a stretch in use");
            *left -= 1;
            if *left == 0 {
                uses.remove(&extent.blob);
                free.extend(extent.blob.index());
                free.push(extent.blob);
            }
        }
        free
    }

    /// The one atomic commit of a checkpoint: its row and all changed rows.
    pub fn commit(&self, row: &CheckpointRow, mut changes: Changes) -> Result<(), StoreError> {
        let from = row.replay_from.frame;
        assert!(from <= row.durable + 1, "replay from {from}, but only {} is durable", row.durable);
        changes.put.push((CheckpointRow::KEY, row.encode()));
        let mut slot = self.state.lock();
        let state = match slot.take() {
            Some(state) => state,
            None => Arc::new(RedbState::open(&*self.disk, true)?),
        };
        let number = state.number()?;
        // A store whose commit failed answers no more; it is opened again by the next one.
        state.commit(number, number + 1, &changes)?;
        *slot = Some(state);
        Ok(())
    }

    /// Deletes blobs that the last commit took off the list.
    pub fn delete(&self, blobs: &[BlobId]) -> Result<(), StoreError> {
        self.indexes.forget(blobs);
        Ok(self.blobs.delete(blobs)?)
    }

    /// Bytes that may still be written to the disk.
    pub fn free(&self) -> std::io::Result<u64> {
        self.disk.free()
    }

    /// Bytes of the whole disk.
    pub fn total(&self) -> std::io::Result<u64> {
        self.disk.total()
    }
}

/// Cuts batches into runs of at most `most` bytes each, but at least one batch.
fn cut(batches: Vec<BatchRef>, most: u64) -> Vec<Vec<BatchRef>> {
    let mut parts: Vec<Vec<BatchRef>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        let len = batch.bytes.len() as u64;
        if len > room || parts.is_empty() {
            parts.push(Vec::new());
            room = most;
        }
        room = room.saturating_sub(len);
        parts.last_mut().expect("just pushed").push(batch);
    }
    parts
}

/// Changes of rows for the extents of a log.
fn put_extents(view: &LogView, changes: &mut Changes) {
    let pages = view.take_pages();
    let key = |page: u64| Key::new(view.shard, Kind::Extents, view.id, page);
    for (from, to) in pages.gone {
        changes.delete_ranges.push((key(from), key(to)));
    }
    for (page, first, extents) in pages.put {
        if extents.is_empty() {
            changes.delete.push(key(page));
        } else {
            let mut row = first.to_be_bytes().to_vec();
            row.extend_from_slice(&extent::encode_page(view.id, &extents));
            changes.put.push((key(page), row));
        }
    }
}

/// The ordinal of the first extent of a page, and its extents.
pub fn decode_extents(row: &[u8]) -> Option<(u64, Vec<Extent>)> {
    let (first, page) = row.split_first_chunk::<8>()?;
    let (_, extents) = extent::decode_page(page)?;
    Some((u64::from_be_bytes(*first), extents))
}
