//! The sparse index of one stretch of a log, and its checksums. The stretch is cut into regions of
//! at least 16 KiB of whole batches; a region is the least that is read and checked at once. Only
//! the place of batches is known here, not their content.
//!
//! ```text
//! "SbIx" | level u16 | 0 u16 | log u64 | base u64 | next u64 | len u64 |
//!   max timestamp i64 | count u32 |
//!   per region   base u64 | position u32 | max timestamp before it i64 | crc32c of its bytes u32
//! | crc32c u32 of all before
//! ```
//! All big-endian; positions count from the start of the stretch.

use std::ops::Range;

use crate::crc::{Crc32c, crc32c};

/// A region ends with the batch that brings it to this many bytes.
pub const REGION_BYTES: u64 = 16 << 10;
/// Longest stretch, in bytes.
pub const STRETCH_BYTES_MAX: u64 = u32::MAX as u64;

pub(crate) const MAGIC: [u8; 4] = *b"SbIx";
const LEVEL: u16 = 1;
pub(crate) const HEAD_BYTES: usize = 52;
const REGION_ENTRY_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    base: u64,
    position: u32,
    /// Highest timestamp of the stretch's batches before this region; `i64::MIN` for the first.
    max_before: i64,
    crc: u32,
}

/// Invariant: at least one region; the first begins at `base` and 0; bases and positions rise and
/// stay below `next` and `len`; `max_before` never falls and stays ≤ `max_timestamp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StretchIndex {
    pub log: u64,
    /// First offset.
    pub base: u64,
    /// The offset after the last.
    pub next: u64,
    /// Bytes of batches.
    pub len: u64,
    /// Milliseconds since 1970.
    pub max_timestamp: i64,
    regions: Vec<Region>,
}

impl StretchIndex {
    /// Number of regions, at least one.
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    /// The bytes of a region, from the start of the stretch.
    pub fn region(&self, number: usize) -> Range<u64> {
        let end = self.regions.get(number + 1).map_or(self.len, |next| u64::from(next.position));
        u64::from(self.regions[number].position)..end
    }

    /// The offsets that a region covers, as far as batches begin in it.
    pub fn region_offsets(&self, number: usize) -> Range<u64> {
        let end = self.regions.get(number + 1).map_or(self.next, |next| next.base);
        self.regions[number].base..end
    }

    /// True if these are the bytes that the region was made of.
    pub fn is_intact(&self, number: usize, bytes: &[u8]) -> bool {
        crc32c(&[bytes]) == self.regions[number].crc
    }

    /// The region with the batch that contains the offset. Where offsets have gaps, the batch may
    /// be the first of the next region. Below `base` it is the first, from `next` on the last.
    pub fn region_of(&self, offset: u64) -> usize {
        self.regions.partition_point(|region| region.base <= offset).saturating_sub(1)
    }

    /// The region with the first batch whose highest timestamp is not below the given one.
    pub fn region_of_timestamp(&self, timestamp: i64) -> Option<usize> {
        if timestamp > self.max_timestamp {
            return None;
        }
        let before = self.regions.partition_point(|region| region.max_before < timestamp);
        Some(before.saturating_sub(1))
    }

    /// Bytes that this takes in memory, about.
    pub fn weight(&self) -> usize {
        size_of::<StretchIndex>() + self.regions.len() * size_of::<Region>()
    }

