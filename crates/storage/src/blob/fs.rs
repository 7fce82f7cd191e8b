//! Blobs as files: written directly under a temporary name, synced, renamed, their directory
//! synced. A name is there with its whole content or not at all.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashSet;
use parking_lot::Mutex;

use super::{BlobError, BlobId, BlobMeta, BlobStore, Put, PutOutcome, Result};
use crate::aligned::{Pool, page_up};
use crate::disk::{self, Disk, DiskFile, Mode};

use self::files::Files;

mod files;

/// Bytes per write.
const WRITE_BYTES: usize = 1 << 20;
/// Files of one put that are open at the same time.
const OPEN_MAX: usize = 64;
/// Ending of a file that is being written.
const TEMPORARY: &str = ".tmp";

/// What a user may set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Blobs that are kept open for reading.
    pub open_files_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { open_files_max: 1024 }
    }
}

/// The blobs below one data directory.
pub struct FsBlobs {
    disk: Arc<dyn Disk>,
    files: Files,
    buffers: Arc<Pool>,
    /// Directories whose own entry is known to be durable. Those that were found at the start are
    /// not: who made them may have died before the sync.
    kept_dirs: Mutex<HashSet<String, foldhash::fast::FixedState>>,
}

/// A store that is only looked at.
pub(crate) struct Looked {
    pub store: FsBlobs,
    pub blobs: Vec<BlobMeta>,
    /// Paths of what puts have left that did not come to their end.
    pub unfinished: Vec<String>,
    /// Paths of files that are no blobs.
    pub foreign: Vec<String>,
}

/// A file that has its content but not yet its name.
struct Written {
    at: usize,
    file: Arc<dyn DiskFile>,
    temporary: Option<String>,
}

/// What one put has still to sync.
#[derive(Default)]
struct Syncs {
    dirs: BTreeSet<String>,
    /// Directories that are kept once those are synced.
    new: Vec<String>,
}

