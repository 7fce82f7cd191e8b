//! Bytes that no client should send: an error, never a panic, and what decodes is consistent.

use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{DecodeError, Reader, decode_body};
use sabir_kafka::generated::fetch::FetchRequest;
use sabir_kafka::generated::message::Request;
use sabir_kafka::generated::metadata::MetadataRequest;
use sabir_kafka::generated::produce::ProduceRequest;

use crate::golden::{self, Either};

#[test]
fn a_message_cut_short_is_an_error() {
    for golden in golden::all() {
        for end in 0..golden.bytes.len() {
            let decoded = Either::decode(&golden, &golden.bytes[..end]);
            assert!(decoded.is_err(), "{} cut at {end}", golden.name());
        }
    }
}

#[test]
fn bytes_after_a_message_are_an_error() {
    for golden in golden::all() {
        let mut bytes = golden.bytes.clone();
        bytes.push(0);
        let decoded = Either::decode(&golden, &bytes);
        assert_eq!(decoded, Err(DecodeError::TrailingBytes), "{}", golden.name());
    }
}

#[test]
fn a_wrong_byte_gives_an_error_or_a_message_that_survives_a_round_trip() {
    for golden in golden::all() {
        let mut bytes = golden.bytes.clone();
        for place in 0..bytes.len() {
            let right = bytes[place];
            for wrong in [0x00, 0x7f, 0xff, right.wrapping_add(1)] {
                bytes[place] = wrong;
                let again;
                if let Ok(message) = Either::decode(&golden, &bytes) {
                    again = message.encode(golden.version);
                    let name = golden.name();
                    assert_eq!(Either::decode(&golden, &again), Ok(message), "{name} at {place}");
                }
            }
            bytes[place] = right;
        }
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let mut tried = 0;
    for golden in golden::all() {
        // A sparse message of a flexible version ends in the count of its tagged fields, zero.
        if golden.is_full || !golden.key.is_flexible(golden.version) {
            continue;
        }
        let mut bytes = golden.bytes.clone();
        let plain = Either::decode(&golden, &golden.bytes).expect("golden");
        assert_eq!(bytes.pop(), Some(0), "{}", golden.name());
        bytes.extend([2, 99, 3, b'a', b'b', b'c', 0xe8, 0x07, 0]);
        assert_eq!(Either::decode(&golden, &bytes), Ok(plain), "{}", golden.name());
        tried += 1;
    }
    assert!(tried > 100, "only {tried} messages tried");
}

#[test]
fn a_known_tag_of_a_later_version_is_skipped() {
    // Tag 1 (replica state) exists from Fetch v15; before, its content is not even looked at.
    let mut bytes = Either::Request(Request::Fetch(FetchRequest::default())).encode(12);
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend([1, 1, 1, 0xff]);
    assert_eq!(decode_body(&bytes, 12), Ok(FetchRequest::default()));
}

/// Decodes as a request of `key` and expects `error`.
fn check(key: ApiKey, version: i16, bytes: &[u8], error: DecodeError) {
    let decoded = Request::decode(key, &mut Reader::new(bytes), version);
    let start = &bytes[..bytes.len().min(32)];
    assert_eq!(decoded, Err(error), "{} v{version} {start:02x?}", key.name());
}

#[test]
fn false_lengths_are_errors() {
    use ApiKey::{Fetch, Metadata, Produce};
    use DecodeError::{
        LongArray, LongTag, LongVarint, NegativeLength, NotUtf8, OverBudget, Truncated,
    };

    // Arrays of 2^31 - 1, with a classic and a compact length.
    check(Metadata, 1, &[0x7f, 0xff, 0xff, 0xff], LongArray);
    check(Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x07], LongArray);
    check(Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f], LongArray);
    check(Produce, 0, &[0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff], LongArray);
    // One element more than the bytes left can hold.
    check(Metadata, 0, &[0, 0, 0, 2, 0, 0, 0], LongArray);
    check(Metadata, 0, &[0, 0, 0, 2, 0, 1, 0, 0], Truncated);
    // Null or negative where there is no null.
    check(Metadata, 0, &[0xff, 0xff, 0xff, 0xff], NegativeLength);
    check(Metadata, 1, &[0xff, 0xff, 0xff, 0xfe], NegativeLength);
    check(Metadata, 1, &[0, 0, 0, 1, 0xff, 0xff], NegativeLength);
    check(Metadata, 9, &[2, 0, 0], NegativeLength);
    // Text that is none, varints of more than 32 bits, tagged fields that lie about their length.
    check(Metadata, 1, &[0, 0, 0, 1, 0, 2, 0xc3, 0x28], NotUtf8);
    check(Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x1f], LongVarint);
    check(Metadata, 9, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], LongVarint);
    check(Metadata, 9, &[1, 0, 0, 0, 1, 7, 5, 0], Truncated);
    let fetch = Either::Request(Request::Fetch(FetchRequest::default())).encode(12);
    let tags = |tags: &[u8]| [&fetch[..fetch.len() - 1], tags].concat();
    check(Fetch, 12, &tags(&[1, 0, 3, 2, b'a', b'b']), LongTag);
    check(Fetch, 12, &tags(&[1, 0, 1, 2, b'a']), Truncated);
    // Empty structs of 3 bytes that would take 40 and more bytes of memory each.
    let count = 100_000_u32;
    let mut bytes = vec![0, 0, 1, 0, 0, 0, 0];
    bytes.extend([0xa1, 0x8d, 0x06]);
    bytes.extend([1, 1, 0].repeat(count as usize));
    check(Produce, 9, &bytes, OverBudget);
}

#[test]
fn requests_of_ordinary_shape_are_within_the_memory_budget() {
    // Many short topic names, the densest request that a client sends: 8 bytes each on the wire.
    let names: Vec<String> = (0..100_000).map(|number| format!("t{number:05}")).collect();
    let topics = names.iter().map(|name| (name.as_str(), vec![(0, &b""[..])]));
    let metadata = MetadataRequest {
        topics: Some(
            topics
                .clone()
                .map(|(name, _)| sabir_kafka::generated::metadata::MetadataRequestTopic {
                    name: Some(name),
                    ..Default::default()
                })
                .collect(),
        ),
        ..Default::default()
    };
    let bytes = Either::Request(Request::Metadata(metadata.clone())).encode(1);
    assert_eq!(decode_body(&bytes, 1), Ok(metadata));

    use sabir_kafka::generated::produce::{PartitionProduceData, TopicProduceData};
    let produce = || ProduceRequest {
        topic_data: topics
            .clone()
            .map(|(name, partitions)| TopicProduceData {
                name,
                partition_data: partitions
                    .into_iter()
                    .map(|(index, records)| PartitionProduceData { index, records: Some(records) })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let bytes = Either::Request(Request::Produce(produce())).encode(9);
    assert_eq!(decode_body(&bytes, 9), Ok(produce()));
}
