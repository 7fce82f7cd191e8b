//! Any Kafka response: decoding never panics and takes bounded memory, and what decodes survives a
//! round trip. Input: API key, version, body.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use sabir_fuzz::within_budget;
use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{Reader, Writer};
use sabir_kafka::generated::message::Response;

fuzz_target!(|data: &[u8]| -> Corpus {
    let [key, version, body @ ..] = data else { return Corpus::Reject };
    let Some(key) = ApiKey::from_number(i16::from(*key)) else { return Corpus::Reject };
    let version = i16::from(*version);
    let decode = |body| Response::decode(key, &mut Reader::new(body), version);
    // It outlives the message, which is compared with what borrows from it.
    let again: Vec<u8>;
    let Ok(message) = within_budget(body, || decode(body)) else { return Corpus::Keep };
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    again = writer.finish().expect("what was decoded can be encoded").concat();
    assert_eq!(decode(&again), Ok(message));
    Corpus::Keep
});
