//! Values cut into the pieces that redb's pages take well, and put together again, checked.

use ::redb::Table;

use super::{FILE, failed};
use crate::crc::crc32c;
use crate::state::{KEY_BYTES, Key, Result, StateError, VALUE_BYTES_MAX};

const PIECE_KEY_BYTES: usize = KEY_BYTES + 2;
pub(super) type PieceKey = [u8; PIECE_KEY_BYTES];
/// CRC and length of the whole value before each piece's data.
const PIECE_HEAD: usize = 8;
/// Longest piece with its head, in bytes: fits one page of 4,096 with redb's own overhead.
const PIECE_BYTES: usize = 4000;
const PIECE_DATA: usize = PIECE_BYTES - PIECE_HEAD;

const _: () = assert!(VALUE_BYTES_MAX.div_ceil(PIECE_DATA) <= u16::MAX as usize);

pub(super) fn piece_key(key: Key, piece: u16) -> PieceKey {
    let mut bytes = [0; PIECE_KEY_BYTES];
    bytes[..KEY_BYTES].copy_from_slice(&key.encode());
    bytes[KEY_BYTES..].copy_from_slice(&piece.to_be_bytes());
    bytes
}

pub(super) fn put(rows: &mut Table<'_, &PieceKey, &[u8]>, key: Key, value: &[u8]) -> Result<()> {
    let total = u32::try_from(value.len()).expect("checked against VALUE_BYTES_MAX").to_be_bytes();
    let count = value.len().div_ceil(PIECE_DATA).max(1);
    let mut before = 1;
    for piece in 0..count {
        let data = &value[piece * PIECE_DATA..value.len().min((piece + 1) * PIECE_DATA)];
        let place = piece_key(key, u16::try_from(piece).expect("bounded by VALUE_BYTES_MAX"));
        let mut stored = Vec::with_capacity(PIECE_HEAD + data.len());
        stored.extend_from_slice(&crc32c(&[&place, &total, data]).to_be_bytes());
        stored.extend_from_slice(&total);
        stored.extend_from_slice(data);
        let old = rows.insert(&place, stored.as_slice()).map_err(failed)?;
        if let (0, Some(old)) = (piece, old) {
            before = value_len(old.value()).unwrap_or(usize::MAX).div_ceil(PIECE_DATA);
        }
    }
    if before > count {
        remove_from(rows, key, u16::try_from(count).expect("bounded as above"))?;
    }
    Ok(())
}

/// Removes the pieces from the given one on.
pub(super) fn remove_from(
    rows: &mut Table<'_, &PieceKey, &[u8]>,
    key: Key,
    first: u16,
) -> Result<()> {
    for piece in first..=u16::MAX {
        if rows.remove(&piece_key(key, piece)).map_err(failed)?.is_none() {
            break;
        }
    }
    Ok(())
}

fn value_len(stored: &[u8]) -> Option<usize> {
    let len = stored.get(4..PIECE_HEAD)?;
    Some(u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize)
}

/// A value that is being put together from its pieces.
#[derive(Default)]
pub(super) struct Assembled {
    pub(super) data: Vec<u8>,
    pub(super) pieces: u16,
}

impl Assembled {
    /// Adds the next piece; true if the value is whole.
    pub(super) fn add(&mut self, place: &PieceKey, stored: &[u8]) -> Result<bool> {
        let damaged = || StateError::damaged(FILE, format!("the row at {place:02x?}"));
        let total = value_len(stored).ok_or_else(damaged)?;
        let (crc, rest) = stored.split_at(4);
        let data = &rest[4..];
        let number = u16::from_be_bytes([place[KEY_BYTES], place[KEY_BYTES + 1]]);
        let full = data.len() == PIECE_DATA.min(total.saturating_sub(self.data.len()));
        if crc != crc32c(&[place, rest]).to_be_bytes() || number != self.pieces || !full {
            return Err(damaged());
        }
        self.data.extend_from_slice(data);
        self.pieces += 1;
        Ok(self.data.len() == total)
    }

    /// Adds pieces until a value is whole and gives its key; none at the end of the range.
    pub(super) fn next_row(
        &mut self,
        range: &mut ::redb::Range<'_, &PieceKey, &[u8]>,
    ) -> Result<Option<Key>> {
        let mut of: Option<[u8; KEY_BYTES]> = None;
        for entry in range {
            let (place, stored) = entry.map_err(failed)?;
            let place = place.value();
            let (key, _) = place.split_first_chunk::<KEY_BYTES>().expect("a longer array");
            let known = Key::decode(key).ok_or_else(|| {
                StateError::damaged(FILE, format!("unknown row kind: {key:02x?}"))
            })?;
            if of.is_some_and(|of| of != *key) {
                return Err(cut_off(known));
            }
            of = Some(*key);
            if self.add(place, stored.value())? {
                return Ok(Some(known));
            }
        }
        match of {
            None => Ok(None),
            Some(_) => Err(StateError::damaged(FILE, "the last row has no end")),
        }
    }
}

pub(super) fn cut_off(key: Key) -> StateError {
    StateError::damaged(FILE, format!("the row at {key:?} has no end"))
}