impl FsBlobs {
    /// Opens the store, removes what unfinished puts have left, and tells which blobs there are.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings) -> Result<(FsBlobs, Vec<BlobMeta>)> {
        let mut found = Found::default();
        walk(&*disk, "blob".to_owned(), 0, &mut found)?;
        for path in &found.temporary {
            disk.remove(path).map_err(|error| io(path, error))?;
        }
        let blobs = FsBlobs::over(disk, settings);
        Ok((blobs, found.sorted()))
    }

    fn over(disk: Arc<dyn Disk>, settings: Settings) -> FsBlobs {
        FsBlobs {
            disk,
            files: Files::new(settings.open_files_max),
            buffers: Arc::new(Pool::default()),
            kept_dirs: Mutex::default(),
        }
    }

    /// The store as it is found, with nothing removed.
    pub(crate) fn look(disk: Arc<dyn Disk>) -> Result<Looked> {
        let mut found = Found::default();
        walk(&*disk, "blob".to_owned(), 0, &mut found)?;
        let (unfinished, foreign) =
            (std::mem::take(&mut found.temporary), std::mem::take(&mut found.foreign));
        let store = FsBlobs::over(disk, Settings::default());
        Ok(Looked { store, blobs: found.sorted(), unfinished, foreign })
    }

    /// Makes a directory. Notes which are to be synced before a file in it counts as kept: itself,
    /// and those above it that hold an entry of which that is not known.
    fn make_dir(&self, dir: &str, syncs: &mut Syncs) -> Result<()> {
        if syncs.dirs.insert(dir.to_owned()) {
            self.disk.create_dir(dir).map_err(|error| io(dir, error))?;
            let kept = self.kept_dirs.lock();
            let mut parent = "";
            for end in dir.match_indices('/').map(|(end, _)| end).chain([dir.len()]) {
                if !kept.contains(&dir[..end]) {
                    syncs.dirs.insert(parent.to_owned());
                    syncs.new.push(dir[..end].to_owned());
                }
                parent = &dir[..end];
            }
        }
        Ok(())
    }

    /// Syncs each directory once, after all files of a put have their names.
    fn sync_dirs(&self, syncs: Syncs) -> Result<()> {
        for dir in &syncs.dirs {
            self.disk.sync_dir(dir).map_err(|error| io(dir, error))?;
        }
        self.kept_dirs.lock().extend(syncs.new);
        Ok(())
    }

    fn put_some(
        &self,
        blobs: &[Put],
        outcomes: &mut Vec<PutOutcome>,
        syncs: &mut Syncs,
    ) -> Result<()> {
        let mut written = Vec::new();
        let done = self.put_written(blobs, &mut written, outcomes, syncs);
        if done.is_err() {
            // Whatever stays is removed at the next start.
            for temporary in written.iter().filter_map(|written| written.temporary.as_ref()) {
                let _ = self.disk.remove(temporary);
            }
        }
        done
    }

    fn put_written(
        &self,
        blobs: &[Put],
        written: &mut Vec<Written>,
        outcomes: &mut Vec<PutOutcome>,
        syncs: &mut Syncs,
    ) -> Result<()> {
        for (at, Put { id, parts }) in blobs.iter().enumerate() {
            let path = id.path();
            match self.disk.open(&path, Mode::ReadDirect) {
                Ok(file) => {
                    let same = self.is_same(&*file, parts).map_err(|error| io(&path, error))?;
                    if same {
                        // Whoever put it may not have come to the syncs.
                        self.make_dir(&id.dir(), syncs)?;
                        written.push(Written { at, file, temporary: None });
                    }
                    let outcome = if same { PutOutcome::AlreadyMine } else { PutOutcome::Conflict };
                    outcomes.push(outcome);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.make_dir(&id.dir(), syncs)?;
                    let temporary = format!("{path}{TEMPORARY}");
                    let file = self.disk.open(&temporary, Mode::WriteDirect);
                    let file = file.map_err(|error| io(&temporary, error))?;
                    let copy = Some(temporary.clone());
                    written.push(Written { at, file: file.clone(), temporary: copy });
                    self.write(&*file, parts).map_err(|error| io(&temporary, error))?;
                    outcomes.push(PutOutcome::Created);
                }
                Err(error) => return Err(io(&path, error)),
            }
        }
        for Written { at, file, .. } in written.iter() {
            file.sync().map_err(|error| io(&blobs[*at].id.path(), error))?;
        }
        for Written { at, temporary, .. } in written.iter_mut() {
            if let Some(from) = temporary {
                let renamed = self.disk.rename(from, &blobs[*at].id.path());
                renamed.map_err(|error| io(from, error))?;
                *temporary = None;
            }
        }
        Ok(())
    }

    fn write(&self, file: &dyn DiskFile, parts: &[Bytes]) -> std::io::Result<()> {
        // What an earlier try has left under this name may be longer.
        if !file.is_empty()? {
            file.set_len(0)?;
        }
        let mut buf = self.buffers.take(WRITE_BYTES);
        let mut parts = Parts(parts, 0);
        let mut len = 0;
        loop {
            let got = parts.fill(&mut buf[..WRITE_BYTES]);
            if got == 0 {
                return Ok(());
            }
            let padded = page_up(got);
            buf[got..padded].fill(0);
            file.write_at(&buf[..padded], len)?;
            len += got as u64;
            if padded > got {
                return file.set_len(len);
            }
        }
    }

    fn is_same(&self, file: &dyn DiskFile, parts: &[Bytes]) -> std::io::Result<bool> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if file.len()? != len {
            return Ok(false);
        }
        let mut buf = self.buffers.take(WRITE_BYTES);
        let mut parts = Parts(parts, 0);
        let mut at = 0;
        loop {
            let got = parts.fill(&mut buf[..WRITE_BYTES]);
            if got == 0 {
                return Ok(true);
            }
            if disk::read_exact(file, at, got)? != buf[..got] {
                return Ok(false);
            }
            at += got as u64;
        }
    }

    fn file(&self, id: BlobId) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.get(id) {
            return Ok(file);
        }
        let path = id.path();
        match self.disk.open(&path, Mode::ReadDirect) {
            Ok(file) => {
                self.files.put(id, file.clone());
                Ok(file)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(BlobError::Missing { blob: id })
            }
            Err(error) => Err(io(&path, error)),
        }
    }
}

