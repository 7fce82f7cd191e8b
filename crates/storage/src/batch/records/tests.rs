//! Records read back from every compression, and hostile batches that are refused.

use std::io::Write;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::batch::build::{Builder, Record};
use crate::batch::{PREFIX, checksum};

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// As a client would compress it; snappy raw.
fn deflate(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, 3).unwrap(),
    }
}

/// Blocks of at most `size` bytes as snappy-java frames them.
fn xerial(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(size) {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&block);
    }
    out
}

/// The batch with these bytes for its records.
fn with_body(batch: &[u8], compression: Compression, body: &[u8]) -> Bytes {
    let mut batch = [&batch[..HEADER], body].concat();
    let counted = (batch.len() - PREFIX) as i32;
    batch[8..12].copy_from_slice(&counted.to_be_bytes());
    batch[22] = batch[22] & !7 | ALL.iter().position(|known| *known == compression).unwrap() as u8;
    let crc = checksum(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn compressed(batch: &[u8], compression: Compression) -> Bytes {
    with_body(batch, compression, &deflate(compression, &batch[HEADER..]))
}

type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn owned(batch: &Bytes) -> Result<Vec<Owned>, BatchError> {
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let found = records(batch)?;
    let all = found.iter().map(|record| {
        let RecordRef { offset, timestamp, key, value, headers } = record?;
        let pairs: Vec<_> = headers.iter().map(|(key, value)| (key.to_vec(), own(value))).collect();
        assert_eq!((pairs.len(), pairs.is_empty()), (headers.len(), headers.is_empty()));
        Ok((offset, timestamp, own(key), own(value), pairs))
    });
    all.collect()
}

fn built() -> Vec<u8> {
    let mut builder = Builder::default();
    let long = b"0123456789".repeat(3000);
    for (timestamp, key, value) in [
        (1000, Some(&b"k"[..]), Some(&b"one"[..])),
        (900, None, Some(&long[..])),
        (1100, Some(b""), None),
    ] {
        let headers = vec![(&b"h"[..], None), (&b"h"[..], Some(&b"\xff"[..]))];
        builder.push(&Record { timestamp, key, value, headers });
    }
    builder.seal()
}

#[test]
fn records_come_back_from_every_compression() {
    let plain = Bytes::from(built());
    let want = owned(&plain).expect("valid");
    assert_eq!(
        want.iter().map(|record| (record.0, record.1)).collect::<Vec<_>>(),
        [(0, 1000), (1, 900), (2, 1100)]
    );
    let twice = [(b"h".to_vec(), None), (b"h".to_vec(), Some(b"\xff".to_vec()))];
    assert_eq!(want[0].4, twice, "headers keep their order, and duplicates");
    assert_eq!((want[2].2.as_deref(), want[2].3.as_deref()), (Some(&b""[..]), None));
    for compression in ALL {
        let found = owned(&compressed(&plain, compression));
        assert!(found.as_ref() == Ok(&want), "{compression:?}");
    }
    let body = &plain[HEADER..];
    let streams = [xerial(&body[..9], 9), xerial(&body[9..], 32 << 10)].concat();
    for framed in [xerial(body, 32 << 10), xerial(body, 7), streams] {
        let batch = with_body(&plain, Compression::Snappy, &framed);
        assert!(owned(&batch).as_ref() == Ok(&want));
    }
}

#[test]
fn parts_of_an_uncompressed_batch_are_shared() {
    let batch = Bytes::from(built());
    let found = records(&batch).expect("valid");
    let first = found.iter().next().expect("one").expect("valid");
    let value = found.share(first.value.expect("there"));
    assert_eq!(&value[..], b"one");
    assert!(batch.as_ptr_range().contains(&value.as_ptr()), "no copy");
}

#[test]
fn the_time_of_the_broker_replaces_that_of_the_producer() {
    let mut batch = built();
    crate::batch::place(&mut batch, 70, 1);
    crate::batch::stamp(&mut batch, 5555);
    let found = owned(&batch.into()).expect("valid");
    let found: Vec<_> = found.iter().map(|record| (record.0, record.1)).collect();
    assert_eq!(found, [(70, 5555), (71, 5555), (72, 5555)]);
}

#[test]
fn batches_of_real_clients_are_read() {
    let golden = include_str!("../../../tests/golden/batches.hex");
    let mut plain: Vec<(&str, Vec<Owned>)> = Vec::new();
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let [client, compression, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let bytes = hex.as_bytes().chunks(2);
        let bytes = bytes.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap());
        let batch = Bytes::from_iter(bytes);
        let header = crate::batch::validate(&batch).expect(line);
        assert_eq!(format!("{:?}", header.compression().unwrap()).to_lowercase(), compression);
        let mut found = owned(&batch).expect(line);
        if client == "c" {
            // Recorded one after the other, each at its time.
            assert_eq!((found.len(), found[0].1), (3, header.base_timestamp));
            found.iter_mut().for_each(|record| record.1 = 0);
        } else {
            let offsets: Vec<_> = found.iter().map(|record| (record.0, record.1)).collect();
            assert_eq!(offsets, [(100, 1000), (101, 900), (102, 1100)]);
        }
        match plain.iter().find(|known| known.0 == client) {
            Some((_, want)) => assert_eq!(&found, want, "{client} {compression}"),
            None => plain.push((client, found)),
        }
    }
    assert_eq!(plain.len(), 2);
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let zeros = vec![0; 8 << 20];
    let plain = built();
    for compression in &ALL[1..] {
        let body = deflate(*compression, &zeros);
        let most = (body.len() * 100).max(1 << 20);
        let want = if most < zeros.len() { Some(BatchError::Inflated(most)) } else { None };
        let batch = with_body(&plain, *compression, &body);
        // Snappy cannot reach a ratio of 100.
        assert_eq!(want.is_none(), *compression == Compression::Snappy, "{compression:?}");
        assert_eq!(records(&batch).err(), want, "{compression:?}");
        let limit = 1 << 20;
        let small = records_within(&batch, limit).err();
        assert_eq!(small, Some(BatchError::Inflated(limit)), "{compression:?}");
        let all = records_within(&compressed(&plain, *compression), plain.len() - HEADER);
        assert!(all.is_ok(), "{compression:?}: exactly the limit");
        let less = records_within(&compressed(&plain, *compression), plain.len() - HEADER - 1);
        assert!(less.is_err(), "{compression:?}: one more than the limit");
    }
    let many = xerial(&zeros, 1 << 20);
    let batch = with_body(&plain, Compression::Snappy, &many);
    assert_eq!(records_within(&batch, 5 << 20).err(), Some(BatchError::Inflated(5 << 20)));
    // Raw snappy that claims 4 GiB.
    let batch = with_body(&plain, Compression::Snappy, b"\xff\xff\xff\xff\x0f\x00");
    assert_eq!(records(&batch).err(), Some(BatchError::Inflated(1 << 20)));
}

#[test]
fn damage_is_seen() {
    let plain = built();
    for compression in &ALL[1..] {
        let body = deflate(*compression, &plain[HEADER..]);
        for damaged in [&body[..body.len() / 2], &body[1..], b"", b"\0\0\0\0\0\0\0\0"] {
            let found = owned(&with_body(&plain, *compression, damaged));
            assert!(found.is_err(), "{compression:?} {} bytes", damaged.len());
        }
    }
    let framed = xerial(&plain[HEADER..], 100);
    for len in 0..framed.len() {
        let cut = with_body(&plain, Compression::Snappy, &framed[..len]);
        assert!(owned(&cut).is_err(), "cut at {len}");
    }
    let check = |name: &str, change: &dyn Fn(&mut Vec<u8>), want: BatchError| {
        let mut bytes = built();
        change(&mut bytes);
        assert_eq!(owned(&bytes.into()).err(), Some(want), "{name}");
    };
    let count = |count, last_delta| BatchError::Count { count, last_delta };
    check("more records than offsets", &|b| b[60] = 4, count(4, 2));
    check("negative count", &|b| b[57] = 0x80, count(i32::MIN + 3, 2));
    check("records behind the last", &|b| b[60] = 2, BatchError::Record(2));
    check("an offset twice", &|b| b[64] = 2, BatchError::Record(1));
    check("an offset above the last", &|b| b[64] = 6, BatchError::Record(0));
    check("a length too large", &|b| b[61] += 2, BatchError::Record(0));
    check("a key too long", &|b| b[65] = 0x7e, BatchError::Record(0));
    check("unknown compression", &|b| b[22] = 7, BatchError::Compression(7));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), code in 0..5_usize,
        head in any::<bool>(), count in 0..5_i32,
    ) {
        let mut plain = built();
        if !head {
            plain[..8].fill(0x7f);
            plain[27..43].fill(0x7f);
        }
        plain[57..61].copy_from_slice(&count.to_be_bytes());
        let _ = owned(&with_body(&plain, ALL[code], &bytes));
        let inside = deflate(ALL[code], &bytes);
        let _ = owned(&with_body(&plain, ALL[code], &inside));
        let framed = xerial(&bytes, 9);
        let _ = owned(&with_body(&plain, Compression::Snappy, &framed));
    }

    #[test]
    fn one_changed_byte_never_panics(
        code in 0..5_usize, at: prop::sample::Index, to: u8,
    ) {
        let mut batch = compressed(&built(), ALL[code]).to_vec();
        let at = at.index(batch.len());
        batch[at] = to;
        let _ = owned(&batch.into());
    }
}
