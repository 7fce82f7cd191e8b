//! Whole batches in bytes that are not as they were written, and what stands where none is: an
//! empty batch that covers the lost offsets, as compaction leaves it where it removes every record.
//! Readers pass over it, and offsets stay dense.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{self, HEADER, Header, PREFIX};
use crate::stretch::BatchRef;

/// A part of a stretch.
#[derive(Clone, Debug)]
pub enum Piece {
    Batch(BatchRef),
    /// Offsets of which nothing whole was found.
    Hole(Range<u64>),
}

/// Offsets that one empty batch covers at most.
const COVERED_MAX: u64 = i32::MAX as u64;

/// Finds the whole batches in bytes that held exactly these offsets, in rising order. Batches and
/// holes together cover the offsets without gaps. A batch counts if its checksum is right and a
/// neighbour agrees with its place.
pub fn salvage(bytes: &Bytes, offsets: Range<u64>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut at, mut expected) = (0, offsets.start);
    while at < bytes.len() && expected < offsets.end {
        let left = expected..offsets.end;
        let found = replaced(bytes, at, &left).map(|batch| (at, batch));
        let found = found.or_else(|| {
            let mut places = at..bytes.len();
            places.find_map(|place| Some((place, batch_at(bytes, place, &left)?)))
        });
        let Some((place, found)) = found else { break };
        if found.base > expected {
            pieces.push(Piece::Hole(expected..found.base));
        }
        (at, expected) = (place + found.bytes.len(), found.next);
        pieces.push(Piece::Batch(found));
    }
    if expected < offsets.end {
        pieces.push(Piece::Hole(expected..offsets.end));
    }
    pieces
}

/// The batch that begins there, if it is whole and lies within the offsets.
fn batch_at(bytes: &Bytes, at: usize, offsets: &Range<u64>) -> Option<BatchRef> {
    let head = bytes.get(at..)?;
    // Most places are dismissed by the offset alone.
    let base = i64::from_be_bytes(*head.first_chunk()?);
    if !offsets.contains(&u64::try_from(base).ok()?) {
        return None;
    }
    let header = whole(head)?;
    let end = at + header.len;
    let batch = as_ref(&header, bytes.slice(at..end))?;
    // No checksum covers the offset: a neighbour has to agree with it.
    let agreed = batch.base == offsets.start || batch.next == after(bytes, end, offsets);
    (batch.next <= offsets.end && agreed).then_some(batch)
}

/// The offset that what lies there says to begin with; behind the last byte the end of all.
fn after(bytes: &Bytes, at: usize, offsets: &Range<u64>) -> u64 {
    let next = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk);
    next.map_or(offsets.end, |next| i64::from_be_bytes(*next).unsigned_abs())
}

/// A batch that is whole but for its offset, which no checksum covers: what follows it must say
/// where it lay.
fn replaced(bytes: &Bytes, at: usize, offsets: &Range<u64>) -> Option<BatchRef> {
    let header = whole(bytes.get(at..)?)?;
    let base = i64::try_from(offsets.start).ok()?;
    let end = at + header.len;
    let next = Header { base_offset: base, ..header }.next_offset().unsigned_abs();
    let follows = after(bytes, end, offsets);
    if header.base_offset == base || follows != next || next > offsets.end {
        return None;
    }
    let mut batch = bytes.slice(at..end).to_vec();
    batch::place(&mut batch, base, header.leader_epoch);
    as_ref(&Header { base_offset: base, ..header }, batch.into())
}

fn whole(bytes: &[u8]) -> Option<Header> {
    let header = Header::parse(bytes).ok()?;
    let sound = header.last_delta >= 0 && header.count >= 0;
    (sound && batch::checksum(&bytes[..header.len]) == header.crc).then_some(header)
}

/// The batch as blobs take it; None if its offsets are none.
pub fn as_ref(header: &Header, bytes: Bytes) -> Option<BatchRef> {
    Some(BatchRef {
        base: u64::try_from(header.base_offset).ok()?,
        next: u64::try_from(header.next_offset()).ok()?,
        max_timestamp: header.max_timestamp,
        bytes,
    })
}

