//! Blobs: what is written once and never changed. Where they lie and what they are called is here;
//! what is in them is in [`crate::segment`] and [`crate::bundle`].
//!
//! ```text
//! blob/003/b/0000a1                                     bundle: shard in decimal, number in hex
//! blob/003/s/<log>/<rewrite>/00000000000000000042.log   segment: log, rewrite and base in decimal
//! blob/003/s/<log>/<rewrite>/00000000000000000042.ix    its index
//! ```

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;

pub mod fs;
pub mod mem;
#[cfg(test)]
mod tests;

/// Name of a blob; never given to other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobId {
    /// Many logs of a shard.
    Bundle { shard: u16, number: u64 },
    /// One log from one offset on. A rewrite that keeps offsets, or a second try, is a new
    /// `rewrite`.
    Segment { shard: u16, log: u64, rewrite: u32, base: u64, part: Part },
}

/// Which of the two blobs of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Where everything is, and its checksums; put before the content.
    Index,
    /// The batches and nothing else.
    Log,
}

impl BlobId {
    pub fn segment(shard: u16, log: u64, rewrite: u32, base: u64) -> BlobId {
        BlobId::Segment { shard, log, rewrite, base, part: Part::Log }
    }

    pub fn shard(&self) -> u16 {
        match *self {
            BlobId::Bundle { shard, .. } | BlobId::Segment { shard, .. } => shard,
        }
    }

    /// The blob that has the index of a segment; none for a bundle, which has its own.
    pub fn index(&self) -> Option<BlobId> {
        match *self {
            BlobId::Bundle { .. } => None,
            BlobId::Segment { shard, log, rewrite, base, .. } => {
                Some(BlobId::Segment { shard, log, rewrite, base, part: Part::Index })
            }
        }
    }

    /// The directory of the blob, relative to the data directory.
    pub fn dir(&self) -> String {
        match self {
            BlobId::Bundle { shard, .. } => format!("blob/{shard:03}/b"),
            BlobId::Segment { shard, log, rewrite, .. } => {
                format!("blob/{shard:03}/s/{log}/{rewrite}")
            }
        }
    }

    /// The file of the blob, relative to the data directory.
    pub fn path(&self) -> String {
        let dir = self.dir();
        match self {
            BlobId::Bundle { number, .. } => format!("{dir}/{number:06x}"),
            BlobId::Segment { base, part: Part::Index, .. } => format!("{dir}/{base:020}.ix"),
            BlobId::Segment { base, part: Part::Log, .. } => format!("{dir}/{base:020}.log"),
        }
    }

    /// The blob with exactly this [`BlobId::path`].
    pub fn parse(path: &str) -> Option<BlobId> {
        let mut parts = path.strip_prefix("blob/")?.split('/');
        let shard = parts.next()?.parse().ok()?;
        let id = match (parts.next()?, parts.next()?, parts.next(), parts.next(), parts.next()) {
            ("b", number, None, ..) => {
                BlobId::Bundle { shard, number: u64::from_str_radix(number, 16).ok()? }
            }
            ("s", log, Some(rewrite), Some(name), None) => {
                let (base, part) = match name.split_once('.')? {
                    (base, "ix") => (base, Part::Index),
                    (base, "log") => (base, Part::Log),
                    _ => return None,
                };
                let (log, rewrite) = (log.parse().ok()?, rewrite.parse().ok()?);
                BlobId::Segment { shard, log, rewrite, base: base.parse().ok()?, part }
            }
            _ => return None,
        };
        (id.path() == path).then_some(id)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// What a put has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    Created,
    /// It was there with the same content: an earlier try had succeeded.
    AlreadyMine,
    /// Something else has this name; it was left as it is.
    Conflict,
}

/// A blob to be put: its content is the parts, one after the other.
#[derive(Clone, Debug)]
pub struct Put {
    pub id: BlobId,
    pub parts: Vec<Bytes>,
}

/// A blob that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobMeta {
    pub id: BlobId,
    /// Bytes.
    pub len: u64,
}

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("{blob} is not there")]
    Missing { blob: BlobId },
    /// Never mended by trying again.
    #[error("{blob} is damaged in bytes {}..{}: {why}", range.start, range.end)]
    Damaged { blob: BlobId, range: Range<u64>, why: String },
    #[error("{at}: {error}")]
    Io { at: String, error: io::Error },
}

impl BlobError {
    pub(crate) fn damaged(blob: BlobId, range: Range<u64>, why: impl ToString) -> BlobError {
        BlobError::Damaged { blob, range, why: why.to_string() }
    }
}

pub type Result<T> = std::result::Result<T, BlobError>;

/// A store of blobs. Blocking: called from threads that may wait for a disk.
pub trait BlobStore: Send + Sync {
    /// Puts all; when this returns they are durable, each whole under its name. On an error any of
    /// them may be there: putting the same again is safe.
    fn put_all(&self, blobs: &[Put]) -> Result<Vec<PutOutcome>>;

    fn put_new(&self, id: BlobId, parts: &[Bytes]) -> Result<PutOutcome> {
        let outcomes = self.put_all(&[Put { id, parts: parts.to_vec() }])?;
        Ok(*outcomes.first().expect("one outcome for each blob"))
    }

    /// Exactly the bytes of the range; `Damaged` if the blob ends before. Not checked against any
    /// checksum: that is the reader's part.
    fn get(&self, id: BlobId, range: Range<u64>) -> Result<Bytes>;

    /// Bytes.
    fn len(&self, id: BlobId) -> Result<u64>;

    /// All blobs, or those of one shard, in the order of their ids.
    fn list(&self, shard: Option<u16>) -> Result<Vec<BlobMeta>>;

    /// No error for those that are not there. A crash may bring deleted blobs back.
    fn delete(&self, ids: &[BlobId]) -> Result<()>;
}
