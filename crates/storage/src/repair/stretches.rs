//! Stretches of logs in blobs, looked at without trusting what is said of them: which are whole,
//! what of the others can be kept, and which there are where no row says so.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::pieces::{Piece, as_ref, salvage};
use crate::aligned::PAGE;
use crate::batch::{self, split};
use crate::blob::{BlobError, BlobId, BlobMeta, BlobStore, Part};
use crate::extent::Extent;
use crate::index::{self, StretchIndex};
use crate::segment;
use crate::stretch::{read_footer, read_index};

/// What is the matter with a stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Whole,
    /// Its batches are whole, but what says where they lie is not: they have to be written anew.
    Misplaced,
    /// These offsets are lost.
    Holes(Vec<Range<u64>>),
}

/// Looks at all of a stretch.
pub fn examine(blobs: &dyn BlobStore, extent: &Extent) -> Condition {
    if is_whole(blobs, extent) {
        return Condition::Whole;
    }
    let holes: Vec<Range<u64>> = pieces(blobs, extent)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Hole(offsets) => Some(offsets),
            Piece::Batch(_) => None,
        })
        .collect();
    if holes.is_empty() { Condition::Misplaced } else { Condition::Holes(holes) }
}

fn is_whole(blobs: &dyn BlobStore, extent: &Extent) -> bool {
    let Ok(index) = read_index(blobs, extent) else { return false };
    let fits = index.region(index.regions() - 1).end <= extent.len;
    fits && (0..index.regions()).all(|number| region(blobs, extent, &index, number).is_ok())
}

/// The batches of a region, or its bytes and offsets where it is not whole.
fn region(
    blobs: &dyn BlobStore,
    extent: &Extent,
    index: &StretchIndex,
    number: usize,
) -> Result<Vec<Piece>, (Bytes, Range<u64>)> {
    let place = index.region(number);
    let offsets = index.region_offsets(number);
    let bytes = what_is_there(blobs, extent, place);
    if !index.is_intact(number, &bytes) {
        return Err((bytes, offsets));
    }
    let batches: Option<Vec<Piece>> = split(&bytes)
        .map(|found| {
            let whole = found.ok().filter(|(header, bytes)| batch::checksum(bytes) == header.crc);
            whole.and_then(|(header, bytes)| as_ref(&header, bytes)).map(Piece::Batch)
        })
        .collect();
    batches.ok_or((bytes, offsets))
}

/// Checks one region as a read does, and its batches.
///
/// # Errors
/// `Damaged` with the bytes of the region; what the device says.
pub(crate) fn check_region(
    blobs: &dyn BlobStore,
    extent: &Extent,
    index: &StretchIndex,
    number: usize,
) -> Result<(), BlobError> {
    let place = index.region(number);
    let range = extent.position + place.start..extent.position + place.end;
    let bytes = blobs.get(extent.blob, range.clone())?;
    let damaged = |why: &str| BlobError::damaged(extent.blob, range.clone(), why);
    if !index.is_intact(number, &bytes) {
        return Err(damaged("the checksum is wrong"));
    }
    for found in split(&bytes) {
        let (header, batch) = found.map_err(|error| damaged(&error.to_string()))?;
        if batch::checksum(&batch) != header.crc {
            return Err(damaged("the checksum of a batch is wrong"));
        }
    }
    Ok(())
}

/// Everything of a stretch that is whole, and the holes between; together they cover its offsets.
pub fn pieces(blobs: &dyn BlobStore, extent: &Extent) -> Vec<Piece> {
    let Ok(index) = read_index(blobs, extent) else {
        let bytes = what_is_there(blobs, extent, 0..extent.len);
        return salvage(&bytes, extent.base..extent.next);
    };
    (0..index.regions())
        .flat_map(|number| match region(blobs, extent, &index, number) {
            Ok(batches) => batches,
            Err((bytes, offsets)) => salvage(&bytes, offsets),
        })
        .collect()
}

/// Bytes of a stretch, as many as there are. What the device does not give is zeros.
fn what_is_there(blobs: &dyn BlobStore, extent: &Extent, range: Range<u64>) -> Bytes {
    let end = blobs.len(extent.blob).unwrap_or(0);
    let at = |place: u64| extent.position.saturating_add(place).min(end);
    let range = at(range.start)..at(range.end);
    if let Ok(bytes) = blobs.get(extent.blob, range.clone()) {
        return bytes;
    }
    let mut all = BytesMut::new();
    let mut from = range.start;
    while from < range.end {
        let to = (from / PAGE as u64 * PAGE as u64 + PAGE as u64).min(range.end);
        match blobs.get(extent.blob, from..to) {
            Ok(page) => all.extend_from_slice(&page),
            Err(_) => all.resize(all.len() + usize::try_from(to - from).expect("a page"), 0),
        }
        from = to;
    }
    all.freeze()
}

/// The stretches that the blobs themselves tell of, where no row says which there are.
pub fn tell(blobs: &dyn BlobStore, listed: &[BlobMeta]) -> Vec<Extent> {
    let contents = listed.iter().filter(|meta| match meta.id {
        BlobId::Bundle { .. } => true,
        BlobId::Segment { part, .. } => part == Part::Log,
    });
    contents
        .flat_map(|meta| match read_footer(blobs, meta.id) {
            Ok(extents) => extents,
            Err(BlobError::Io { .. } | BlobError::Damaged { .. } | BlobError::Missing { .. }) => {
                match meta.id {
                    BlobId::Bundle { .. } => by_indexes(blobs, *meta),
                    BlobId::Segment { log, base, .. } => by_batches(blobs, *meta, log, base),
                }
            }
        })
        .collect()
}

/// The stretches of a bundle without its footer: each has its index behind it.
fn by_indexes(blobs: &dyn BlobStore, meta: BlobMeta) -> Vec<Extent> {
    let whole = Extent {
        log: 0,
        blob: meta.id,
        position: 0,
        len: meta.len,
        base: 0,
        next: 0,
        max_timestamp: 0,
    };
    let bytes = what_is_there(blobs, &whole, 0..meta.len);
    let mut extents = Vec::new();
    for at in memchr(&bytes, index::MAGIC) {
        let rest = &bytes[at..];
        let index = index::len_from_head(rest).and_then(|len| rest.get(..len));
        let Some(index) = index.and_then(StretchIndex::decode) else { continue };
        let Some(position) = (at as u64).checked_sub(index.len) else { continue };
        extents.push(Extent { position, ..segment::extent(meta.id, &index) });
    }
    extents
}

fn memchr(bytes: &[u8], what: [u8; 4]) -> impl Iterator<Item = usize> + '_ {
    bytes.windows(4).enumerate().filter(move |(_, four)| **four == what).map(|(at, _)| at)
}

/// The stretch of a segment without its index: it ends with its last whole batch.
fn by_batches(blobs: &dyn BlobStore, meta: BlobMeta, log: u64, base: u64) -> Vec<Extent> {
    let mut extent = Extent {
        log,
        blob: meta.id,
        position: 0,
        len: meta.len,
        base,
        next: i64::MAX.unsigned_abs(),
        max_timestamp: i64::MIN,
    };
    let bytes = what_is_there(blobs, &extent, 0..meta.len);
    let mut next = base;
    for piece in salvage(&bytes, base..extent.next) {
        if let Piece::Batch(batch) = piece {
            next = batch.next;
            extent.max_timestamp = extent.max_timestamp.max(batch.max_timestamp);
        }
    }
    extent.next = next;
    if extent.is_sound() { vec![extent] } else { Vec::new() }
}
