//! Searches by time against a plain list of records, in memory and in blobs, however the log is
//! divided between both and wherever it starts.

use proptest::prelude::*;

use super::*;
use crate::batch::build::{Builder, Record};
use crate::batch::{checksum, place, stamp};
use crate::blob::mem::MemBlobs;
use crate::stretch::BatchRef;
use crate::{bundle, segment};

const EPOCH: i32 = 3;

/// A batch with these timestamps; the broker's time if `append_ms` says so.
fn batch(base: Offset, timestamps: &[i64], append_ms: Option<i64>) -> TailBatch {
    let mut builder = Builder::default();
    for timestamp in timestamps {
        builder.push(&Record { timestamp: *timestamp, value: Some(b"v"), ..Record::default() });
    }
    let mut bytes = builder.seal();
    place(&mut bytes, base, EPOCH);
    if let Some(now) = append_ms {
        stamp(&mut bytes, now);
    }
    tail_batch(bytes)
}

fn tail_batch(bytes: Vec<u8>) -> TailBatch {
    let header = Header::parse(&bytes).expect("a batch");
    TailBatch {
        base: header.base_offset,
        next: header.next_offset(),
        max_timestamp: header.max_timestamp,
        frame: 1,
        bytes: bytes.into(),
    }
}

/// Batches behind one another from `base` on.
fn batches(base: Offset, all: &[(Vec<i64>, bool)]) -> Vec<TailBatch> {
    let mut next = base;
    let mut made = Vec::new();
    for (timestamps, append_time) in all {
        let append_ms = append_time.then(|| timestamps[0]);
        made.push(batch(next, timestamps, append_ms));
        next = made.last().expect("just made").next;
    }
    made
}

/// The first record that is wanted, by looking at each.
fn plainly(batches: &[TailBatch], start: Offset, wanted: Wanted) -> Found {
    let mut best: Option<Moment> = None;
    for batch in batches {
        for record in &records(&batch.bytes).expect("valid") {
            let RecordRef { offset, timestamp, .. } = record.expect("valid");
            let better = match wanted {
                Wanted::From(time) => best.is_none() && timestamp >= time,
                Wanted::Highest => best.is_none_or(|best| timestamp > best.timestamp),
            };
            if offset >= start && better {
                best = Some(Moment { offset, timestamp, epoch: EPOCH });
            }
        }
    }
    best.map_or(Found::None, Found::At)
}

fn view(batches: &[TailBatch], start: Offset, visible: Offset) -> LogView {
    let view = LogView::new(7, 0, start, start);
    batches.iter().for_each(|batch| view.push(batch.clone()));
    view.show(visible, &mut Vec::new());
    view
}

/// Puts runs of batches into blobs, segments and bundles in turn.
fn stored(runs: &[&[TailBatch]]) -> (MemBlobs, Vec<Extent>) {
    let blobs = MemBlobs::default();
    let mut extents = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let refs: Vec<_> = run
            .iter()
            .map(|batch| BatchRef {
                base: batch.base.cast_unsigned(),
                next: batch.next.cast_unsigned(),
                max_timestamp: batch.max_timestamp,
                bytes: batch.bytes.clone(),
            })
            .collect();
        let built = if at % 2 == 0 {
            segment::build(0, 7, 0, &refs)
        } else {
            bundle::build(0, at as u64, vec![(7, refs)])
        };
        blobs.put_all(&built.blobs).expect("puts");
        extents.extend(built.extents);
    }
    (blobs, extents)
}

/// A whole search over blobs and tail. Also says how many stretches were read.
fn through(
    blobs: &MemBlobs,
    extents: &[Extent],
    tail: &[TailBatch],
    visible: Range<Offset>,
    wanted: Wanted,
) -> (Found, usize) {
    let mut search = Search::new(wanted);
    let mut reads = 0;
    loop {
        match search.pick(extents, tail, visible.clone()) {
            Pick::Cold(extent) => {
                reads += 1;
                let index = stretch::read_index(blobs, &extent).expect("its index");
                let found = read(blobs, &extent, &index, visible.start, wanted).expect("reads");
                search.took(&extent, found);
            }
            Pick::Warm(batch) => search.open(&batch, visible.start),
            Pick::Over => return (search.end(), reads),
        }
    }
}

