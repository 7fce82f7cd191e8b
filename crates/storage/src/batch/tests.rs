//! Batches that are accepted, and each way in which one is refused.

use super::build::{Builder, Record};
use super::*;

fn batch() -> Vec<u8> {
    let mut builder = Builder::default();
    for (timestamp, value) in [(1000, "one"), (900, "two"), (1100, "three")] {
        builder.push(&Record {
            timestamp,
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            headers: vec![(b"h", None), (b"h", Some(b"\xff"))],
        });
    }
    builder.seal_for(7, 3, i32::MAX - 1)
}

#[test]
fn a_built_batch_is_valid_and_says_what_went_in() {
    let bytes = batch();
    let header = validate(&bytes).expect("valid");
    assert_eq!((header.count, header.next_offset(), header.len), (3, 3, bytes.len()));
    assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1100));
    assert_eq!((header.producer_id, header.producer_epoch), (7, 3));
    assert_eq!(header.last_sequence(), 0, "sequences wrap");
}

#[test]
fn each_mistake_has_its_own_error() {
    let seal = |bytes: &mut Vec<u8>| {
        let crc = checksum(bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    };
    let check = |name: &str, mend: bool, change: &dyn Fn(&mut Vec<u8>), want: BatchError| {
        let mut bytes = batch();
        change(&mut bytes);
        if mend {
            seal(&mut bytes);
        }
        assert_eq!(validate(&bytes), Err(want), "{name}");
    };
    check("cut off", false, &|b| b.truncate(b.len() - 1), BatchError::Short);
    check("no header", false, &|b| b.truncate(60), BatchError::Short);
    check("negative length", false, &|b| b[8] = 0x80, BatchError::Short);
    check("old magic", false, &|b| b[16] = 1, BatchError::Magic(1));
    check("one flipped bit", false, &|b| b[80] ^= 4, BatchError::Checksum);
    let count = BatchError::Count { count: 4, last_delta: 2 };
    check("wrong count", true, &|b| b[60] = 4, count);
    let count = BatchError::Count { count: 0, last_delta: 2 };
    check("no records", true, &|b| b[60] = 0, count);
    check("unknown compression", true, &|b| b[22] = 5, BatchError::Compression(5));
    check("a record too long", true, &|b| b[61] = 0xfe, BatchError::Record(0));
    check("a gap in the deltas", true, &|b| b[64] = 2, BatchError::Record(0));
    check("bytes behind the records", true, &trailing, BatchError::Record(3));
}

fn trailing(bytes: &mut Vec<u8>) {
    bytes.push(0);
    let counted = (bytes.len() - PREFIX) as i32;
    bytes[8..12].copy_from_slice(&counted.to_be_bytes());
}

#[test]
fn placing_changes_nothing_that_the_checksum_covers() {
    let mut bytes = batch();
    place(&mut bytes, 1 << 40, 9);
    let header = validate(&bytes).expect("still valid");
    assert_eq!((header.base_offset, header.leader_epoch), (1 << 40, 9));
    stamp(&mut bytes, 5555);
    let header = validate(&bytes).expect("valid again");
    assert!(header.is_append_time());
    assert_eq!(header.max_timestamp, 5555);
}

#[test]
fn a_stretch_splits_into_its_batches_and_stops_at_the_first_mistake() {
    let one = batch();
    let stretch = Bytes::from([one.clone(), one.clone(), one[..70].to_vec()].concat());
    let found: Vec<_> = split(&stretch).map(|batch| batch.map(|(_, bytes)| bytes.len())).collect();
    assert_eq!(found, vec![Ok(one.len()), Ok(one.len()), Err(BatchError::Short)]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(mut bytes: Vec<u8>, mend: bool) {
        if mend && bytes.len() >= HEADER {
            trailing(&mut bytes);
            bytes[16] = 2;
            let crc = checksum(&bytes);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let _ = validate(&bytes);
    }
}