    /// Bytes of the encoded form.
    pub fn encoded_len(&self) -> usize {
        encoded_len(self.regions.len())
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&LEVEL.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        for number in [self.log, self.base, self.next, self.len] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        let count = u32::try_from(self.regions.len()).expect("each takes a byte of 4 GiB");
        out.extend_from_slice(&count.to_be_bytes());
        for region in &self.regions {
            out.extend_from_slice(&region.base.to_be_bytes());
            out.extend_from_slice(&region.position.to_be_bytes());
            out.extend_from_slice(&region.max_before.to_be_bytes());
            out.extend_from_slice(&region.crc.to_be_bytes());
        }
        let crc = crc32c(&[&out]);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// None unless these bytes are exactly one intact index of a known level.
    pub fn decode(bytes: &[u8]) -> Option<StretchIndex> {
        if bytes.len() != len_from_head(bytes)? {
            return None;
        }
        let (said, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if crc32c(&[said]).to_be_bytes() != *crc {
            return None;
        }
        let (head, regions) = said.split_first_chunk::<HEAD_BYTES>()?;
        let (numbers, _count) = head[8..].as_chunks::<8>();
        let number = |at: usize| u64::from_be_bytes(numbers[at]);
        let (regions, []) = regions.as_chunks::<REGION_ENTRY_BYTES>() else { return None };
        let index = StretchIndex {
            log: number(0),
            base: number(1),
            next: number(2),
            len: number(3),
            max_timestamp: i64::from_be_bytes(numbers[4]),
            regions: regions.iter().map(decode_region).collect(),
        };
        index.is_sound().then_some(index)
    }

    fn is_sound(&self) -> bool {
        let first = self.regions.first().map(|first| (first.base, first.position));
        let rise = self.regions.is_sorted_by(|a, b| {
            a.base < b.base && a.position < b.position && a.max_before <= b.max_before
        });
        let last = self.regions.last().is_some_and(|last| {
            last.base < self.next
                && u64::from(last.position) < self.len
                && last.max_before <= self.max_timestamp
        });
        first == Some((self.base, 0)) && rise && last && self.len <= STRETCH_BYTES_MAX
    }
}

fn encoded_len(regions: usize) -> usize {
    HEAD_BYTES + regions * REGION_ENTRY_BYTES + CRC_BYTES
}

/// Bytes of the whole index, from its head alone; not yet checked by its checksum.
pub(crate) fn len_from_head(head: &[u8]) -> Option<usize> {
    let head = head.first_chunk::<HEAD_BYTES>()?;
    let level = u16::from_be_bytes([head[4], head[5]]);
    if head[..4] != MAGIC || level != LEVEL || head[6..8] != [0, 0] {
        return None;
    }
    let count = u32::from_be_bytes([head[48], head[49], head[50], head[51]]) as usize;
    // No writer makes more regions than the longest stretch has room for.
    let max = STRETCH_BYTES_MAX / REGION_BYTES + 1;
    (count as u64 <= max).then(|| encoded_len(count))
}

fn decode_region(bytes: &[u8; REGION_ENTRY_BYTES]) -> Region {
    let (base, rest) = bytes.split_at(8);
    let (position, rest) = rest.split_at(4);
    let (max_before, crc) = rest.split_at(8);
    Region {
        base: u64::from_be_bytes(base.try_into().expect("8 bytes")),
        position: u32::from_be_bytes(position.try_into().expect("4 bytes")),
        max_before: i64::from_be_bytes(max_before.try_into().expect("8 bytes")),
        crc: u32::from_be_bytes(crc.try_into().expect("4 bytes")),
    }
}

/// Makes the index of a stretch from its batches, in their order.
pub struct Builder {
    index: StretchIndex,
    /// The region that is being filled.
    crc: Crc32c,
    open: bool,
}

impl Builder {
    pub fn new(log: u64) -> Builder {
        let regions = Vec::new();
        let index =
            StretchIndex { log, base: 0, next: 0, len: 0, max_timestamp: i64::MIN, regions };
        Builder { index, crc: Crc32c::new(), open: false }
    }

    /// Adds a batch that covers the offsets from `base` to below `next`.
    ///
    /// # Panics
    /// If it does not lie behind those before it, is empty, or makes the stretch too long.
    pub fn add(&mut self, base: u64, next: u64, max_timestamp: i64, bytes: &[u8]) {
        let index = &mut self.index;
        assert!(base < next && base >= index.next, "a batch at {base} after {}", index.next);
        assert!(!bytes.is_empty() && index.len + bytes.len() as u64 <= STRETCH_BYTES_MAX);
        if !self.open {
            if index.regions.is_empty() {
                index.base = base;
            }
            let position = u32::try_from(index.len).expect("below STRETCH_BYTES_MAX");
            let max_before = index.max_timestamp;
            index.regions.push(Region { base, position, max_before, crc: 0 });
            (self.crc, self.open) = (Crc32c::new(), true);
        }
        self.crc.update(bytes);
        index.next = next;
        index.len += bytes.len() as u64;
        index.max_timestamp = index.max_timestamp.max(max_timestamp);
        let region = index.regions.last_mut().expect("the open one");
        if index.len - u64::from(region.position) >= REGION_BYTES {
            region.crc = self.crc.value();
            self.open = false;
        }
    }

    /// # Panics
    /// If no batch was added.
    pub fn finish(mut self) -> StretchIndex {
        if self.open {
            self.index.regions.last_mut().expect("the open one").crc = self.crc.value();
        }
        assert!(self.index.is_sound(), "an index of nothing");
        self.index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Batches of (offsets, bytes, max timestamp), without gaps from 100 on.
    fn built(batches: &[(u64, usize, i64)]) -> StretchIndex {
        let mut builder = Builder::new(7);
        let mut base = 100;
        for (count, len, timestamp) in batches {
            builder.add(base, base + count, *timestamp, &vec![1; *len]);
            base += count;
        }
        builder.finish()
    }

    #[test]
    fn offsets_and_times_lead_to_their_region() {
        let index = built(&[(10, 9000, 5), (10, 9000, 50), (1, 20_000, 40), (5, 10, 60)]);
        let places: Vec<_> = (0..index.regions()).map(|n| index.region(n)).collect();
        assert_eq!(places, [0..18_000, 18_000..38_000, 38_000..38_010]);
        let offsets = [(0, 0), (100, 0), (119, 0), (120, 1), (121, 2), (125, 2), (999, 2)];
        for (offset, region) in offsets {
            assert_eq!(index.region_of(offset), region, "offset {offset}");
        }
        let times = [(i64::MIN, Some(0)), (5, Some(0)), (50, Some(0)), (51, Some(2)), (61, None)];
        for (timestamp, region) in times {
            assert_eq!(index.region_of_timestamp(timestamp), region, "timestamp {timestamp}");
        }
    }

    #[test]
    fn every_damage_is_seen() {
        let index = built(&[(10, 20_000, 5), (10, 17_000, 50), (1, 1, 40)]);
        let mut bytes = index.encode();
        assert_eq!(bytes.len(), index.encoded_len());
        assert_eq!(StretchIndex::decode(&bytes).as_ref(), Some(&index));
        for len in 0..bytes.len() {
            assert_eq!(StretchIndex::decode(&bytes[..len]), None, "cut at {len}");
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(StretchIndex::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes.push(0);
        assert_eq!(StretchIndex::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_index_or_none(
            batches in prop::collection::vec((1..9_u64, 1..30_000_usize, -9..9_i64), 1..9),
            at: prop::sample::Index, with in prop::collection::vec(0..255_u8, 0..9),
        ) {
            let index = built(&batches);
            let mut bytes = index.encode();
            prop_assert_eq!(StretchIndex::decode(&bytes), Some(index));
            // Put together by somebody who knows how: a right checksum over anything.
            let place = at.index(bytes.len() - CRC_BYTES);
            let end = (place + with.len()).min(bytes.len() - CRC_BYTES);
            bytes[place..end].copy_from_slice(&with[..end - place]);
            let (said, crc) = bytes.split_last_chunk_mut::<CRC_BYTES>().expect("long");
            *crc = crc32c(&[said]).to_be_bytes();
            if let Some(index) = StretchIndex::decode(&bytes) {
                prop_assert_eq!(index.encode(), bytes);
                for number in 0..index.regions() {
                    prop_assert!(index.region(number).end <= index.len);
                }
            }
        }
    }
}