/// Batches without records that cover the offsets.
///
/// # Panics
/// If there are no offsets, or they are above 2^63.
pub fn empty(offsets: Range<u64>, leader_epoch: i32) -> Vec<BatchRef> {
    assert!(offsets.start < offsets.end, "an empty batch covers offsets");
    let mut batches = Vec::new();
    let mut base = offsets.start;
    while base < offsets.end {
        let covered = (offsets.end - base).min(COVERED_MAX);
        let mut bytes = vec![0; HEADER];
        bytes[8..12].copy_from_slice(&((HEADER - PREFIX) as u32).to_be_bytes());
        bytes[16] = 2;
        let last_delta = u32::try_from(covered - 1).expect("bounded above");
        bytes[23..27].copy_from_slice(&last_delta.to_be_bytes());
        // No time, no producer: as the format says "none".
        bytes[27..57].fill(0xff);
        batch::place(&mut bytes, i64::try_from(base).expect("an offset"), leader_epoch);
        let crc = batch::checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let next = base + covered;
        batches.push(BatchRef { base, next, max_timestamp: -1, bytes: bytes.into() });
        base = next;
    }
    batches
}

/// The pieces as batches: holes become empty ones.
pub fn filled(pieces: Vec<Piece>) -> Vec<BatchRef> {
    let mut batches: Vec<BatchRef> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Batch(batch) => batches.push(batch),
            Piece::Hole(offsets) => {
                let before = batches.last().and_then(|last| Header::parse(&last.bytes).ok());
                batches.extend(empty(offsets, before.map_or(0, |header| header.leader_epoch)));
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::build::{Builder, Record};
    use crate::batch::records::records;

    fn batch(base: u64, count: usize) -> Vec<u8> {
        let mut builder = Builder::default();
        for n in 0..count {
            let value = [base as u8 ^ n as u8; 40];
            builder.push(&Record { value: Some(&value), ..Record::default() });
        }
        let mut bytes = builder.seal();
        batch::place(&mut bytes, base as i64, 3);
        bytes
    }

    fn three() -> (Vec<u8>, [usize; 3]) {
        let all = [batch(10, 2), batch(12, 3), batch(15, 1)];
        let ends = [all[0].len(), all[0].len() + all[1].len(), all.concat().len()];
        (all.concat(), ends)
    }

    /// What is found, as base and next; holes with a minus.
    fn show(bytes: Vec<u8>) -> Vec<(i64, i64)> {
        let shown = |piece: Piece| match piece {
            Piece::Batch(batch) => (batch.base as i64, batch.next as i64),
            Piece::Hole(offsets) => (-(offsets.start as i64), -(offsets.end as i64)),
        };
        salvage(&bytes.into(), 10..16).into_iter().map(shown).collect()
    }

    #[test]
    fn one_flipped_bit_costs_at_most_the_batch_it_lies_in() {
        let (intact, ends) = three();
        let want = [(10, 12), (12, 15), (15, 16)];
        assert_eq!(show(intact.clone()), want);
        for bit in 0..intact.len() * 8 {
            let mut bytes = intact.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.iter().position(|end| bit / 8 < *end).expect("inside");
            let found = show(bytes);
            let (base, next) = want[hit];
            let mut holed = want;
            holed[hit] = (-base, -next);
            assert!(found == want || found == holed, "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn an_offset_alone_is_put_right_by_what_follows() {
        let (mut bytes, ends) = three();
        bytes[ends[0] + 7] ^= 4;
        assert_eq!(show(bytes.clone()), [(10, 12), (12, 15), (15, 16)]);
        bytes[7] ^= 1;
        assert_eq!(show(bytes), [(-10, -15), (15, 16)], "two that contradict each other");
        let (mut bytes, ends) = three();
        bytes[ends[1] + 7] ^= 4;
        assert_eq!(show(bytes), [(10, 12), (12, 15), (15, 16)]);
    }

    #[test]
    fn what_is_cut_off_or_zero_is_a_hole_and_nothing_else_is() {
        let (bytes, ends) = three();
        assert_eq!(show(bytes[..ends[1] - 1].to_vec()), [(10, 12), (-12, -16)]);
        assert_eq!(show(bytes[ends[0]..].to_vec()), [(-10, -12), (12, 15), (15, 16)]);
        let mut zeroed = bytes.clone();
        zeroed[..ends[1]].fill(0);
        assert_eq!(show(zeroed), [(-10, -15), (15, 16)]);
        assert_eq!(show(vec![]), [(-10, -16)]);
    }

    #[test]
    fn empty_batches_cover_any_number_of_offsets_and_have_no_records() {
        for (offsets, want) in [(5..6, 1), (0..COVERED_MAX + 7, 2)] {
            let batches = empty(offsets.clone(), 4);
            assert_eq!(batches.len(), want);
            assert_eq!(batches[0].base, offsets.start);
            assert_eq!(batches[want - 1].next, offsets.end);
            for batch in batches {
                let header = whole(&batch.bytes).expect("whole");
                assert_eq!(header.next_offset().unsigned_abs(), batch.next);
                assert!(!header.has_producer() && header.leader_epoch == 4);
                assert_eq!(records(&batch.bytes).expect("readable").iter().count(), 0);
            }
        }
    }
}
