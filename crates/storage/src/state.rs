//! State rows: what changes is kept as rows in key order, written only by the checkpoint, one
//! atomic transaction each. What a row holds is the matter of whoever owns its kind.
//!
//! A key is 19 bytes, so that byte order is key order:
//!
//! ```text
//! shard u16 | kind u8 | id u64 | sub u64      all big-endian
//! ```

use std::io;

use bytes::Bytes;

pub mod export;
pub mod mem;
pub mod redb;
#[cfg(test)]
mod tests;

/// Bytes of an encoded [`Key`].
pub const KEY_BYTES: usize = 19;

/// What a row describes. Numbers are frozen and never given out twice; 8 to 19 are set aside for
/// queue, lane tail, run directory, ack page, attempts, delay, session, dedup, txn, route set,
/// retained and forward, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    Checkpoint = 0,
    Blob = 1,
    Log = 2,
    Extents = 3,
    Group = 4,
    Offsets = 5,
    Producer = 6,
    Catalog = 7,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Checkpoint,
        Kind::Blob,
        Kind::Log,
        Kind::Extents,
        Kind::Group,
        Kind::Offsets,
        Kind::Producer,
        Kind::Catalog,
    ];

    fn from_u8(number: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(number)).copied()
    }
}

/// The place of a row. The very last key of all, `id` and `sub` at their maximum, is no row's: it
/// only ends ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub shard: u16,
    pub kind: Kind,
    pub id: u64,
    pub sub: u64,
}

impl Key {
    pub fn new(shard: u16, kind: Kind, id: u64, sub: u64) -> Key {
        Key { shard, kind, id, sub }
    }

    /// First key and end (exclusive) of all rows of a kind in a shard.
    pub fn all(shard: u16, kind: Kind) -> (Key, Key) {
        (Key::new(shard, kind, 0, 0), Key::new(shard, kind, u64::MAX, u64::MAX))
    }

    /// First key and end (exclusive) of all rows of one id.
    pub fn all_of(shard: u16, kind: Kind, id: u64) -> (Key, Key) {
        let end = match id.checked_add(1) {
            Some(next) => Key::new(shard, kind, next, 0),
            None => Key::new(shard, kind, u64::MAX, u64::MAX),
        };
        (Key::new(shard, kind, id, 0), end)
    }

    /// First key and end (exclusive) of every row there can be.
    pub fn everything() -> (Key, Key) {
        let last = Kind::ALL[Kind::ALL.len() - 1];
        (Key::new(0, Kind::Checkpoint, 0, 0), Key::new(u16::MAX, last, u64::MAX, u64::MAX))
    }

    pub fn encode(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..2].copy_from_slice(&self.shard.to_be_bytes());
        bytes[2] = self.kind as u8;
        bytes[3..11].copy_from_slice(&self.id.to_be_bytes());
        bytes[11..].copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    /// None if the kind is unknown: written by a newer version, or damaged.
    pub fn decode(bytes: &[u8; KEY_BYTES]) -> Option<Key> {
        let (head, numbers) = bytes.split_at(3);
        let (id, sub) = numbers.split_at(8);
        Some(Key {
            shard: u16::from_be_bytes([head[0], head[1]]),
            kind: Kind::from_u8(head[2])?,
            id: u64::from_be_bytes(id.try_into().expect("eight bytes")),
            sub: u64::from_be_bytes(sub.try_into().expect("eight bytes")),
        })
    }

    fn is_end(self) -> bool {
        self.id == u64::MAX && self.sub == u64::MAX
    }
}

/// What one commit changes: first the ranges are deleted, then the single keys, then rows are put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub put: Vec<(Key, Vec<u8>)>,
    pub delete: Vec<Key>,
    /// From (inclusive), to (exclusive).
    pub delete_ranges: Vec<(Key, Key)>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty() && self.delete_ranges.is_empty()
    }

    /// The bounds that every store holds: no row on the key that ends ranges, no row too long.
    fn check(&self, expect: u64, next: u64) -> Result<()> {
        if next <= expect {
            return Err(StateError::Invalid(format!("checkpoint {next} does not follow {expect}")));
        }
        for (key, value) in &self.put {
            if key.is_end() || value.len() > VALUE_BYTES_MAX {
                let len = value.len();
                return Err(StateError::Invalid(format!("a row of {len} bytes at {key:?}")));
            }
        }
        Ok(())
    }
}

/// Longest value of a row, in bytes. Rows are meant to stay below 4,000.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Why the rows could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody else has committed: what the caller knows is old.
    #[error("the state rows are at checkpoint {found}, not at {expect}")]
    Conflict { expect: u64, found: u64 },
    /// Never mended by trying again: restore from an export.
    #[error("{file} is damaged: {why}")]
    Damaged { file: String, why: String },
    /// Against the rules of [`Changes`]; nothing was changed.
    #[error("state rows: {0}")]
    Invalid(String),
    /// It is unknown whether a commit that ends so has happened: only opening again tells.
    #[error("{file}: {error}")]
    Io { file: String, error: io::Error },
}

impl StateError {
    pub(crate) fn damaged(file: &str, why: impl ToString) -> StateError {
        StateError::Damaged { file: file.to_owned(), why: why.to_string() }
    }

    pub(crate) fn io(file: &str, error: io::Error) -> StateError {
        StateError::Io { file: file.to_owned(), error }
    }
}

pub type Result<T> = std::result::Result<T, StateError>;

/// An ordered store of rows. Blocking; called only by the checkpoint and by whoever loads rows.
pub trait StateStore: Send + Sync {
    fn get(&self, key: Key) -> Result<Option<Vec<u8>>>;

    /// Visits the rows from `from` (inclusive) to `to` (exclusive) in key order, all as of one
    /// commit. An error of the visitor ends the scan and is returned.
    fn scan(
        &self,
        from: Key,
        to: Key,
        visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()>;

    /// One atomic, durable transaction; refused with [`StateError::Conflict`] unless the stored
    /// checkpoint number is `expect`. `next` is above it.
    fn commit(&self, expect: u64, next: u64, changes: &Changes) -> Result<()>;

    /// The number of the last commit; 0 in a new store.
    fn number(&self) -> Result<u64>;

    /// All rows as of one commit in the form of [`export`], in pieces of about 1 MiB. Fails with
    /// [`StateError::Conflict`] if something was committed meanwhile: call again.
    fn export(&self, sink: &mut dyn FnMut(Bytes) -> Result<()>) -> Result<()> {
        let number = self.number()?;
        let mut writer = export::Writer::new(number, sink)?;
        let (from, to) = Key::everything();
        self.scan(from, to, &mut |key, value| writer.row(key, value))?;
        let found = self.number()?;
        if found != number {
            return Err(StateError::Conflict { expect: number, found });
        }
        writer.end()
    }
}
