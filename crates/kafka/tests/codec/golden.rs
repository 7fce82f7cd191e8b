//! Bytes that Kafka's own serializer wrote: they decode, and encode to the same bytes.

use std::path::Path;

use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{DecodeError, Reader, Writer};
use sabir_kafka::generated::message::{Request, Response};

/// A recorded message.
pub struct Golden {
    pub key: ApiKey,
    pub version: i16,
    pub is_request: bool,
    /// Without nulls and empty values, and with every tagged field.
    pub is_full: bool,
    pub bytes: Vec<u8>,
}

impl Golden {
    pub fn name(&self) -> String {
        let side = if self.is_request { "request" } else { "response" };
        let fill = if self.is_full { "full" } else { "sparse" };
        format!("{} {side} v{} {fill}", self.key.name(), self.version)
    }
}

/// A request or a response.
#[derive(Debug, Clone, PartialEq)]
pub enum Either<'a> {
    Request(Request<'a>),
    Response(Response<'a>),
}

impl<'a> Either<'a> {
    /// Decodes `bytes` as a whole body of the same kind as `golden`.
    pub fn decode(golden: &Golden, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = if golden.is_request {
            Self::Request(Request::decode(golden.key, &mut reader, golden.version)?)
        } else {
            Self::Response(Response::decode(golden.key, &mut reader, golden.version)?)
        };
        reader.finish()?;
        Ok(message)
    }

    pub fn encode(&self, version: i16) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Request(request) => request.encode(&mut writer, version),
            Self::Response(response) => response.encode(&mut writer, version),
        }
        writer.finish().expect("what was decoded can be encoded").concat()
    }
}

/// All recorded messages.
pub fn all() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = Vec::new();
    for key in ApiKey::ALL {
        let path = folder.join(format!("{}.hex", module(key.name())));
        let text = std::fs::read_to_string(&path).expect("each API has golden bytes");
        for line in text.lines() {
            let [side, version, fill, hex] =
                line.split(' ').collect::<Vec<_>>().try_into().expect("four words");
            all.push(Golden {
                key,
                version: version.parse().expect("a version"),
                is_request: side == "request",
                is_full: fill == "full",
                bytes: unhex(hex),
            });
        }
    }
    all
}

/// `FetchTopic` → `fetch_topic`.
fn module(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
    hex.as_bytes().chunks(2).map(|pair| digits(pair).expect("hexadecimal")).collect()
}

#[test]
fn golden_bytes_decode_and_encode_to_themselves() {
    for golden in all() {
        let message = Either::decode(&golden, &golden.bytes);
        let message = message.unwrap_or_else(|error| panic!("{}: {error}", golden.name()));
        assert_eq!(message.encode(golden.version), golden.bytes, "{}", golden.name());
    }
}

#[test]
fn every_version_has_golden_bytes() {
    let all = all();
    for key in ApiKey::ALL {
        for version in key.info().version_min..=key.info().version_max {
            let here = all.iter().filter(|golden| golden.key == key && golden.version == version);
            assert_eq!(here.count(), 4, "{} v{version}", key.name());
        }
    }
}
