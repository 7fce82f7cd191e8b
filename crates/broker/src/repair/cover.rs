//! Which stretches make up a log: of those that are there, in the order of their offsets, each
//! offset once.

use std::ops::Range;

use sabir_storage::extent::Extent;

/// A part of a log in blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Keep(Extent),
    /// Its batches from this offset on, written anew.
    Copy(Extent, u64),
    /// Nothing has these offsets.
    Hole(Range<u64>),
}

impl Part {
    pub fn next(&self) -> u64 {
        match self {
            Part::Keep(extent) | Part::Copy(extent, _) => extent.next,
            Part::Hole(offsets) => offsets.end,
        }
    }
}

/// Covers a log that begins at `start`. A stretch that is whole is preferred to one that `anew`
/// says has to be written anew, and a long one to a short one. What lies between stretches is a
/// hole; what lies before the first is none, for it may be what retention has given up.
pub(super) fn cover(
    mut there: Vec<Extent>,
    start: u64,
    anew: &dyn Fn(&Extent) -> bool,
) -> Vec<Part> {
    there.retain(|extent| start < extent.next);
    there.sort_by_key(|extent| (extent.base, anew(extent), std::cmp::Reverse(extent.next)));
    let mut parts: Vec<Part> = Vec::new();
    let mut at: Option<u64> = None;
    while let Some(from) = at.or_else(|| first(&there, start)) {
        let left = || there.iter().filter(|extent| from < extent.next);
        let exact = left().filter(|extent| extent.base == from);
        let best = exact.min_by_key(|extent| (anew(extent), std::cmp::Reverse(extent.next)));
        let overlapping = || left().filter(|extent| extent.base < from).max_by_key(|e| e.next);
        let part = match best.or_else(overlapping) {
            Some(extent) if extent.base == from && !anew(extent) => Part::Keep(*extent),
            Some(extent) => Part::Copy(*extent, from),
            None => match left().map(|extent| extent.base).min() {
                Some(base) => Part::Hole(from..base),
                None => break,
            },
        };
        assert!(from < part.next(), "each part goes further");
        at = Some(part.next());
        parts.push(part);
    }
    parts
}

/// Where the cover begins: with a stretch that holds the start, or the first behind it.
fn first(there: &[Extent], start: u64) -> Option<u64> {
    let holds = there.iter().filter(|extent| extent.base <= start).map(|extent| extent.base);
    holds.max().or_else(|| there.iter().map(|extent| extent.base).min())
}

#[cfg(test)]
mod tests {
    use sabir_storage::blob::BlobId;

    use super::*;

    fn extent(base: u64, next: u64) -> Extent {
        let blob = BlobId::Bundle { shard: 0, number: base * 100 + next };
        Extent { log: 1, blob, position: 0, len: 1, base, next, max_timestamp: 0 }
    }

    #[test]
    fn every_offset_is_covered_once_and_by_what_is_whole() {
        let check = |there: &[(u64, u64)], start, damaged: &[(u64, u64)], want: &str| {
            let there = there.iter().map(|(base, next)| extent(*base, *next)).collect();
            let anew = |extent: &Extent| damaged.contains(&(extent.base, extent.next));
            let shown: Vec<String> = cover(there, start, &anew)
                .iter()
                .map(|part| match part {
                    Part::Keep(extent) => format!("{}-{}", extent.base, extent.next),
                    Part::Copy(extent, from) => format!("copy {from}-{}", extent.next),
                    Part::Hole(offsets) => format!("hole {}-{}", offsets.start, offsets.end),
                })
                .collect();
            assert_eq!(shown.join(", "), want);
        };
        check(&[], 0, &[], "");
        check(&[(0, 5), (5, 9)], 0, &[], "0-5, 5-9");
        check(&[(0, 5), (5, 9)], 6, &[], "5-9");
        check(&[(0, 5), (5, 9)], 9, &[], "");
        check(&[(0, 5), (7, 9)], 0, &[], "0-5, hole 5-7, 7-9");
        check(&[(4, 5)], 0, &[], "4-5");
        // Merged, and what it was merged from.
        check(&[(0, 5), (5, 9), (0, 9)], 0, &[], "0-9");
        check(&[(0, 5), (5, 9), (0, 9)], 0, &[(0, 9)], "0-5, 5-9");
        check(&[(0, 5), (5, 9)], 0, &[(5, 9)], "0-5, copy 5-9");
        check(&[(0, 5), (3, 9)], 0, &[], "0-5, copy 5-9");
        check(&[(0, 5), (3, 9)], 4, &[], "3-9");
    }
}
