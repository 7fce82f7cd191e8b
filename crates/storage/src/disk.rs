//! The seam to the world: every byte that storage reads or writes passes here. Real files are in
//! this file; files that fail, tear and forget are in the simulator.

pub mod sim;

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use crate::aligned::PAGE;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Must exist; for reading, through the page cache.
    Read,
    /// Must exist; for reading without the page cache.
    ReadDirect,
    /// Made if absent; reading and writing at any place, through the page cache.
    Write,
    /// Made if absent; reading and writing without the page cache: whole aligned pages only.
    WriteDirect,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    /// Bytes; 0 for directories.
    pub len: u64,
    pub is_dir: bool,
}

/// A directory tree. Paths are relative to its root and use `/`.
pub trait Disk: Send + Sync {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>>;
    /// Replaces `to` if it exists. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// `NotFound` if absent.
    fn remove(&self, path: &str) -> Result<()>;
    /// Makes the directory and its parents; no error if it exists.
    fn create_dir(&self, path: &str) -> Result<()>;
    /// In the order of the names; empty if the directory does not exist.
    fn list(&self, path: &str) -> Result<Vec<Entry>>;
    /// Makes the directory's entries durable.
    fn sync_dir(&self, path: &str) -> Result<()>;
    /// Bytes that may still be written.
    fn free(&self) -> Result<u64>;
    /// Bytes of the whole disk, used or not.
    fn total(&self) -> Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads as much as there is: fewer bytes than asked for only at the end of the file.
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize>;
    /// Writes all, or fails and has written any part.
    fn write_at(&self, from: &[u8], at: u64) -> Result<()>;
    /// fdatasync: what was written before is durable when this returns.
    fn sync(&self) -> Result<()>;
    fn len(&self) -> Result<u64>;
    fn set_len(&self, len: u64) -> Result<()>;
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Files of the operating system below one directory.
pub struct OsDisk {
    root: PathBuf,
    /// False where the file system refuses `O_DIRECT`: then everything goes through the cache.
    direct: AtomicBool,
}

impl OsDisk {
    /// Makes the directory if it is absent (mode 0700).
    pub fn new(root: impl Into<PathBuf>) -> Result<OsDisk> {
        let root = root.into();
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        Ok(OsDisk { root, direct: AtomicBool::new(true) })
    }

    /// The directory as it is; `NotFound` or `NotADirectory` if it is none.
    pub fn there(root: impl Into<PathBuf>) -> Result<OsDisk> {
        let root = root.into();
        std::fs::read_dir(&root).map_err(|error| named(error, &root))?;
        Ok(OsDisk { root, direct: AtomicBool::new(true) })
    }

    /// False after the file system has refused direct I/O.
    pub fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    fn stat(&self) -> Result<rustix::fs::StatVfs> {
        let root = CString::new(self.root.as_os_str().as_encoded_bytes())?;
        Ok(rustix::fs::statvfs(root.as_c_str())?)
    }

    fn path(&self, path: &str) -> PathBuf {
        assert!(!path.starts_with('/') && !path.contains(".."), "a path inside the data directory");
        self.root.join(path)
    }

