//! Random logs through bundles and segments: every offset readable, byte for byte; every flipped
//! bit named.

use proptest::prelude::*;

use super::*;
use crate::blob::PutOutcome;
use crate::blob::mem::MemBlobs;

/// A batch of record batch v2 with this many offsets; its records are `fill`.
fn batch(base: u64, offsets: u32, max_timestamp: i64, records: usize, fill: u8) -> BatchRef {
    let mut bytes = vec![fill; BATCH_HEAD_BYTES + records];
    let len = i32::try_from(bytes.len() - LENGTH_SKIPS).expect("small");
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[8..12].copy_from_slice(&len.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(offsets - 1).to_be_bytes());
    bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    BatchRef { base, next: base + u64::from(offsets), max_timestamp, bytes: bytes.into() }
}

/// Batches of (gap before, offsets, timestamp, bytes of records).
fn batches(base: u64, of: &[(u64, u32, i64, usize)]) -> Vec<BatchRef> {
    let mut next = base;
    let mut batches = Vec::new();
    for (gap, offsets, timestamp, records) in of {
        let fill = (batches.len() * 31 + 1) as u8;
        let batch = batch(next + gap, *offsets, *timestamp, *records, fill);
        next = batch.next;
        batches.push(batch);
    }
    batches
}

fn put(built: &Built) -> MemBlobs {
    let blobs = MemBlobs::default();
    let outcomes = blobs.put_all(&built.blobs).expect("puts");
    assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Created));
    blobs
}

/// Reads the whole stretch from `from` on, in steps, and compares it with the batches.
fn check_reads(blobs: &MemBlobs, extent: &Extent, batches: &[BatchRef], from: u64, step: u64) {
    let index = read_index(blobs, extent).expect("its index");
    let mut from = from;
    let mut left = batches.iter().skip_while(move |batch| batch.next <= from).peekable();
    while from < extent.next {
        let mut bytes = read_stretch(blobs, extent, &index, from, step).expect("reads");
        let total = bytes.len() as u64;
        let first = left.peek().map_or(0, |batch| batch.bytes.len() as u64);
        assert!(total <= step.max(first), "{total} of at most {step}");
        assert!(!bytes.is_empty(), "at least one batch from {from}");
        while !bytes.is_empty() {
            let want = left.next().expect("no more than was written");
            assert_eq!(bytes.split_to(want.bytes.len()), want.bytes);
            from = want.next;
        }
    }
    assert!(left.next().is_none());
}

fn check_times(blobs: &MemBlobs, extent: &Extent, batches: &[BatchRef]) {
    let index = read_index(blobs, extent).expect("its index");
    let times = batches.iter().flat_map(|batch| [-1, 0, 1].map(|by| batch.max_timestamp + by));
    for time in times.chain([i64::MIN, i64::MAX]) {
        let want = batches.iter().find(|batch| batch.max_timestamp >= time);
        let found = find_timestamp(blobs, extent, &index, time).expect("finds");
        assert_eq!(found, want.map(|batch| batch.base), "timestamp {time}");
    }
}

fn check_built(built: &Built, logs: &[(u64, Vec<BatchRef>)], step: u64) {
    let blobs = put(built);
    let blob = built.extents[0].blob;
    assert_eq!(read_footer(&blobs, blob).expect("its footer"), built.extents);
    assert_eq!(verify(&blobs, blob).expect("whole"), built.extents);
    assert_eq!(built.extents.len(), logs.len());
    for (extent, (log, batches)) in built.extents.iter().zip(logs) {
        let (first, last) = (&batches[0], &batches[batches.len() - 1]);
        assert_eq!((extent.log, extent.base, extent.next), (*log, first.base, last.next));
        for batch in batches {
            for from in [batch.base.saturating_sub(1), batch.base, batch.next - 1] {
                check_reads(&blobs, extent, batches, from, step);
            }
        }
        check_times(&blobs, extent, batches);
        let index = read_index(&blobs, extent).expect("its index");
        let none = read_stretch(&blobs, extent, &index, extent.next, step).expect("reads");
        assert!(none.is_empty());
    }
}

type Shape = Vec<(u64, u32, i64, usize)>;

