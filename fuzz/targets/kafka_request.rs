//! Any Kafka request: decoding never panics and takes bounded memory, and what decodes survives a
//! round trip. Input: API key, version, body. A key above 127 makes the rest a frame with its
//! own header.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use sabir_fuzz::within_budget;
use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{Reader, RequestHeader, Writer};
use sabir_kafka::generated::message::Request;

fuzz_target!(|data: &[u8]| -> Corpus {
    let [key, version, body @ ..] = data else { return Corpus::Reject };
    if *key > 127 {
        frame(body);
        return Corpus::Keep;
    }
    let Some(key) = ApiKey::from_number(i16::from(*key)) else { return Corpus::Reject };
    check(key, i16::from(*version), body);
    Corpus::Keep
});

/// Header and body, as a connection reads them.
fn frame(frame: &[u8]) {
    let Ok((key, version, correlation_id)) = RequestHeader::peek(frame) else { return };
    let Some(key) = ApiKey::from_number(key) else { return };
    let mut reader = Reader::new(frame);
    let header_version = key.request_header_version(version);
    let header = within_budget(frame, || RequestHeader::read(&mut reader, header_version));
    let Ok(header) = header else { return };
    assert_eq!(header.correlation_id, correlation_id);
    let mut writer = Writer::new();
    header.write(&mut writer, header_version);
    let again = writer.finish().expect("a header that was read can be written").concat();
    let read_again = RequestHeader::read(&mut Reader::new(&again), header_version);
    assert_eq!(read_again, Ok(header));
    check(key, version, reader.rest());
}

fn check(key: ApiKey, version: i16, body: &[u8]) {
    let decode = |body| Request::decode(key, &mut Reader::new(body), version);
    // It outlives the message, which is compared with what borrows from it.
    let again: Vec<u8>;
    let Ok(message) = within_budget(body, || decode(body)) else { return };
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    again = writer.finish().expect("what was decoded can be encoded").concat();
    assert_eq!(decode(&again), Ok(message));
}