impl BlobStore for FsBlobs {
    fn put_all(&self, blobs: &[Put]) -> Result<Vec<PutOutcome>> {
        let mut outcomes = Vec::with_capacity(blobs.len());
        let mut syncs = Syncs::default();
        for some in blobs.chunks(OPEN_MAX) {
            self.put_some(some, &mut outcomes, &mut syncs)?;
        }
        assert_eq!(outcomes.len(), blobs.len());
        self.sync_dirs(syncs)?;
        Ok(outcomes)
    }

    fn get(&self, id: BlobId, range: Range<u64>) -> Result<Bytes> {
        let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
        let file = self.file(id)?;
        // Looked up before any memory is taken: the range may come from a damaged row.
        let end = file.len().map_err(|error| io(&id.path(), error))?;
        match len {
            Some(len) if range.end <= end => {
                disk::read_exact(&*file, range.start, len).map_err(|error| io(&id.path(), error))
            }
            _ => Err(BlobError::damaged(id, range, format!("it ends at {end}"))),
        }
    }

    fn len(&self, id: BlobId) -> Result<u64> {
        self.file(id)?.len().map_err(|error| io(&id.path(), error))
    }

    fn list(&self, shard: Option<u16>) -> Result<Vec<BlobMeta>> {
        let mut found = Found::default();
        match shard {
            None => walk(&*self.disk, "blob".to_owned(), 0, &mut found)?,
            Some(shard) => walk(&*self.disk, format!("blob/{shard:03}"), 1, &mut found)?,
        }
        Ok(found.sorted())
    }

    fn delete(&self, ids: &[BlobId]) -> Result<()> {
        for id in ids {
            self.files.forget(*id);
            let path = id.path();
            match self.disk.remove(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&path, error)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn io(at: &str, error: Error) -> BlobError {
    BlobError::Io { at: at.to_owned(), error }
}

/// The rest of a list of parts: those left, and how much of the first is used up.
struct Parts<'a>(&'a [Bytes], usize);

impl Parts<'_> {
    /// Copies as much as there is and fits.
    fn fill(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let [first, rest @ ..] = self.0 {
            let part = &first[self.1..];
            let len = part.len().min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&part[..len]);
            done += len;
            self.1 += len;
            if self.1 < first.len() {
                break;
            }
            (self.0, self.1) = (rest, 0);
        }
        done
    }
}

#[derive(Default)]
struct Found {
    blobs: Vec<BlobMeta>,
    temporary: Vec<String>,
    foreign: Vec<String>,
}

impl Found {
    fn sorted(mut self) -> Vec<BlobMeta> {
        self.blobs.sort();
        self.blobs
    }
}

/// Deepest directory of a blob: blob/shard/s/log/rewrite.
const DEPTH_MAX: usize = 4;

fn walk(disk: &dyn Disk, dir: String, depth: usize, found: &mut Found) -> Result<()> {
    for entry in disk.list(&dir).map_err(|error| io(&dir, error))? {
        let path = format!("{dir}/{}", entry.name);
        if entry.is_dir {
            if depth < DEPTH_MAX {
                walk(disk, path, depth + 1, found)?;
            }
        } else if let Some(id) = BlobId::parse(&path) {
            found.blobs.push(BlobMeta { id, len: entry.len });
        } else if path.strip_suffix(TEMPORARY).and_then(BlobId::parse).is_some() {
            found.temporary.push(path);
        } else {
            tracing::warn!(path, "a file that is no blob is left alone");
            found.foreign.push(path);
        }
    }
    Ok(())
}
