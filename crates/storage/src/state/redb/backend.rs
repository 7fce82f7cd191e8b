//! What redb calls a storage backend, over a file of our disk; and one that keeps every write to
//! itself, for looking without touching.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use ::redb::StorageBackend;
use parking_lot::Mutex;

use crate::disk::DiskFile;

/// redb on a file of our disk.
pub(super) struct Backend(Arc<dyn DiskFile>);

impl Backend {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> Backend {
        Backend(file)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::FILE)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        read_all(&*self.0, offset, out)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.0.write_at(data, offset)
    }
}

/// What redb believes of a damaged file can lead it past the end, which is damage, not a failing
/// device.
fn read_all(file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> Result<()> {
    if file.read_at(out, offset)? < out.len() {
        return Err(Error::new(ErrorKind::InvalidData, "the file ends early"));
    }
    Ok(())
}

const BLOCK: u64 = 4096;

/// A file as it would be after writes that never reach it.
pub(super) struct Overlay {
    file: Arc<dyn DiskFile>,
    written: Mutex<Written>,
}

struct Written {
    len: u64,
    /// How much of the file below still shows; beyond it are zeros.
    shows: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(super) fn over(file: Arc<dyn DiskFile>) -> Result<Overlay> {
        let len = file.len()?;
        let written = Mutex::new(Written { len, shows: len, blocks: BTreeMap::new() });
        Ok(Overlay { file, written })
    }

    fn below(&self, written: &Written, offset: u64, out: &mut [u8]) -> Result<()> {
        let there = written.shows.saturating_sub(offset).min(out.len() as u64);
        let (there, beyond) = out.split_at_mut(usize::try_from(there).expect("at most a buffer"));
        beyond.fill(0);
        if there.is_empty() { Ok(()) } else { read_all(&*self.file, offset, there) }
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::FILE)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64> {
        Ok(self.written.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let written = self.written.lock();
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= written.len);
        let Some(end) = end else {
            return Err(Error::new(ErrorKind::InvalidData, "the file ends early"));
        };
        self.below(&written, offset, out)?;
        for (at, block) in written.blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let (from, to) = ((at * BLOCK).max(offset), ((at + 1) * BLOCK).min(end));
            let place =
                |place: u64, start: u64| usize::try_from(place - start).expect("inside a buffer");
            out[place(from, offset)..place(to, offset)]
                .copy_from_slice(&block[place(from, at * BLOCK)..place(to, at * BLOCK)]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut written = self.written.lock();
        if len < written.len {
            written.shows = written.shows.min(len);
            written.blocks.split_off(&len.div_ceil(BLOCK));
            let rest = usize::try_from(len % BLOCK).expect("below a block");
            if rest > 0
                && let Some(block) = written.blocks.get_mut(&(len / BLOCK))
            {
                block[rest..].fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut written = self.written.lock();
        let mut rest = data;
        let mut offset = offset;
        while !rest.is_empty() {
            let at = offset / BLOCK;
            let start = usize::try_from(offset % BLOCK).expect("below a block");
            let len = rest.len().min(usize::try_from(BLOCK).expect("small") - start);
            if !written.blocks.contains_key(&at) {
                let mut block = vec![0; usize::try_from(BLOCK).expect("small")];
                self.below(&written, at * BLOCK, &mut block)?;
                written.blocks.insert(at, block.into());
            }
            let block = written.blocks.get_mut(&at).expect("put there above");
            block[start..start + len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            offset += len as u64;
        }
        written.len = written.len.max(offset);
        Ok(())
    }
}