    fn open_os(&self, path: &Path, mode: Mode, direct: bool) -> Result<File> {
        let writes = matches!(mode, Mode::Write | Mode::WriteDirect);
        let flags = if direct { OFlags::DIRECT } else { OFlags::empty() } | OFlags::CLOEXEC;
        std::fs::OpenOptions::new()
            .read(true)
            .write(writes)
            .create(writes)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).expect("open flags fit"))
            .open(path)
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        let path = self.path(path);
        let direct = matches!(mode, Mode::ReadDirect | Mode::WriteDirect) && self.is_direct();
        let file = match self.open_os(&path, mode, direct) {
            Err(error) if direct && error.kind() == ErrorKind::InvalidInput => {
                tracing::warn!("this file system refuses direct I/O: writing through the cache");
                self.direct.store(false, Ordering::Relaxed);
                self.open_os(&path, mode, false)
            }
            opened => opened,
        };
        Ok(Arc::new(OsFile { file: file.map_err(|error| named(error, &path))? }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let from = self.path(from);
        std::fs::rename(&from, self.path(to)).map_err(|error| named(error, &from))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let path = self.path(path);
        std::fs::remove_file(&path).map_err(|error| named(error, &path))
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        std::fs::create_dir_all(self.path(path))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let listed = match std::fs::read_dir(self.path(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut entries = Vec::new();
        for entry in listed {
            let entry = entry?;
            let meta = entry.metadata()?;
            let name = entry.file_name().into_string().map_err(|name| {
                Error::new(ErrorKind::InvalidData, format!("not our file: {name:?}"))
            })?;
            let len = if meta.is_dir() { 0 } else { meta.len() };
            entries.push(Entry { name, len, is_dir: meta.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn free(&self) -> Result<u64> {
        let stat = self.stat()?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total(&self) -> Result<u64> {
        let stat = self.stat()?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

/// Keeps every other process out of a data directory for as long as this lives. Released by the
/// operating system when the process ends, however it ends.
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Fails at once if another process has the directory.
    pub fn take(root: &Path) -> Result<DirLock> {
        let path = root.join("LOCK");
        let options = std::fs::OpenOptions::new().create(true).truncate(false).write(true).clone();
        let file = options.open(&path).map_err(|error| named(error, &path))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |_| {
                let root = root.display();
                let what = format!("{root}: another broker is running on this data directory");
                Error::new(ErrorKind::WouldBlock, what)
            },
        )?;
        Ok(DirLock { _file: file })
    }

    /// Keeps brokers out while somebody reads, and writes nothing. None where there is no lock
    /// yet; `WouldBlock` while a broker has the directory.
    pub fn look(root: &Path) -> Result<Option<DirLock>> {
        let path = root.join("LOCK");
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| named(error, &path))?,
        };
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).map_err(
            |_| {
                let what =
                    format!("{}: a broker is running on this data directory", root.display());
                Error::new(ErrorKind::WouldBlock, what)
            },
        )?;
        Ok(Some(DirLock { _file: file }))
    }
}

fn named(error: Error, path: &Path) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

struct OsFile {
    file: File,
}

impl DiskFile for OsFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], at + done as u64) {
                Ok(got) => {
                    done += got;
                    // A direct read ends off a page boundary only at the end of the file, and
                    // asking again from there would be refused.
                    if got == 0 || done % PAGE != 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(from, at)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }
}

/// Exactly `len` bytes at `at` of a file that may have been opened for direct reading: reads whole
/// pages. Fails with `UnexpectedEof` if the file ends before.
pub fn read_exact(file: &dyn DiskFile, at: u64, len: usize) -> Result<bytes::Bytes> {
    let page = PAGE as u64;
    let start = at / page * page;
    let skip = usize::try_from(at - start).expect("below one page");
    let mut buf = crate::aligned::AlignedBuf::zeroed(skip + len);
    if file.read_at(&mut buf, start)? < skip + len {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends before what is read"));
    }
    Ok(bytes::Bytes::from_owner(Owned(buf)).slice(skip..skip + len))
}

struct Owned(crate::aligned::AlignedBuf);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_files_are_read_to_their_exact_end() {
        let dir = tempfile::tempdir_in(".").expect("a directory");
        let disk = OsDisk::new(dir.path()).expect("opens");
        disk.create_dir("a/b").expect("makes");
        let file = disk.open("a/b/x", Mode::WriteDirect).expect("opens");
        let mut page = crate::aligned::AlignedBuf::zeroed(2 * PAGE);
        page[..6000].fill(7);
        file.write_at(&page, 0).expect("writes");
        file.set_len(6000).expect("cuts");
        file.sync().expect("syncs");
        let file = disk.open("a/b/x", Mode::ReadDirect).expect("opens");
        assert_eq!(read_exact(&*file, 5000, 1000).expect("reads").as_ref(), &[7; 1000]);
        assert!(read_exact(&*file, 5000, 1001).is_err());
        let want = Entry { name: "x".into(), len: 6000, is_dir: false };
        assert_eq!(disk.list("a/b").expect("lists"), vec![want]);
        assert_eq!(disk.list("none").expect("lists"), vec![]);
        let (free, total) = (disk.free().expect("known"), disk.total().expect("known"));
        assert!(0 < free && free <= total);
    }
}
