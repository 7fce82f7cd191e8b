//! Tests of frames, headers, chunks, and what cannot be written.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::generated::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::generated::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use crate::generated::list_groups::ListGroupsRequest;
use crate::generated::metadata::MetadataRequest;

#[test]
fn headers_of_each_version_are_as_kafka_writes_them() {
    let header =
        RequestHeader { api_key: 18, api_version: 3, correlation_id: 7, client_id: Some("cli") };
    let v0 = b"\0\x12\0\x03\0\0\0\x07".to_vec();
    let v1 = [&v0[..], b"\0\x03cli"].concat();
    let v2 = [&v1[..], b"\0"].concat();
    for (version, bytes) in [(0, v0), (1, v1), (2, v2)] {
        let mut writer = Writer::new();
        header.write(&mut writer, version);
        assert_eq!(writer.finish().expect("a header can be written").concat(), bytes);
        let mut reader = Reader::new(&bytes);
        let client_id = header.client_id.filter(|_| version > 0);
        let read = RequestHeader::read(&mut reader, version);
        assert_eq!(read, Ok(RequestHeader { client_id, ..header }), "v{version}");
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(RequestHeader::peek(&bytes), Ok((18, 3, 7)));
    }
    let mut reader = Reader::new(b"\0\x12\0\x03\0\0\0\x07\xff\xff\x01\x05\x02ab!");
    let read = RequestHeader::read(&mut reader, 2);
    assert_eq!(read, Ok(RequestHeader { client_id: None, ..header }));
    assert_eq!(reader.rest(), b"!");
    assert_eq!(RequestHeader::peek(b"\0\x12\0"), Err(DecodeError::Truncated));
}

#[test]
fn header_versions_follow_the_api_and_its_version() {
    for (key, version, request, response) in [
        (ApiKey::Produce, 8, 1, 0),
        (ApiKey::Produce, 9, 2, 1),
        (ApiKey::ApiVersions, 2, 1, 0),
        (ApiKey::ApiVersions, 3, 2, 0),
        (ApiKey::ApiVersions, 99, 2, 0),
        (ApiKey::DescribeCluster, 0, 2, 1),
    ] {
        assert_eq!(key.request_header_version(version), request, "{} v{version}", key.name());
        assert_eq!(key.response_header_version(version), response, "{} v{version}", key.name());
    }
}

#[test]
fn api_keys_and_numbers_agree() {
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::from_number(key.number()), Some(key));
    }
    assert_eq!(ApiKey::from_number(4), None);
    assert_eq!(ApiKey::from_number(-1), None);
}

#[test]
fn a_frame_begins_with_the_length_of_the_rest() {
    let response = ApiVersionsResponse { error_code: 35, ..Default::default() };
    let frame = frame_response(258, 0, &response).expect("it can be written").concat();
    assert_eq!(frame, b"\0\0\0\x0a\0\0\x01\x02\0\x23\0\0\0\0");
    let request = ListGroupsRequest::default();
    let frame = frame_request(1, Some("me"), 3, &request).expect("it can be written").concat();
    assert_eq!(frame, b"\0\0\0\x0e\0\x10\0\x03\0\0\0\x01\0\x02me\0\0");
}

/// A fetch response of one partition with these records.
fn fetched(records: Records<'_>) -> FetchResponse<'_> {
    let partitions = [PartitionData { records: Some(records), ..Default::default() }].into();
    let topic = FetchableTopicResponse { topic: "t", partitions, ..Default::default() };
    FetchResponse { responses: [topic].into(), ..Default::default() }
}

#[test]
fn records_become_chunks_of_their_own_and_are_not_copied() {
    let (large, small) = (Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 16]));
    let pieces = vec![large.clone(), small, large.clone()];
    for version in [4, 12, 18] {
        let frame = frame_response(1, version, &fetched(pieces.clone().into()));
        let frame = frame.expect("it can be written");
        let shared = frame.iter().filter(|chunk| chunk.as_ptr() == large.as_ptr()).count();
        assert_eq!(shared, 2, "v{version}");
        let bytes = frame.concat();
        let (length, rest) = bytes.split_at(4);
        assert_eq!(length, u32::try_from(rest.len()).expect("short").to_be_bytes());
        let mut reader = Reader::new(rest);
        let header = ApiKey::Fetch.response_header_version(version);
        ResponseHeader::read(&mut reader, header).expect("a header");
        let decoded = FetchResponse::decode(&mut reader, version).expect("a response");
        let records = decoded.responses[0].partitions[0].records.as_ref().expect("records");
        assert_eq!(records.to_bytes(), pieces.concat(), "v{version}");
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn a_writer_can_begin_with_records() {
    let large = Bytes::from(vec![7; 1000]);
    let mut writer = Writer::new();
    writer.records(false, &Records::One(large.clone()));
    writer.records(true, &Records::Many(vec![large.clone(), large.clone()]));
    assert_eq!(writer.len(), 3006);
    let chunks = writer.finish().expect("it can be written");
    assert!(chunks.iter().all(|chunk| !chunk.is_empty()));
    assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [4, 1000, 2, 1000, 1000]);
}

#[test]
fn one_buffer_serves_many_frames() {
    let mut buffer = BytesMut::with_capacity(64);
    let start = buffer.as_ptr();
    for correlation_id in 0..10 {
        let response = ApiVersionsResponse::default();
        let splices = frame_response_into(&mut buffer, correlation_id, 0, &response);
        assert!(splices.expect("it can be written").is_empty());
        assert_eq!((buffer.len(), buffer.as_ptr()), (14, start));
    }
}

#[test]
fn what_a_version_cannot_say_is_an_error_and_puts_nothing() {
    let all_topics = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(frame_request(1, None, 0, &all_topics), Err(EncodeError::NullNotAllowed));
    assert!(frame_request(1, None, 1, &all_topics).is_ok());

    let long = "x".repeat(40_000);
    let request = ApiVersionsRequest { client_software_name: &long, ..Default::default() };
    assert!(frame_request(1, None, 3, &request).is_ok(), "compact lengths have no such limit");
    assert_eq!(frame_request(1, Some(&long), 3, &request), Err(EncodeError::TooLong));

    let mut buffer = BytesMut::new();
    let response = ApiVersionsResponse::default();
    let refused = frame_response_into(&mut buffer, 1, 9, &response);
    assert_eq!(refused, Err(EncodeError::UnsupportedVersion));
    assert!(buffer.is_empty());
}

#[test]
fn variable_length_integers_end_where_they_say() {
    for (value, bytes) in [
        (0, &[0_u8][..]),
        (127, &[0x7f]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xff, 0x7f]),
        (16_384, &[0x80, 0x80, 0x01]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let mut writer = Writer::new();
        writer.uvarint(value);
        assert_eq!(writer.finish().expect("it can be written").concat(), bytes);
        assert_eq!(Reader::new(bytes).uvarint(), Ok(value));
    }
}

#[test]
fn a_long_tagged_field_gets_its_length_before_it() {
    let mut writer = Writer::new();
    writer.tag(3, |writer| writer.bytes(true, &[9; 200]));
    let bytes = writer.finish().expect("it can be written").concat();
    let expected = [&[3, 0xca, 0x01, 0xc9, 0x01][..], &[9; 200]].concat();
    assert_eq!(bytes, expected);
}
