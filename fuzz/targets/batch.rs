//! Any record batch: checking it and walking its records never panics, and takes no more memory
//! than the bound on what it may inflate to. Input: how the rest is used, then a whole batch, or
//! the records of one in their compressed form, or before they are compressed.

#![no_main]

use std::io::Write;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sabir_fuzz::peak_bytes;
use sabir_storage::batch::records::records;
use sabir_storage::batch::{HEADER, PREFIX, checksum, split, validate};

/// Bytes that decoders take beside what comes out of them: two blocks of 4 MiB and more of lz4.
const DECODERS: usize = 20 << 20;

fuzz_target!(|data: &[u8]| {
    let [how, count, body @ ..] = data else { return };
    match how >> 4 {
        0 => check(&Bytes::copy_from_slice(body)),
        1..8 => check(&batch(how & 7, *count, body)),
        _ => {
            let inside = deflate(how & 15, body);
            check(&batch([0, 1, 2, 2, 3, 4][usize::from(how & 15) % 6], *count, &inside));
        }
    }
});

/// A batch around these records, with a header that fits.
fn batch(codec: u8, count: u8, body: &[u8]) -> Bytes {
    let mut batch = [&[0; HEADER], body].concat();
    let counted = (batch.len() - PREFIX) as i32;
    batch[8..12].copy_from_slice(&counted.to_be_bytes());
    (batch[16], batch[22], batch[26], batch[60]) = (2, codec, count.wrapping_sub(1), count);
    let crc = checksum(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn deflate(codec: u8, bytes: &[u8]) -> Vec<u8> {
    let raw = |block: &[u8]| snap::raw::Encoder::new().compress_vec(block).expect("small");
    match codec % 6 {
        0 => bytes.to_vec(),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(bytes).expect("to memory");
            encoder.finish().expect("to memory")
        }
        2 => raw(bytes),
        3 => {
            let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in bytes.chunks(64) {
                let block = raw(block);
                out.extend_from_slice(&(block.len() as u32).to_be_bytes());
                out.extend_from_slice(&block);
            }
            out
        }
        4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).expect("to memory");
            encoder.finish().expect("to memory")
        }
        _ => zstd::stream::encode_all(bytes, 1).expect("to memory"),
    }
}

fn check(bytes: &Bytes) {
    let _ = validate(bytes);
    let most = (100 * bytes.len()).max(1 << 20);
    let ((), peak) = peak_bytes(|| walk(bytes));
    assert!(peak <= 3 * most + DECODERS, "{peak} bytes for an input of {}", bytes.len());
    for part in split(bytes) {
        let _ = part;
    }
}

fn walk(bytes: &Bytes) {
    let Ok(records) = records(bytes) else { return };
    let header = *records.header();
    let (mut next, mut found) = (header.base_offset, 0);
    for record in &records {
        let Ok(record) = record else { return };
        assert!(record.offset >= next, "offsets rise");
        assert!(record.offset - header.base_offset <= i64::from(header.last_delta));
        assert_eq!(record.headers.iter().count(), record.headers.len());
        records.share(record.value.unwrap_or_default());
        next = record.offset.saturating_add(1);
        found += 1;
    }
    assert_eq!(found, header.count, "all of them");
}
