//! Stretches of many logs of one shard in one blob, sorted by log. The index of each stretch stands
//! directly behind its batches, so that reading one log of a hundred thousand takes one place of
//! the file; the footer lists them all, for whoever has lost the rows that point here.
//!
//! ```text
//! stretch*   batches | index (see crate::index)
//! footer     per stretch: log u64 | base u64 | next u64 | position u64 | len u64 |
//!            max timestamp i64 | length of the index u32
//! trailer    "SbBundle" | level u16 | shard u16 | count u32 | number u64 | footer's position u64 |
//!            crc32c of the footer u32 | crc32c of the trailer before u32
//! ```
//! All big-endian.

use bytes::Bytes;

use crate::blob::{BlobError, BlobId, BlobStore, Put, Result};
use crate::crc::crc32c;
use crate::extent::Extent;
use crate::index::{self, StretchIndex};
use crate::stretch::{BatchRef, Built, index_of};

const MAGIC: [u8; 8] = *b"SbBundle";
const LEVEL: u16 = 1;
const ENTRY_BYTES: usize = 52;
const TRAILER_BYTES: usize = 40;
/// Bytes read behind a stretch before the length of its index is known: that of up to 168 regions.
const INDEX_GUESS_BYTES: u64 = 4096;

const _: () = assert!(TRAILER_BYTES < index::HEAD_BYTES);
const _: () = assert!(index::HEAD_BYTES < INDEX_GUESS_BYTES as usize);

/// Makes a bundle of the batches of several logs, each log's in rising order.
///
/// # Panics
/// If a log comes twice or has no batches, or a batch is not what it is said to be.
pub fn build(shard: u16, number: u64, mut logs: Vec<(u64, Vec<BatchRef>)>) -> Built {
    logs.sort_unstable_by_key(|(log, _)| *log);
    assert!(!logs.is_empty() && logs.is_sorted_by(|(a, _), (b, _)| a < b), "each log once");
    let blob = BlobId::Bundle { shard, number };
    let mut parts = Vec::new();
    let mut extents = Vec::with_capacity(logs.len());
    let mut footer = Vec::with_capacity(logs.len() * ENTRY_BYTES);
    let mut position = 0;
    for (log, batches) in &logs {
        let index = index_of(*log, batches);
        let extent = Extent {
            log: *log,
            blob,
            position,
            len: index.len,
            base: index.base,
            next: index.next,
            max_timestamp: index.max_timestamp,
        };
        let encoded = index.encode();
        put_entry(&mut footer, &extent, encoded.len());
        position += index.len + encoded.len() as u64;
        parts.extend(batches.iter().map(|batch| batch.bytes.clone()));
        parts.push(Bytes::from(encoded));
        extents.push(extent);
    }
    let trailer = Trailer {
        shard,
        number,
        count: u32::try_from(logs.len()).expect("a bundle of less than 4 G logs"),
        footer: position,
        footer_crc: crc32c(&[&footer]),
    };
    footer.extend_from_slice(&trailer.encode());
    parts.push(footer.into());
    Built { blobs: vec![Put { id: blob, parts }], extents }
}

fn put_entry(footer: &mut Vec<u8>, extent: &Extent, index_len: usize) {
    for number in [extent.log, extent.base, extent.next, extent.position, extent.len] {
        footer.extend_from_slice(&number.to_be_bytes());
    }
    footer.extend_from_slice(&extent.max_timestamp.to_be_bytes());
    let len = u32::try_from(index_len).expect("an index is far below 4 GiB");
    footer.extend_from_slice(&len.to_be_bytes());
}

/// Reads and checks the index that stands behind a stretch.
pub(crate) fn read_index(blobs: &dyn BlobStore, extent: &Extent) -> Result<StretchIndex> {
    let (blob, start) = (extent.blob, extent.end());
    let len = blobs.len(blob)?;
    let damaged = |end, why: &str| BlobError::damaged(blob, start..end, why);
    let guess = len.min(start.saturating_add(INDEX_GUESS_BYTES));
    if guess <= start {
        return Err(damaged(len.max(start), "it ends before the index"));
    }
    let mut bytes = blobs.get(blob, start..guess)?;
    let want = index::len_from_head(&bytes)
        .ok_or_else(|| damaged(guess, "no index stands behind the batches"))?;
    if want > bytes.len() {
        let end = start + want as u64;
        if end > len {
            return Err(damaged(len, "it ends inside the index"));
        }
        bytes = blobs.get(blob, start..end)?;
    }
    StretchIndex::decode(&bytes[..want])
        .ok_or_else(|| damaged(start + want as u64, "the index is not intact"))
}

