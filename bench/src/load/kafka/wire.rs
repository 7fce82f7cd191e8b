//! Kafka's requests and answers as fields: lengths, numbers and strings in network order, in the
//! layouts from before flexible versions. No meaning of any field is known here.

use anyhow::{Context, Result, bail};

/// An API and the one version of it that the generator speaks.
#[derive(Clone, Copy)]
pub struct Api {
    pub name: &'static str,
    pub key: i16,
    pub version: i16,
}

/// Bytes before the body of an answer: its length and the number of its request.
pub const ANSWER_HEAD_BYTES: usize = 8;
/// An answer that claims to be longer is taken for a server that speaks something else.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A request under construction.
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts with a header of version 1; the length is set by `finish`.
    pub fn new(api: Api) -> Self {
        let empty = Self { bytes: vec![0; 4] };
        empty.i16(api.key).i16(api.version).i32(0).string("sabir-bench")
    }

    pub fn i8(self, value: i8) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn i16(self, value: i16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn i32(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn string(self, text: &str) -> Self {
        let len = i16::try_from(text.len()).expect("names are checked to be short");
        self.i16(len).raw(text.as_bytes())
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The request with its length in front, which counts `behind` bytes that the caller sends
    /// after it.
    pub fn finish(mut self, behind: usize) -> Vec<u8> {
        let len = i32::try_from(self.bytes.len() - 4 + behind).expect("requests are below 2 GiB");
        self.bytes[..4].copy_from_slice(&len.to_be_bytes());
        self.bytes
    }
}

/// Takes fields off the front of an answer.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(len).context("an answer is cut short")?;
        self.rest = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("just that many were taken"))
    }

    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// The number of elements or bytes that follow; null counts as none.
    pub fn len(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    /// A string as it stands there; null counts as empty.
    pub fn string(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.i16()?).unwrap_or(0);
        self.bytes(len)
    }

    /// A zigzag number of the record format.
    pub fn varint(&mut self) -> Result<i64> {
        let mut zigzag = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.array::<1>()?[0];
            zigzag |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        bail!("a record holds a number of more than ten bytes")
    }
}

/// Appends a zigzag number of the record format.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7F) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// The length of the answer at the front of `input`, without the four bytes that say so.
///
/// # Errors
/// A length that no answer has.
pub fn answer_len(input: [u8; 4]) -> Result<usize> {
    let len = i32::from_be_bytes(input);
    match usize::try_from(len) {
        Ok(len) if (4..=ANSWER_BYTES_MAX).contains(&len) => Ok(len),
        _ => bail!("an answer of {len} bytes: is this a Kafka server?"),
    }
}

/// Fails where the server reports an error, by its number and, for the likely ones, its name.
pub fn check(code: i16, what: &str) -> Result<()> {
    let name = match code {
        0 => return Ok(()),
        1 => "OFFSET_OUT_OF_RANGE",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        35 => "UNSUPPORTED_VERSION",
        42 => "INVALID_REQUEST",
        56 => "KAFKA_STORAGE_ERROR",
        89 => "THROTTLING_QUOTA_EXCEEDED",
        _ => "see the protocol's list of errors",
    };
    bail!("{what}: the server answers error {code}, {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_fields_behind_its_length() {
        let api = Api { name: "Metadata", key: 3, version: 4 };
        let bytes = Request::new(api).i32(1).string("t").i8(1).finish(0);
        let mut expected = vec![0, 0, 0, 29, 0, 3, 0, 4, 0, 0, 0, 0, 0, 11];
        expected.extend_from_slice(b"sabir-bench");
        expected.extend_from_slice(&[0, 0, 0, 1, 0, 1, b't', 1]);
        assert_eq!(bytes, expected);
        assert_eq!(&Request::new(api).finish(100)[..4], &[0, 0, 0, 121]);
    }

    #[test]
    fn numbers_of_the_record_format() {
        let check = |value: i64, bytes: &[u8]| {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(Fields::new(bytes).varint().expect("whole"), value);
        };
        check(0, &[0]);
        check(-1, &[1]);
        check(1, &[2]);
        check(63, &[126]);
        check(64, &[128, 1]);
        check(1024, &[128, 16]);
        check(i64::MAX, &[254, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        check(i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert!(Fields::new(&[0x80; 11]).varint().is_err());
        assert!(Fields::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn lengths_that_no_answer_has() {
        assert_eq!(answer_len([0, 0, 1, 0]).expect("fine"), 256);
        for bad in [*b"HTTP", [255; 4], [0, 0, 0, 3]] {
            assert!(answer_len(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn null_is_empty_and_a_short_answer_is_an_error() {
        let mut fields = Fields::new(&[255, 255, 255, 255, 255, 255, 7]);
        assert_eq!(fields.len().expect("null"), 0);
        assert_eq!(fields.string().expect("null"), b"");
        assert_eq!(fields.i8().expect("one byte"), 7);
        assert!(fields.i8().is_err());
    }
}