fn shapes() -> impl Strategy<Value = Shape> {
    let records = prop_oneof![4 => 0..600_usize, 2 => 3000..9000_usize, 1 => 16_000..70_000_usize];
    let gap = prop_oneof![4 => Just(0_u64), 1 => 1..9_u64];
    prop::collection::vec((gap, 1..9_u32, -20..20_i64, records), 1..14)
}

fn steps() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0_u64), 1..2000_u64, 2000..100_000_u64, Just(u64::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_segment_gives_back_what_was_put(
        shape in shapes(), base in 0..1_000_000_u64, step in steps()
    ) {
        let batches = batches(base, &shape);
        let built = segment::build(3, 9, 2, &batches);
        let content: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
        prop_assert_eq!(built.blobs[1].parts.concat(), content);
        check_built(&built, &[(9, batches)], step);
    }

    #[test]
    fn a_bundle_gives_back_what_was_put(
        shapes in prop::collection::btree_map(0..50_u64, (0..99_u64, shapes()), 1..6),
        step in steps()
    ) {
        let logs: Vec<_> =
            shapes.iter().map(|(log, (base, shape))| (*log, batches(*base, shape))).collect();
        let mut shuffled = logs.clone();
        shuffled.reverse();
        check_built(&bundle::build(3, 0xa1, shuffled), &logs, step);
    }
}

fn samples() -> Vec<(Built, Vec<Vec<BatchRef>>)> {
    let one = batches(5, &[(0, 3, 10, 900), (0, 1, 20, 15_500), (2, 1, 15, 100), (0, 9, 30, 40)]);
    let two = batches(0, &[(0, 1, 5, 10)]);
    let three = batches(77, &[(0, 1, 5, 17_000), (0, 2, 4, 200)]);
    let logs = vec![(1, one.clone()), (2, two.clone()), (8, three.clone())];
    vec![
        (segment::build(0, 1, 0, &one), vec![one.clone()]),
        (bundle::build(0, 1, logs), vec![one, two, three]),
    ]
}

/// What reading gives with this damage: the right bytes, or `Damaged`; nothing else.
fn check_damaged(blobs: &MemBlobs, built: &Built, logs: &[Vec<BatchRef>], what: &str) {
    let is_damage = |error: &BlobError| matches!(error, BlobError::Damaged { .. });
    let verified = verify(blobs, built.extents[0].blob);
    assert!(verified.as_ref().is_err_and(is_damage), "{what} is not seen: {verified:?}");
    match read_footer(blobs, built.extents[0].blob) {
        Ok(extents) => assert_eq!(extents, built.extents, "{what}: a wrong footer"),
        Err(error) => assert!(is_damage(&error), "{what}: {error}"),
    }
    for (extent, batches) in built.extents.iter().zip(logs) {
        let index = match read_index(blobs, extent) {
            Ok(index) => index,
            Err(error) => {
                assert!(is_damage(&error), "{what}: {error}");
                continue;
            }
        };
        let content: Vec<&[u8]> = batches.iter().map(|batch| &batch.bytes[..]).collect();
        let content = content.concat();
        let mut before = 0;
        for batch in batches {
            match read_stretch(blobs, extent, &index, batch.base, 1 << 20) {
                Ok(bytes) => {
                    let right = !bytes.is_empty() && content[before..].starts_with(&bytes);
                    assert!(right, "{what}: wrong bytes");
                }
                Err(error) => assert!(is_damage(&error), "{what}: {error}"),
            }
            before += batch.bytes.len();
        }
    }
}

