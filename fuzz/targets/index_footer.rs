//! Any index, page of extents, bundle or segment: decoding never panics and takes bounded memory,
//! what decodes survives a round trip, and damage is named, never served. Input: which of them,
//! then its bytes; checksums are mended, as by somebody who knows how.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sabir_fuzz::within_budget;
use sabir_storage::blob::mem::MemBlobs;
use sabir_storage::blob::{BlobId, BlobStore};
use sabir_storage::crc::crc32c;
use sabir_storage::extent::{decode_page, encode_page};
use sabir_storage::index::StretchIndex;
use sabir_storage::stretch::{find_timestamp, read_footer, read_index, read_stretch, verify};

const ENTRY: usize = 52;
const TRAILER: usize = 40;

fuzz_target!(|data: &[u8]| {
    let [how, data @ ..] = data else { return };
    match how % 6 {
        0 => index(data),
        1 => index(&sealed(data)),
        2 => {
            if let Some((log, extents)) = within_budget(data, || decode_page(data)) {
                assert_eq!(encode_page(log, &extents), data);
            }
        }
        3 => blob(BlobId::Bundle { shard: 0, number: 1 }, &[], data),
        4 => bundle(data, usize::from(how >> 4) % 4),
        _ => {
            let Some(([cut], data)) = data.split_first_chunk() else { return };
            let (index, log) = data.split_at(data.len().min(usize::from(*cut)));
            blob(BlobId::segment(0, 7, 0, 100), &sealed(index), log);
        }
    }
});

/// With the checksum that an index ends with.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32c(&[bytes]).to_be_bytes()].concat()
}

fn index(bytes: &[u8]) {
    let Some(index) = within_budget(bytes, || StretchIndex::decode(bytes)) else { return };
    assert_eq!(index.encode(), bytes);
    for number in 0..index.regions() {
        let region = index.region(number);
        assert!(region.start < region.end && region.end <= index.len);
    }
    for at in [0, index.base, index.next, u64::MAX] {
        assert!(index.region_of(at) < index.regions());
        assert!(index.region_of_timestamp(at.cast_signed()).is_none_or(|n| n < index.regions()));
    }
}

/// A bundle whose footer has so many entries, all of them from the input.
fn bundle(data: &[u8], count: usize) {
    let Some(at) = data.len().checked_sub(count * ENTRY) else { return };
    let mut bundle = data.to_vec();
    bundle.extend_from_slice(b"SbBundle\0\x01\0\0");
    bundle.extend_from_slice(&(count as u32).to_be_bytes());
    bundle.extend_from_slice(&1_u64.to_be_bytes());
    bundle.extend_from_slice(&(at as u64).to_be_bytes());
    bundle.extend_from_slice(&crc32c(&[&data[at..]]).to_be_bytes());
    let trailer = bundle.len() - (TRAILER - 4);
    let crc = crc32c(&[&bundle[trailer..]]);
    bundle.extend_from_slice(&crc.to_be_bytes());
    blob(BlobId::Bundle { shard: 0, number: 1 }, &[], &bundle);
}

/// Reads a blob in every way; `ix` is the index of a segment.
fn blob(id: BlobId, ix: &[u8], content: &[u8]) {
    let blobs = MemBlobs::default();
    blobs.put_new(id, &[Bytes::copy_from_slice(content)]).expect("into memory");
    if let Some(index) = id.index() {
        blobs.put_new(index, &[Bytes::copy_from_slice(ix)]).expect("into memory");
    }
    let whole = verify(&blobs, id);
    let Ok(extents) = read_footer(&blobs, id) else {
        assert!(whole.is_err());
        return;
    };
    for extent in &extents {
        let Ok(index) = read_index(&blobs, extent) else {
            assert!(whole.is_err(), "a wrong index was not noticed");
            continue;
        };
        let found = find_timestamp(&blobs, extent, &index, extent.max_timestamp);
        assert!(found.is_ok() || whole.is_err());
        let read = read_stretch(&blobs, extent, &index, extent.base, u64::MAX);
        assert!(read.is_ok() || whole.is_err());
    }
}
