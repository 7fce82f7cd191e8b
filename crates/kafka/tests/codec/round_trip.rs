//! What is encoded decodes to the same, and encodes to the same bytes again.

use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{DecodeError, EncodeError, Reader, Writer};
use sabir_kafka::generated::message::{Request, Response};

use crate::fill;
use crate::filler::Filler;

/// Random values per API and version.
const SEEDS: u64 = 60;

/// All APIs, their versions, and fillers from full to sparse.
fn for_each(mut test: impl FnMut(ApiKey, i16, Filler)) {
    for key in ApiKey::ALL {
        for version in key.info().version_min..=key.info().version_max {
            for seed in 0..SEEDS {
                test(key, version, Filler::new(seed, seed < 5));
            }
        }
    }
}

fn finish(writer: Writer) -> Vec<u8> {
    writer.finish().expect("a filled message can be written").concat()
}

#[test]
fn requests_survive_a_round_trip() {
    for_each(|key, version, mut filler| {
        let encode = |request: &Request<'_>| {
            let mut writer = Writer::new();
            request.encode(&mut writer, version);
            finish(writer)
        };
        let bytes = encode(&fill::request(&mut filler.clone(), key, version));
        let request = fill::request(&mut filler, key, version);
        let mut reader = Reader::new(&bytes);
        let decoded = Request::decode(key, &mut reader, version);
        assert_eq!(decoded.as_ref(), Ok(&request), "{} v{version}", key.name());
        assert_eq!(reader.finish(), Ok(()), "{} v{version}", key.name());
        assert_eq!(encode(&decoded.expect("seen above")), bytes, "{} v{version}", key.name());
    });
}

#[test]
fn responses_survive_a_round_trip() {
    for_each(|key, version, mut filler| {
        let encode = |response: &Response<'_>| {
            let mut writer = Writer::new();
            response.encode(&mut writer, version);
            finish(writer)
        };
        let bytes = encode(&fill::response(&mut filler.clone(), key, version));
        let response = fill::response(&mut filler, key, version);
        let mut reader = Reader::new(&bytes);
        let decoded = Response::decode(key, &mut reader, version);
        assert_eq!(decoded.as_ref(), Ok(&response), "{} v{version}", key.name());
        assert_eq!(reader.finish(), Ok(()), "{} v{version}", key.name());
        assert_eq!(encode(&decoded.expect("seen above")), bytes, "{} v{version}", key.name());
    });
}

#[test]
fn versions_beyond_the_served_range_are_refused() {
    for key in ApiKey::ALL {
        for version in [key.info().version_min - 1, key.info().version_max + 1] {
            let decoded = Request::decode(key, &mut Reader::new(&[0; 64]), version);
            assert_eq!(decoded, Err(DecodeError::UnsupportedVersion), "{} v{version}", key.name());
            let served = key.info().version_max;
            let response = fill::response(&mut Filler::new(1, false), key, served);
            let mut writer = Writer::new();
            response.encode(&mut writer, version);
            assert_eq!(writer.finish(), Err(EncodeError::UnsupportedVersion), "{}", key.name());
        }
    }
}