#[test]
fn the_tail_is_searched_by_record() {
    let all = batches(
        10,
        &[
            (vec![100, 90, 110], false),
            (vec![300, 200], false),
            (vec![250, 250, 250], true),
            (vec![300, 50], false),
            (vec![400], false),
        ],
    );
    let check = |name: &str, start, visible, wanted, want: Option<(Offset, i64)>| {
        let found = view(&all, start, visible).search(&mut Search::new(wanted));
        let moment = |(offset, timestamp)| Moment { offset, timestamp, epoch: EPOCH };
        assert_eq!(found, want.map(moment).map_or(Found::None, Found::At), "{name}");
    };
    let from = Wanted::From;
    check("the very first", 10, 21, from(0), Some((10, 100)));
    check("within a batch", 10, 21, from(101), Some((12, 110)));
    check("exactly", 10, 21, from(110), Some((12, 110)));
    check("not the first in its batch", 10, 21, from(111), Some((13, 300)));
    check("after all", 10, 21, from(401), None);
    check("the last is not yet visible", 10, 20, from(301), None);
    check("behind a start within a batch", 14, 21, from(201), Some((15, 250)));
    check("append time, start within", 16, 21, from(201), Some((16, 250)));
    check("nothing behind the start of that batch", 12, 21, from(90), Some((12, 110)));
    check("highest", 10, 21, Wanted::Highest, Some((20, 400)));
    check("highest visible, the first of two", 10, 20, Wanted::Highest, Some((13, 300)));
    check("highest behind the start", 14, 20, Wanted::Highest, Some((18, 300)));
    check("highest of append time", 15, 18, Wanted::Highest, Some((15, 250)));
    check("empty", 10, 10, Wanted::Highest, None);
    check("empty, by time", 10, 10, from(0), None);
}

#[test]
fn a_batch_that_cannot_be_read_or_lies_answers_with_its_front() {
    let lie = |bytes: &mut Vec<u8>, at: usize, with: &[u8]| {
        bytes[at..at + with.len()].copy_from_slice(with);
        let crc = checksum(bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    };
    let mut lies = batch(1, &[20, 30], None).bytes.to_vec();
    lie(&mut lies, 35, &900_i64.to_be_bytes());
    let mut damaged = lies.clone();
    lie(&mut damaged, 21, &[0, 4]);
    for bytes in [lies, damaged] {
        let all = [batch(0, &[50], None), tail_batch(bytes), batch(3, &[60, 10], None)];
        for (wanted, timestamp) in [(Wanted::From(55), 900), (Wanted::Highest, 900)] {
            let want = Found::At(Moment { offset: 1, timestamp, epoch: EPOCH });
            assert_eq!(view(&all, 0, 5).search(&mut Search::new(wanted)), want, "{wanted:?}");
            let (blobs, extents) = stored(&[&all]);
            assert_eq!(through(&blobs, &extents, &[], 0..5, wanted), (want, 1), "{wanted:?}");
        }
    }
}

proptest! {
    #[test]
    fn blobs_and_tail_give_what_looking_at_every_record_gives(
        all in prop::collection::vec(
            (prop::collection::vec(0..9_i64, 1..5), any::<bool>()), 1..9),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        tail_from: prop::sample::Index, starts: prop::sample::Index, time in -1..10_i64,
    ) {
        let all = batches(100, &all);
        let end = all.last().expect("one").next;
        let start = 100 + starts.index((end - 100) as usize + 1) as i64;
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len() + 1)).collect();
        cuts.push(0);
        cuts.sort_unstable();
        cuts.dedup();
        let runs: Vec<_> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
        let (blobs, extents) = stored(&runs);
        // The tail may still hold what is in blobs already.
        let warm = tail_from.index(cuts.last().expect("one") + 1);
        for wanted in [Wanted::From(time), Wanted::Highest] {
            let want = plainly(&all, start, wanted);
            let (found, reads) = through(&blobs, &extents, &all[warm..], start..end, wanted);
            prop_assert_eq!(found, want, "{:?}", wanted);
            prop_assert!(reads <= 2, "{} stretches read", reads);
            let view = view(&all, start, end);
            prop_assert_eq!(view.search(&mut Search::new(wanted)), want, "{:?}", wanted);
        }
    }
}
