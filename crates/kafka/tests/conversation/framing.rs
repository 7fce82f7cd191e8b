//! Frames: order, limits, and what ends a connection.

use std::time::Duration;

use sabir_kafka::Settings;
use sabir_kafka::api::ApiKey;
use sabir_kafka::generated::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use sabir_kafka::generated::produce::ProduceResponse;

use crate::batches::{batch, fetch, part, produce};
use crate::house::House;

const VERSIONS: ApiVersionsRequest<'_> =
    ApiVersionsRequest { client_software_name: "talk", client_software_version: "1.0" };

/// The front of a request: length, key, version, correlation id.
fn front(len: i32, key: i16, version: i16) -> Vec<u8> {
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend_from_slice(&key.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1]);
    bytes
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let mut talk = house.talk();
    let records = batch(&["v"]);
    for _ in 0..20 {
        talk.say(9, &produce("t", id, 0, -1, &records));
        talk.say(4, &VERSIONS);
    }
    for want in 0..20 {
        let heard = talk.hear();
        let response: ProduceResponse<'_> = heard.read();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, want);
        let heard = talk.hear();
        assert!(!heard.read::<ApiVersionsResponse<'_>>().api_keys.is_empty());
    }
}

#[test]
fn nothing_is_read_behind_a_long_poll() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let mut talk = house.talk();
    let mut poll = fetch("t", id, vec![part(0, 0)]);
    poll.max_wait_ms = 500;
    talk.say(12, &poll).say(4, &VERSIONS);
    assert!(!talk.has_answer());
    talk.pass(Duration::from_millis(501));
    talk.hear();
    let heard = talk.hear();
    assert!(!heard.read::<ApiVersionsResponse<'_>>().api_keys.is_empty());
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let house = House::new();
    let mut talk = house.talk();
    let chunks = sabir_kafka::codec::frame_request(1, None, 4, &VERSIONS).expect("valid");
    let frame = chunks.concat();
    for byte in &frame[..frame.len() - 1] {
        talk.say_bytes(&[*byte]);
        assert!(!talk.has_answer());
    }
    talk.raw(ApiKey::ApiVersions, 4, &frame[frame.len() - 1..]);
    talk.hear();
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let house = House::with(Settings { request_bytes_max: 1000, ..Settings::default() });
    let check = |bytes: &[u8], why: &str| {
        let mut talk = house.talk();
        talk.say_bytes(bytes);
        let reason = talk.end();
        assert!(reason.contains(why), "{bytes:?}: {reason}");
    };
    check(&front(1001, 18, 0), "1001 bytes");
    check(&front(-1, 18, 0), "-1 bytes");
    check(&front(i32::MAX, 18, 0), "bytes");
    // A key or version that is not served is known before the rest of the frame has come.
    check(&front(900, 4, 0), "key 4 is not served");
    check(&front(900, -1, 0), "key -1 is not served");
    check(&front(900, 3, 14), "Metadata version 14 is not served");
    check(&front(900, 3, -1), "Metadata version -1 is not served");
    check(&front(900, 1, 3), "Fetch version 3 is not served");
    check(b"GET / HTTP/1.1\r\n\r\n", "bytes");
    let mut cut = front(9, 3, 1);
    cut.push(0);
    check(&cut, "bad request");
    let mut body = front(10, 3, 1);
    body.extend_from_slice(&[0xff, 0xff]);
    check(&body, "bad Metadata request");
}

#[test]
fn silent_and_slow_clients_are_closed() {
    let settings = Settings::default();
    let house = House::new();
    let mut talk = house.talk();
    talk.pass(settings.first_byte + Duration::from_millis(1));
    assert!(!talk.is_open(), "a client that never said anything");

    let mut talk = house.talk();
    talk.say_bytes(&[0]);
    talk.pass(settings.frame - Duration::from_secs(1));
    talk.say_bytes(&[0]);
    assert!(talk.is_open());
    talk.pass(Duration::from_secs(2));
    assert!(!talk.is_open(), "a frame that drips in");

    let mut talk = house.talk();
    talk.ask(4, &VERSIONS);
    talk.pass(settings.idle - Duration::from_secs(1));
    assert!(talk.is_open());
    talk.pass(Duration::from_secs(2));
    assert!(!talk.is_open(), "an idle client");
}
