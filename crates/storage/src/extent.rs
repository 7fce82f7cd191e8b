//! Where a stretch of a log lies, and how that is kept in state rows: in pages of up to 64.
//!
//! ```text
//! page     level u8 | count u8 | log u64 | extents …
//! extent   kind u8 (0 bundle, 1 segment) | shard u16 | rewrite u32 | number or base u64 |
//!          position u64 | len u64 | base u64 | next u64 | max timestamp i64
//! ```
//! All big-endian. The log of a segment is the log of the page.

use crate::blob::{BlobId, Part};

/// A stretch of a log inside a blob.
///
/// Invariant: base < next and len > 0; the batches in it cover offsets from `base` to below `next`,
/// rising, possibly with gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub log: u64,
    /// A bundle, or the log part of a segment.
    pub blob: BlobId,
    /// First byte of the stretch in the blob.
    pub position: u64,
    /// Bytes of batches.
    pub len: u64,
    /// First offset.
    pub base: u64,
    /// The offset after the last.
    pub next: u64,
    /// Highest timestamp of its batches, in milliseconds since 1970.
    pub max_timestamp: i64,
}

impl Extent {
    /// One byte after the stretch.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.len)
    }

    /// False if no writer can have made it.
    pub(crate) fn is_sound(&self) -> bool {
        let of_this_log = match self.blob {
            BlobId::Bundle { .. } => true,
            BlobId::Segment { log, part, .. } => log == self.log && part == Part::Log,
        };
        of_this_log
            && self.base < self.next
            && self.len > 0
            && self.position.checked_add(self.len).is_some()
    }
}

/// Extents in one row at most.
pub const PAGE_EXTENTS: usize = 64;
const LEVEL: u8 = 1;
const HEAD_BYTES: usize = 10;
const EXTENT_BYTES: usize = 55;

const _: () = assert!(HEAD_BYTES + PAGE_EXTENTS * EXTENT_BYTES < 3992, "a page is one piece");

/// Encodes extents of one log as the value of one state row.
///
/// # Panics
/// If there are more than [`PAGE_EXTENTS`], or one is of another log.
pub fn encode_page(log: u64, extents: &[Extent]) -> Vec<u8> {
    assert!(extents.len() <= PAGE_EXTENTS, "a page of {} extents", extents.len());
    let mut page = Vec::with_capacity(HEAD_BYTES + extents.len() * EXTENT_BYTES);
    page.push(LEVEL);
    page.push(u8::try_from(extents.len()).expect("at most 64"));
    page.extend_from_slice(&log.to_be_bytes());
    for extent in extents {
        assert!(extent.log == log && extent.is_sound(), "a wrong extent: {extent:?}");
        let (kind, shard, rewrite, number) = match extent.blob {
            BlobId::Bundle { shard, number } => (0, shard, 0, number),
            BlobId::Segment { shard, rewrite, base, .. } => (1, shard, rewrite, base),
        };
        page.push(kind);
        page.extend_from_slice(&shard.to_be_bytes());
        page.extend_from_slice(&rewrite.to_be_bytes());
        for number in [number, extent.position, extent.len, extent.base, extent.next] {
            page.extend_from_slice(&number.to_be_bytes());
        }
        page.extend_from_slice(&extent.max_timestamp.to_be_bytes());
    }
    page
}

/// The log and its extents; none if the bytes are no page.
pub fn decode_page(page: &[u8]) -> Option<(u64, Vec<Extent>)> {
    let ([level, count, log @ ..], rest) = page.split_first_chunk::<HEAD_BYTES>()?;
    let log = u64::from_be_bytes(*log);
    let (extents, []) = rest.as_chunks::<EXTENT_BYTES>() else { return None };
    if *level != LEVEL || usize::from(*count) != extents.len() || extents.len() > PAGE_EXTENTS {
        return None;
    }
    let extents = extents.iter().map(|bytes| decode_extent(log, bytes));
    Some((log, extents.collect::<Option<Vec<_>>>()?))
}

fn decode_extent(log: u64, bytes: &[u8; EXTENT_BYTES]) -> Option<Extent> {
    let [kind, shard0, shard1, r0, r1, r2, r3, rest @ ..] = bytes;
    let (shard, rewrite) =
        (u16::from_be_bytes([*shard0, *shard1]), u32::from_be_bytes([*r0, *r1, *r2, *r3]));
    let (numbers, []) = rest.as_chunks::<8>() else { return None };
    let number = |at: usize| u64::from_be_bytes(numbers[at]);
    let blob = match (kind, rewrite) {
        (0, 0) => BlobId::Bundle { shard, number: number(0) },
        (1, _) => BlobId::segment(shard, log, rewrite, number(0)),
        _ => return None,
    };
    let extent = Extent {
        log,
        blob,
        position: number(1),
        len: number(2),
        base: number(3),
        next: number(4),
        max_timestamp: i64::from_be_bytes(numbers[5]),
    };
    extent.is_sound().then_some(extent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(log: u64, n: u64) -> Extent {
        let blob = if n.is_multiple_of(2) {
            BlobId::Bundle { shard: 3, number: n }
        } else {
            BlobId::segment(3, log, 7, n)
        };
        let (base, next) = (n * 10, n * 10 + 10);
        Extent { log, blob, position: n, len: n + 1, base, next, max_timestamp: -5 }
    }

    #[test]
    fn pages_keep_their_form() {
        for count in [0, 1, 64] {
            let extents: Vec<_> = (0..count).map(|n| extent(9, n)).collect();
            let page = encode_page(9, &extents);
            assert!(page.len() < 4000);
            assert_eq!(decode_page(&page), Some((9, extents)));
            for len in 0..page.len() {
                assert_eq!(decode_page(&page[..len]), None);
            }
        }
        let page = encode_page(0x0102, &[extent(0x0102, 1)]);
        let head = [1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(page[..25], head);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_page_or_none(bytes: Vec<u8>) {
            if let Some((log, extents)) = decode_page(&bytes) {
                prop_assert_eq!(encode_page(log, &extents), bytes);
            }
        }
    }
}
