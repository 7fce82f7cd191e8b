//! All state rows as one stream of checked chunks: what brings a lost store back. Not a backup of
//! record batches; those stay in their blobs.
//!
//! ```text
//! chunk   "SbSx" | len u32 | crc32c u32 (of len and body) | body: tag u8 and
//!   tag 0, first   level u16 | checkpoint number u64
//!   tag 1          rows: key 19 | len u32 | value …, in key order
//!   tag 2, last    number of rows u64
//! ```
//! All big-endian.

use bytes::{BufMut, Bytes, BytesMut};

use super::{KEY_BYTES, Key, Result, StateError, VALUE_BYTES_MAX};
use crate::crc::crc32c;

const MAGIC: [u8; 4] = *b"SbSx";
const LEVEL: u16 = 1;
const HEAD_BYTES: usize = 12;
/// Size from which a chunk of rows is given out, in bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest chunk that is believed, in bytes.
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + VALUE_BYTES_MAX + KEY_BYTES + 8;

const FIRST: u8 = 0;
const ROWS: u8 = 1;
const LAST: u8 = 2;

/// What an export is called in errors.
const NAME: &str = "the state export";

pub(super) struct Writer<'a> {
    sink: &'a mut dyn FnMut(Bytes) -> Result<()>,
    body: BytesMut,
    rows: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        number: u64,
        sink: &'a mut dyn FnMut(Bytes) -> Result<()>,
    ) -> Result<Writer<'a>> {
        let mut writer = Writer { sink, body: BytesMut::new(), rows: 0 };
        writer.body.put_u8(FIRST);
        writer.body.put_u16(LEVEL);
        writer.body.put_u64(number);
        writer.give()?;
        Ok(writer)
    }

    pub(super) fn row(&mut self, key: Key, value: &[u8]) -> Result<()> {
        if self.body.is_empty() {
            self.body.put_u8(ROWS);
        }
        self.body.put_slice(&key.encode());
        self.body.put_u32(u32::try_from(value.len()).expect("bounded by VALUE_BYTES_MAX"));
        self.body.put_slice(value);
        self.rows += 1;
        if self.body.len() >= CHUNK_BYTES { self.give() } else { Ok(()) }
    }

    pub(super) fn end(mut self) -> Result<()> {
        if !self.body.is_empty() {
            self.give()?;
        }
        self.body.put_u8(LAST);
        self.body.put_u64(self.rows);
        self.give()
    }

    fn give(&mut self) -> Result<()> {
        let body = self.body.split();
        let len = u32::try_from(body.len()).expect("a chunk is far below 4 GiB").to_be_bytes();
        let mut chunk = BytesMut::with_capacity(HEAD_BYTES + body.len());
        chunk.put_slice(&MAGIC);
        chunk.put_slice(&len);
        chunk.put_u32(crc32c(&[&len, &body]));
        chunk.put_slice(&body);
        (self.sink)(chunk.freeze())
    }
}

/// Reads a whole export, visiting its rows in key order; returns its checkpoint number. What was
/// visited counts only if this succeeds.
pub fn read_export(
    mut bytes: &[u8],
    visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
) -> Result<u64> {
    let damaged = |why: &str| StateError::damaged(NAME, why);
    let first = chunk(&mut bytes)?;
    let number = match first {
        [FIRST, level @ .., _, _, _, _, _, _, _, _] if level == LEVEL.to_be_bytes() => {
            u64::from_be_bytes(first[3..].try_into().expect("eight bytes, by the pattern"))
        }
        _ => return Err(damaged("no head of a known level")),
    };
    let mut rows = 0;
    let mut before = None;
    loop {
        let body = chunk(&mut bytes)?;
        match body {
            [ROWS, rest @ ..] => each_row(rest, &mut rows, &mut before, visit)?,
            [LAST, count @ ..] if count == u64::to_be_bytes(rows) && bytes.is_empty() => {
                return Ok(number);
            }
            _ => return Err(damaged("an unknown chunk, or not as many rows as it says")),
        }
    }
}

fn each_row(
    mut rest: &[u8],
    rows: &mut u64,
    before: &mut Option<Key>,
    visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
) -> Result<()> {
    let damaged = || StateError::damaged(NAME, "a row that is none");
    while let Some((key, after)) = rest.split_first_chunk::<KEY_BYTES>() {
        let key = Key::decode(key).ok_or_else(damaged)?;
        let (len, after) = after.split_first_chunk::<4>().ok_or_else(damaged)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (value, after) = after.split_at_checked(len).ok_or_else(damaged)?;
        if before.replace(key).is_some_and(|before| before >= key) {
            return Err(damaged());
        }
        visit(key, value)?;
        *rows += 1;
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(damaged()) }
}

/// Takes one chunk off and returns its checked body.
fn chunk<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let damaged = |why: &str| StateError::damaged(NAME, why);
    let (head, rest) =
        bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| damaged("it ends early"))?;
    let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if head[..4] != MAGIC || len as usize > CHUNK_BYTES_MAX {
        return Err(damaged("no chunk where one should begin"));
    }
    let (body, rest) =
        rest.split_at_checked(len as usize).ok_or_else(|| damaged("it ends early"))?;
    if head[8..] != crc32c(&[&head[4..8], body]).to_be_bytes() {
        return Err(damaged("the checksum of a chunk is wrong"));
    }
    *bytes = rest;
    Ok(body)
}