#[test]
fn every_flipped_bit_is_named_and_never_served() {
    for (built, logs) in samples() {
        let blobs = put(&built);
        for Put { id, parts } in &built.blobs {
            let content = parts.concat();
            let len = content.len();
            // All bits of what is not a batch's records; of those, one bit in every 41 bytes.
            let is_record = |bit: usize| content[bit / 8] % 31 == 1;
            for bit in (0..len * 8).filter(|bit| !is_record(*bit) || bit % 329 == 0) {
                let flip = |content: &mut Vec<u8>| content[bit / 8] ^= 1 << (bit % 8);
                assert!(blobs.damage(*id, flip));
                check_damaged(&blobs, &built, &logs, &format!("{id} bit {bit}"));
                assert!(blobs.damage(*id, flip));
            }
            for cut in (0..len).step_by(97) {
                let mut whole = Vec::new();
                assert!(blobs.damage(*id, |content| {
                    whole.clone_from(content);
                    content.truncate(cut);
                }));
                check_damaged(&blobs, &built, &logs, &format!("{id} cut at {cut}"));
                assert!(blobs.damage(*id, |content| *content = whole));
            }
        }
        assert_eq!(verify(&blobs, built.extents[0].blob).expect("whole again"), built.extents);
    }
}

#[test]
fn a_blob_under_a_wrong_name_is_refused() {
    for (built, _) in samples() {
        let blobs = MemBlobs::default();
        let rename = |id: BlobId| match id {
            BlobId::Bundle { shard, .. } => BlobId::Bundle { shard, number: 2 },
            BlobId::Segment { shard, rewrite, base, part, .. } => {
                BlobId::Segment { shard, log: 2, rewrite, base, part }
            }
        };
        for Put { id, parts } in &built.blobs {
            blobs.put_new(rename(*id), parts).expect("puts");
        }
        let found = read_footer(&blobs, rename(built.extents[0].blob));
        assert!(matches!(found, Err(BlobError::Damaged { .. })), "{found:?}");
        let found = read_footer(&blobs, built.extents[0].blob);
        assert!(matches!(found, Err(BlobError::Missing { .. })), "{found:?}");
    }
}

#[test]
fn rows_that_point_wrong_are_refused() {
    for (built, _) in samples() {
        let blobs = put(&built);
        let extent = built.extents[0];
        let wrong = [
            Extent { position: extent.position + 1, ..extent },
            Extent { position: u64::MAX - 2, ..extent },
            Extent { len: extent.len - 1, ..extent },
            Extent { len: u64::MAX, ..extent },
            Extent { log: extent.log + 1, ..extent },
            Extent { base: extent.base + 1, ..extent },
            Extent { next: extent.next + 1, ..extent },
        ];
        for wrong in wrong {
            let found = read_index(&blobs, &wrong);
            // A segment's extent starts at 0: the index alone cannot tell, the batches do.
            let found =
                found.and_then(|index| read_stretch(&blobs, &wrong, &index, wrong.base, 1 << 20));
            assert!(matches!(found, Err(BlobError::Damaged { .. })), "{wrong:?}: {found:?}");
        }
    }
}

#[test]
fn indexes_are_kept_up_to_a_number_of_bytes() {
    let batches = batches(0, &[(0, 1, 1, 100)]);
    let logs = (0..200).map(|log| (log, batches.clone())).collect();
    let built = bundle::build(0, 1, logs);
    let blobs = put(&built);
    let cache = IndexCache::new(10_000);
    for extent in built.extents.iter().chain(built.extents.iter().rev()) {
        assert_eq!(cache.get(&blobs, extent).expect("reads").log, extent.log);
        assert!(cache.bytes() <= 10_000);
    }
    let gets = blobs.counts().gets;
    cache.get(&blobs, &built.extents[0]).expect("at hand");
    assert_eq!(blobs.counts().gets, gets);
    cache.forget(&[built.extents[0].blob]);
    assert_eq!(cache.bytes(), 0);
    assert!(cache.get(&blobs, &built.extents[0]).is_ok());
    assert!(blobs.counts().gets > gets);
}

#[test]
fn a_batch_is_read_only_whole() {
    let good = batch(7, 3, 9, 5, 0).bytes;
    let head = BatchHead { base: 7, next: 10, len: 66, max_timestamp: 9 };
    assert_eq!(BatchHead::read(&good), Some(head));
    let broken: [(usize, u8); 4] = [(0, 0x80), (8, 0x80), (16, 1), (23, 0x80)];
    for (at, byte) in broken {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        assert_eq!(BatchHead::read(&bytes), None, "byte {at}");
    }
    assert_eq!(BatchHead::read(&good[..65]), None);
    assert_eq!(BatchHead::read(&good[..60]), None);
}