/// What the bundle says it holds, in the order of logs.
pub(crate) fn read_footer(blobs: &dyn BlobStore, shard: u16, number: u64) -> Result<Vec<Extent>> {
    let blob = BlobId::Bundle { shard, number };
    let len = blobs.len(blob)?;
    let damaged = |start, why: &str| BlobError::damaged(blob, start..len, why);
    let at =
        len.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| damaged(0, "it has no trailer"))?;
    let bytes = blobs.get(blob, at..len)?;
    let trailer = bytes.first_chunk().and_then(Trailer::decode);
    let trailer = trailer.ok_or_else(|| damaged(at, "its trailer is not intact"))?;
    if (trailer.shard, trailer.number) != (shard, number) {
        return Err(damaged(at, "it is another bundle"));
    }
    let footer_len = u64::from(trailer.count) * ENTRY_BYTES as u64;
    if trailer.footer.checked_add(footer_len) != Some(at) {
        return Err(damaged(at, "its length is not what its trailer says"));
    }
    let footer = blobs.get(blob, trailer.footer..at)?;
    if crc32c(&[&footer]) != trailer.footer_crc {
        return Err(damaged(trailer.footer, "the checksum of the footer is wrong"));
    }
    entries(blob, &footer, trailer.footer)
        .ok_or_else(|| damaged(trailer.footer, "its stretches do not fill it"))
}

/// None unless the stretches follow one another from 0 to the footer, in the order of logs.
fn entries(blob: BlobId, footer: &[u8], footer_at: u64) -> Option<Vec<Extent>> {
    let (entries, []) = footer.as_chunks::<ENTRY_BYTES>() else { return None };
    let mut extents: Vec<Extent> = Vec::with_capacity(entries.len());
    let mut position = 0_u64;
    for entry in entries {
        let (numbers, index_len) = entry.as_chunks::<8>();
        let number = |at: usize| u64::from_be_bytes(numbers[at]);
        let index_len = u32::from_be_bytes(index_len.try_into().expect("4 bytes"));
        let extent = Extent {
            log: number(0),
            blob,
            base: number(1),
            next: number(2),
            position: number(3),
            len: number(4),
            max_timestamp: i64::from_be_bytes(numbers[5]),
        };
        let rises = extents.last().is_none_or(|last| last.log < extent.log);
        if !extent.is_sound() || extent.position != position || !rises {
            return None;
        }
        position = extent.end().checked_add(u64::from(index_len))?;
        extents.push(extent);
    }
    (position == footer_at).then_some(extents)
}

struct Trailer {
    shard: u16,
    count: u32,
    number: u64,
    footer: u64,
    footer_crc: u32,
}

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&LEVEL.to_be_bytes());
        out[10..12].copy_from_slice(&self.shard.to_be_bytes());
        out[12..16].copy_from_slice(&self.count.to_be_bytes());
        out[16..24].copy_from_slice(&self.number.to_be_bytes());
        out[24..32].copy_from_slice(&self.footer.to_be_bytes());
        out[32..36].copy_from_slice(&self.footer_crc.to_be_bytes());
        let crc = crc32c(&[&out[..36]]);
        out[36..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8; TRAILER_BYTES]) -> Option<Trailer> {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let long = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let trailer = Trailer {
            shard: u16::from_be_bytes([bytes[10], bytes[11]]),
            count: u32::from_be_bytes(word(12)),
            number: long(16),
            footer: long(24),
            footer_crc: u32::from_be_bytes(word(32)),
        };
        // Encoding it again compares magic, level and checksum in one.
        (trailer.encode() == *bytes).then_some(trailer)
    }
}
