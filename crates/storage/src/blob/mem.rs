//! Blobs in memory, with failures on demand: for tests and the simulator. What was put is what a
//! crash leaves.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{BlobError, BlobId, BlobMeta, BlobStore, Put, PutOutcome, Result};

/// How the next call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before,
    /// Everything is done, and the caller learns of a failure.
    After,
}

/// Calls so far, failed ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blobs that were to be put.
    pub puts: u64,
    pub gets: u64,
    pub deletes: u64,
    /// Units of time that the calls would have taken.
    pub delay: u64,
}

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<BlobId, Bytes>,
    put_fault: Option<Fault>,
    get_fault: bool,
    delay_each: u64,
    counts: Counts,
}

/// The simulated twin of [`super::fs::FsBlobs`].
#[derive(Default)]
pub struct MemBlobs(Mutex<Inner>);

impl MemBlobs {
    pub fn fail_next_put(&self, fault: Fault) {
        self.0.lock().put_fault = Some(fault);
    }

    pub fn fail_next_get(&self) {
        self.0.lock().get_fault = true;
    }

    /// From now on each put, get and delete adds so much to [`Counts::delay`]; nobody waits here.
    pub fn delay_each(&self, units: u64) {
        self.0.lock().delay_each = units;
    }

    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }

    /// The blob is gone, as if the device had lost it; false if it was not there.
    pub fn lose(&self, id: BlobId) -> bool {
        self.0.lock().blobs.remove(&id).is_some()
    }

    /// Changes the content of a blob, as a failing device does; false if it is not there.
    pub fn damage(&self, id: BlobId, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut inner = self.0.lock();
        let Some(blob) = inner.blobs.get_mut(&id) else { return false };
        let mut content = blob.to_vec();
        change(&mut content);
        *blob = content.into();
        true
    }
}

fn as_told() -> BlobError {
    BlobError::Io { at: "blobs in memory".to_owned(), error: io::Error::other("as told") }
}

impl BlobStore for MemBlobs {
    fn put_all(&self, blobs: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut inner = self.0.lock();
        inner.counts.puts += blobs.len() as u64;
        inner.counts.delay += inner.delay_each * blobs.len() as u64;
        let fault = inner.put_fault.take();
        if fault == Some(Fault::Before) {
            return Err(as_told());
        }
        let mut outcomes = Vec::new();
        for Put { id, parts } in blobs {
            let mut content = BytesMut::new();
            parts.iter().for_each(|part| content.extend_from_slice(part));
            outcomes.push(match inner.blobs.get(id) {
                Some(there) if *there == content => PutOutcome::AlreadyMine,
                Some(_) => PutOutcome::Conflict,
                None => {
                    inner.blobs.insert(*id, content.freeze());
                    PutOutcome::Created
                }
            });
        }
        if fault.is_some() { Err(as_told()) } else { Ok(outcomes) }
    }

    fn get(&self, id: BlobId, range: Range<u64>) -> Result<Bytes> {
        let mut inner = self.0.lock();
        inner.counts.gets += 1;
        inner.counts.delay += inner.delay_each;
        if std::mem::take(&mut inner.get_fault) {
            return Err(as_told());
        }
        let blob = inner.blobs.get(&id).ok_or(BlobError::Missing { blob: id })?;
        if range.start > range.end || range.end > blob.len() as u64 {
            return Err(BlobError::damaged(id, range, "it ends before"));
        }
        let place = |place: u64| usize::try_from(place).expect("inside a buffer");
        Ok(blob.slice(place(range.start)..place(range.end)))
    }

    fn len(&self, id: BlobId) -> Result<u64> {
        let inner = self.0.lock();
        let blob = inner.blobs.get(&id).ok_or(BlobError::Missing { blob: id })?;
        Ok(blob.len() as u64)
    }

    fn list(&self, shard: Option<u16>) -> Result<Vec<BlobMeta>> {
        let inner = self.0.lock();
        let metas =
            inner.blobs.iter().map(|(id, blob)| BlobMeta { id: *id, len: blob.len() as u64 });
        Ok(metas.filter(|meta| shard.is_none_or(|shard| meta.id.shard() == shard)).collect())
    }

    fn delete(&self, ids: &[BlobId]) -> Result<()> {
        let mut inner = self.0.lock();
        inner.counts.deletes += ids.len() as u64;
        inner.counts.delay += inner.delay_each * ids.len() as u64;
        for id in ids {
            inner.blobs.remove(id);
        }
        Ok(())
    }
}
