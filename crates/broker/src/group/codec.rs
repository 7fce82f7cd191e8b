//! Little-endian fields with checked lengths, for effects and rows. It knows no effect.

use super::Text;
use bytes::Bytes;

/// Bytes that are no effect or row: where reading stopped, and what was wanted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Byte from the start.
    pub at: usize,
    pub wanted: &'static str,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not readable at byte {}: wanted {}", self.at, self.wanted)
    }
}

impl std::error::Error for DecodeError {}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("fields are bounded far below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_option_text(out: &mut Vec<u8>, text: Option<&Text>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

pub(super) fn put_option_i64(out: &mut Vec<u8>, value: Option<i64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("lists are bounded far below 4 G entries");
    out.extend_from_slice(&count.to_le_bytes());
}

/// Reads from the front; every length is checked against the bytes that are left.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub fn fail<T>(&self, wanted: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError { at: self.at, wanted })
    }

    pub fn take(&mut self, len: usize, wanted: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((head, _)) = self.bytes[self.at..].split_at_checked(len) else {
            return self.fail(wanted);
        };
        self.at += len;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self, wanted: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, wanted)?);
        Ok(array)
    }

    pub fn u8(&mut self, wanted: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(wanted)?[0])
    }

    pub fn u32(&mut self, wanted: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(wanted)?))
    }

    pub fn i32(&mut self, wanted: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array(wanted)?))
    }

    pub fn i64(&mut self, wanted: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(wanted)?))
    }

    pub fn flag(&mut self, wanted: &'static str) -> Result<bool, DecodeError> {
        match self.u8(wanted)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.fail(wanted),
        }
    }

    pub fn bytes(&mut self, wanted: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.u32(wanted)? as usize;
        Ok(Bytes::copy_from_slice(self.take(len, wanted)?))
    }

    pub fn text(&mut self, wanted: &'static str) -> Result<Text, DecodeError> {
        let len = self.u32(wanted)? as usize;
        match std::str::from_utf8(self.take(len, wanted)?) {
            Ok(text) => Ok(text.into()),
            Err(_) => self.fail(wanted),
        }
    }

    pub fn option_text(&mut self, wanted: &'static str) -> Result<Option<Text>, DecodeError> {
        if self.flag(wanted)? { self.text(wanted).map(Some) } else { Ok(None) }
    }

    pub fn option_i64(&mut self, wanted: &'static str) -> Result<Option<i64>, DecodeError> {
        if self.flag(wanted)? { self.i64(wanted).map(Some) } else { Ok(None) }
    }

    /// A number of entries of at least `each` bytes, so that memory stays bounded by the input.
    pub fn count(&mut self, each: usize, wanted: &'static str) -> Result<usize, DecodeError> {
        let count = self.u32(wanted)? as usize;
        if count > (self.bytes.len() - self.at) / each { self.fail(wanted) } else { Ok(count) }
    }

    pub fn end(&self) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() { Ok(()) } else { self.fail("the end") }
    }
}
