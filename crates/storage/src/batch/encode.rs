//! What of a record can be encoded before its place is known: everything but its length and the two
//! deltas. So no encoding is left for the moment when places are given out.
//!
//! Source: the record section of the public protocol documentation.

use bytes::Bytes;

use super::records::Pair;

/// Bytes before the head of a record at most: length, attributes, time delta, offset delta.
pub const FRONT_MAX: usize = 5 + 1 + 10 + 5;

/// A record without its place.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// From the length of the key to the length of the value.
    pub head: &'a [u8],
    pub value: Value<'a>,
    /// The number of headers, and the headers.
    pub tail: &'a [u8],
}

/// The value of a record; empty where it is absent.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Copied(&'a [u8]),
    /// Shared with whoever holds it until the frame is put together.
    Shared(&'a Bytes),
}

impl Value<'_> {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Copied(bytes) => bytes,
            Value::Shared(bytes) => bytes,
        }
    }
}

impl Encoded<'_> {
    /// Bytes of it without what depends on its place: less than the record takes by at most
    /// [`FRONT_MAX`].
    pub fn size(&self) -> usize {
        self.head.len() + self.value.bytes().len() + self.tail.len()
    }

    /// Bytes of a batch that holds nothing else.
    pub fn size_alone(&self) -> usize {
        let rest = self.size() + 3;
        super::HEADER + varint_len(rest as i64) + rest
    }
}

/// Encodes records one after the other into a buffer that is used again.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

/// Where in its [`Encoder`] a record lies.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    from: usize,
    split: usize,
    to: usize,
}

impl Encoder {
    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Encodes a record whose value has that many bytes, or is absent.
    pub fn encode<'h>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<usize>,
        headers: impl ExactSizeIterator<Item = Pair<'h>>,
    ) -> Span {
        let from = self.bytes.len();
        put_bytes(&mut self.bytes, key);
        put(&mut self.bytes, value.map_or(-1, |len| len as i64));
        let split = self.bytes.len();
        put(&mut self.bytes, headers.len() as i64);
        for (name, value) in headers {
            put_bytes(&mut self.bytes, Some(name));
            put_bytes(&mut self.bytes, value);
        }
        Span { from, split, to: self.bytes.len() }
    }

    /// The record there, with its value.
    pub fn record<'a>(&'a self, span: Span, value: Value<'a>) -> Encoded<'a> {
        let Span { from, split, to } = span;
        Encoded { head: &self.bytes[from..split], value, tail: &self.bytes[split..to] }
    }
}

/// Writes what stands before the head of a record with `size` bytes from there on; returns how
/// many bytes that takes.
pub(super) fn front(
    into: &mut [u8; FRONT_MAX],
    size: usize,
    time_delta: i64,
    offset_delta: i32,
) -> usize {
    let offset_delta = i64::from(offset_delta);
    let len = 1 + varint_len(time_delta) + varint_len(offset_delta) + size;
    let mut at = put_at(into, 0, len as i64);
    into[at] = 0;
    at = put_at(into, at + 1, time_delta);
    put_at(into, at, offset_delta)
}

/// Bytes that a number takes as a zigzag varint.
fn varint_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_at(into: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut value = zigzag(value);
    while value >= 0x80 {
        into[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    into[at] = value as u8;
    at + 1
}

pub(super) fn put_bytes(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put(into, bytes.map_or(-1, |bytes| bytes.len() as i64));
    into.extend_from_slice(bytes.unwrap_or_default());
}

pub(super) fn put(into: &mut Vec<u8>, value: i64) {
    let mut value = zigzag(value);
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}
