//! Appends fields to a buffer, and record batches as they are, beside it.

use bytes::{BufMut, Bytes, BytesMut};

use smallvec::SmallVec;

use super::{EncodeError, Part, Records};

/// Records up to this many bytes are copied into the buffer: a chunk of its own costs more.
const SPLICE_BYTES_MIN: usize = 512;

/// An encoder. The output is one buffer that is written field by field, and the records that were
/// handed over whole, with their places in it.
///
/// The first thing that cannot be written is remembered; the output is then refused at the end.
/// `flexible` is as in [`super::Reader`].
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// Records that belong before the byte of `buffer` at this place; in rising order.
    splices: Splices,
    /// Bytes in `splices`.
    spliced: usize,
    throttle_ms: i32,
    error: Option<EncodeError>,
}

/// Shared bytes, each with its place among others. Most responses have none, most of the rest one.
pub type Splices = SmallVec<[(usize, Bytes); 1]>;

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer whose output begins with the length of the rest, for [`Writer::finish_framed`]. It
    /// writes over what is in `buffer`.
    pub(super) fn framed(mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.put_i32(0);
        Self { buffer, ..Self::default() }
    }

    /// Ends writing: the chunks in order, none of them empty.
    pub fn finish(self) -> Result<Vec<Bytes>, EncodeError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(chunks(self.buffer.freeze(), self.splices)),
        }
    }

    /// Ends writing a frame and sets its length: the bytes that were written field by field, and
    /// what belongs between them.
    pub(super) fn finish_framed(mut self) -> Result<(BytesMut, Splices), EncodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let body = self.len().checked_sub(4).and_then(|body| i32::try_from(body).ok());
        let length = body.ok_or(EncodeError::TooLong)?.to_be_bytes();
        let place = self.buffer.first_chunk_mut::<4>().ok_or(EncodeError::TooLong)?;
        *place = length;
        Ok((self.buffer, self.splices))
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.spliced.saturating_add(self.buffer.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers why this message cannot be written.
    #[cold]
    pub fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// The client is held back for this long, in milliseconds, whatever the message says of it; 0 =
    /// what the message says.
    pub fn hold(&mut self, throttle_ms: i32) {
        self.throttle_ms = throttle_ms;
    }

    /// The field of that name, in whichever message has it.
    #[inline]
    pub fn throttle_time_ms(&mut self, value: i32) {
        self.i32(if self.throttle_ms > 0 { self.throttle_ms } else { value });
    }

    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    #[inline]
    pub fn uuid(&mut self, value: [u8; 16]) {
        self.buffer.put_slice(&value);
    }

    /// Unsigned variable-length integer: seven bits a byte, lowest first.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, len) = uvarint_bytes(value);
        self.buffer.put_slice(bytes.get(..len).unwrap_or(&bytes));
    }

    /// A compact length or a classic one of two bytes.
    #[inline]
    fn short_len(&mut self, flexible: bool, len: usize) {
        if flexible {
            self.compact_len(len);
        } else {
            match i16::try_from(len) {
                Ok(len) => self.i16(len),
                Err(_) => self.fail(EncodeError::TooLong),
            }
        }
    }

    /// A compact length or a classic one of four bytes.
    #[inline]
    fn long_len(&mut self, flexible: bool, len: usize) {
        if flexible {
            self.compact_len(len);
        } else {
            match i32::try_from(len) {
                Ok(len) => self.i32(len),
                Err(_) => self.fail(EncodeError::TooLong),
            }
        }
    }

    #[inline]
    fn compact_len(&mut self, len: usize) {
        match u32::try_from(len).ok().and_then(|len| len.checked_add(1)) {
            Some(len) => self.uvarint(len),
            None => self.fail(EncodeError::TooLong),
        }
    }

    #[cold]
    fn refuse_null(&mut self) {
        self.fail(EncodeError::NullNotAllowed);
    }

    /// A string that is not null.
    #[inline]
    pub fn string(&mut self, flexible: bool, value: &str) {
        self.short_len(flexible, value.len());
        self.buffer.put_slice(value.as_bytes());
    }

    /// A string that may be null if `nullable` says so.
    #[inline]
    pub fn string_opt(&mut self, flexible: bool, nullable: bool, value: Option<&str>) {
        match value {
            Some(value) => self.string(flexible, value),
            None if !nullable => self.refuse_null(),
            None if flexible => self.buffer.put_u8(0),
            None => self.buffer.put_i16(-1),
        }
    }

    /// Bytes that are not null, copied.
    #[inline]
    pub fn bytes(&mut self, flexible: bool, value: &[u8]) {
        self.long_len(flexible, value.len());
        self.buffer.put_slice(value);
    }

    /// Bytes that may be null if `nullable` says so, copied.
    #[inline]
    pub fn bytes_opt(&mut self, flexible: bool, nullable: bool, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(flexible, value),
            None => self.long_null(flexible, nullable),
        }
    }

    #[inline]
    fn long_null(&mut self, flexible: bool, nullable: bool) {
        if !nullable {
            self.refuse_null();
        } else if flexible {
            self.buffer.put_u8(0);
        } else {
            self.buffer.put_i32(-1);
        }
    }

    /// Records that are not null: their chunks become chunks of the output.
    pub fn records(&mut self, flexible: bool, records: &Records<'_>) {
        match records {
            Records::Slice(slice) => self.bytes(flexible, slice),
            Records::One(bytes) => {
                self.long_len(flexible, bytes.len());
                self.splice(bytes);
            }
            Records::Many(chunks) => {
                self.long_len(flexible, records.len());
                for chunk in chunks {
                    self.splice(chunk);
                }
            }
        }
    }

    /// Records that may be null if `nullable` says so.
    #[inline]
    pub fn records_opt(&mut self, flexible: bool, nullable: bool, records: Option<&Records<'_>>) {
        match records {
            Some(records) => self.records(flexible, records),
            None => self.long_null(flexible, nullable),
        }
    }

    /// Appends `chunk` without copying it, unless it is small.
    fn splice(&mut self, chunk: &Bytes) {
        if chunk.len() < SPLICE_BYTES_MIN {
            self.buffer.put_slice(chunk);
            return;
        }
        self.spliced = self.spliced.saturating_add(chunk.len());
        self.splices.push((self.buffer.len(), chunk.clone()));
    }

    /// An array that is not null.
    #[inline]
    pub fn array<T>(
        &mut self,
        flexible: bool,
        values: &[T],
        mut element: impl FnMut(&mut Self, &T),
    ) {
        self.long_len(flexible, values.len());
        for value in values {
            element(self, value);
        }
    }

    /// An array that may be null if `nullable` says so.
    #[inline]
    pub fn array_opt<T>(
        &mut self,
        flexible: bool,
        nullable: bool,
        values: Option<&[T]>,
        element: impl FnMut(&mut Self, &T),
    ) {
        match values {
            Some(values) => self.array(flexible, values, element),
            None => self.long_null(flexible, nullable),
        }
    }

    /// An array of structs that is not null.
    #[inline]
    pub(crate) fn structs<'a, T: Part<'a>>(&mut self, flexible: bool, version: i16, values: &[T]) {
        self.array(flexible, values, |writer, value| value.write(writer, version));
    }

    /// An array of structs that may be null if `nullable` says so.
    #[inline]
    pub(crate) fn structs_opt<'a, T: Part<'a>>(
        &mut self,
        flexible: bool,
        nullable: bool,
        version: i16,
        values: Option<&[T]>,
    ) {
        self.array_opt(flexible, nullable, values, |writer, value| value.write(writer, version));
    }

    /// A struct that may be null if `nullable` says so.
    pub fn struct_opt<T>(
        &mut self,
        nullable: bool,
        value: Option<&T>,
        fields: impl FnOnce(&mut Self, &T),
    ) {
        match value {
            Some(value) => {
                self.i8(1);
                fields(self, value);
            }
            None if nullable => self.i8(-1),
            None => self.refuse_null(),
        }
    }

    /// The number of tagged fields that follow: how many of `present` are.
    #[inline]
    pub fn tag_count(&mut self, present: &[bool]) {
        let count = present.iter().filter(|present| **present).count();
        match u32::try_from(count) {
            Ok(count) => self.uvarint(count),
            Err(_) => self.fail(EncodeError::TooLong),
        }
    }

    /// No tagged fields.
    #[inline]
    pub fn no_tags(&mut self) {
        self.buffer.put_u8(0);
    }

    /// One tagged field: its tag, its length, and what `content` writes. Tagged fields never
    /// hold records, so the content is in one piece.
    pub fn tag(&mut self, tag: u32, content: impl FnOnce(&mut Self)) {
        self.uvarint(tag);
        let start = self.buffer.len();
        content(self);
        let len = self.buffer.len().saturating_sub(start);
        let Ok(value) = u32::try_from(len) else {
            return self.fail(EncodeError::TooLong);
        };
        // The length goes before the content, which moves over by the bytes of the length.
        let (prefix, prefix_len) = uvarint_bytes(value);
        let prefix = prefix.get(..prefix_len).unwrap_or(&prefix);
        self.buffer.put_slice(prefix);
        if let Some(field) = self.buffer.get_mut(start..) {
            field.rotate_right(prefix_len);
        }
    }
}

/// Written bytes with what belongs between them, in one list.
pub(super) fn chunks(mut written: Bytes, splices: Splices) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(splices.len().saturating_mul(2).saturating_add(1));
    let mut from = 0_usize;
    for (place, chunk) in splices {
        let before = written.split_to(place.saturating_sub(from));
        from = place;
        chunks.extend([before, chunk].into_iter().filter(|chunk| !chunk.is_empty()));
    }
    chunks.extend(Some(written).filter(|chunk| !chunk.is_empty()));
    chunks
}

/// The bytes of an unsigned variable-length integer and how many of them count.
#[inline]
fn uvarint_bytes(value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0_u8; 5];
    let mut left = value;
    let mut len = 0_usize;
    for byte in &mut bytes {
        len = len.saturating_add(1);
        let [low, ..] = left.to_le_bytes();
        left >>= 7;
        if left == 0 {
            *byte = low & 0x7f;
            break;
        }
        *byte = low | 0x80;
    }
    (bytes, len)
}
