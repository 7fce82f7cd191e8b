//! Reads fields from the front of a byte slice, checking every length against what is left and
//! every array against a memory budget before it reserves anything.

use super::{DecodeError, Few, Part};

/// Memory that the arrays of a message may take: this many times its bytes, and a base.
const BUDGET_FACTOR: usize = 8;
const BUDGET_BASE_BYTES: usize = 64 * 1024;

/// A cursor over one frame.
///
/// Invariant: `budget` only falls; the vectors made by this reader together never take more than
/// `BUDGET_FACTOR` × the input + `BUDGET_BASE_BYTES`.
///
/// `flexible` says whether a length is a compact one (KIP-482: a variable-length integer, one more
/// than the length, zero for null) or a classic one (two or four bytes, -1 for null).
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        let budget = input.len().saturating_mul(BUDGET_FACTOR).saturating_add(BUDGET_BASE_BYTES);
        Self { rest: input, budget }
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends reading; bytes left over are an error.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte; anything but zero is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        let [byte] = self.chunk()?;
        Ok(byte != 0)
    }

    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.chunk().map(i8::from_be_bytes)
    }

    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.chunk().map(i16::from_be_bytes)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.chunk().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.chunk().map(i32::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.chunk().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.chunk().map(i64::from_be_bytes)
    }

    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.chunk().map(f64::from_be_bytes)
    }

    #[inline]
    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.chunk()
    }

    /// Unsigned variable-length integer: seven bits a byte, lowest first, at most five bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let [byte] = self.chunk()?;
        if byte < 0x80 { Ok(u32::from(byte)) } else { self.uvarint_rest(byte) }
    }

    fn uvarint_rest(&mut self, first: u8) -> Result<u32, DecodeError> {
        let mut value = u32::from(first & 0x7f);
        for shift in [7_u32, 14, 21, 28] {
            let [byte] = self.chunk()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::LongVarint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::LongVarint)
    }

    /// A compact length or a classic one of two bytes; none when null.
    #[inline]
    fn short_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.compact_len() } else { classic_len(i32::from(self.i16()?)) }
    }

    /// A compact length or a classic one of four bytes; none when null.
    #[inline]
    fn long_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.compact_len() } else { classic_len(self.i32()?) }
    }

    #[inline]
    fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.uvarint()?.checked_sub(1) {
            None => Ok(None),
            Some(len) => usize::try_from(len).map(Some).map_err(|_| DecodeError::Truncated),
        }
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::NotUtf8)
    }

    /// A string that is not null.
    #[inline]
    pub fn string(&mut self, flexible: bool) -> Result<&'a str, DecodeError> {
        let len = self.short_len(flexible)?.ok_or(DecodeError::NegativeLength)?;
        self.text(len)
    }

    /// A string that may be null if `nullable` says so.
    #[inline]
    pub fn string_opt(
        &mut self,
        flexible: bool,
        nullable: bool,
    ) -> Result<Option<&'a str>, DecodeError> {
        match self.short_len(flexible)? {
            Some(len) => self.text(len).map(Some),
            None => null_if(nullable),
        }
    }

    /// Bytes that are not null.
    #[inline]
    pub fn bytes(&mut self, flexible: bool) -> Result<&'a [u8], DecodeError> {
        let len = self.long_len(flexible)?.ok_or(DecodeError::NegativeLength)?;
        self.take(len)
    }

    /// Bytes that may be null if `nullable` says so.
    #[inline]
    pub fn bytes_opt(
        &mut self,
        flexible: bool,
        nullable: bool,
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.long_len(flexible)? {
            Some(len) => self.take(len).map(Some),
            None => null_if(nullable),
        }
    }

    /// An array that is not null; `smallest` is the fewest bytes one element takes.
    #[inline]
    pub fn array<T>(
        &mut self,
        flexible: bool,
        smallest: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.long_len(flexible)?.ok_or(DecodeError::NegativeLength)?;
        self.elements(count, smallest, element)
    }

    /// An array that may be null if `nullable` says so.
    #[inline]
    pub fn array_opt<T>(
        &mut self,
        flexible: bool,
        nullable: bool,
        smallest: usize,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        match self.long_len(flexible)? {
            Some(count) => self.elements(count, smallest, element).map(Some),
            None => null_if(nullable),
        }
    }

    /// Takes the memory for an array out of the budget.
    #[inline]
    fn reserve<T>(&mut self, count: usize, smallest: usize) -> Result<(), DecodeError> {
        if count.saturating_mul(smallest) > self.rest.len() {
            return Err(DecodeError::LongArray);
        }
        let memory = count.saturating_mul(size_of::<T>());
        self.budget = self.budget.checked_sub(memory).ok_or(DecodeError::OverBudget)?;
        Ok(())
    }

    #[inline]
    fn elements<T>(
        &mut self,
        count: usize,
        smallest: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.reserve::<T>(count, smallest)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// An array of structs that is not null.
    #[inline]
    pub(crate) fn structs<T: Part<'a>>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Result<Vec<T>, DecodeError> {
        self.array(flexible, T::smallest(version), |reader| T::read(reader, version))
    }

    /// The same for an array that nearly always has one element.
    #[inline]
    pub(crate) fn few_structs<T: Part<'a>>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Result<Few<T>, DecodeError> {
        let count = self.long_len(flexible)?.ok_or(DecodeError::NegativeLength)?;
        // A single one lies in the memory of what it is part of.
        let apart = if count > 1 { count } else { 0 };
        self.reserve::<T>(apart, T::smallest(version))?;
        let mut elements = Few::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(self, version)?);
        }
        Ok(elements)
    }

    /// An array of structs that may be null if `nullable` says so.
    #[inline]
    pub(crate) fn structs_opt<T: Part<'a>>(
        &mut self,
        flexible: bool,
        nullable: bool,
        version: i16,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        self.array_opt(flexible, nullable, T::smallest(version), |reader| T::read(reader, version))
    }

    /// A struct that may be null: a byte below zero, or one and the struct.
    pub fn struct_opt<T>(
        &mut self,
        nullable: bool,
        fields: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { null_if(nullable) } else { fields(self).map(Some) }
    }

    /// Tagged fields: calls `field` with each tag and a reader that holds that field alone. A tag
    /// it does not know it must skip by [`Reader::skip_rest`].
    #[inline]
    pub fn tags(
        &mut self,
        mut field: impl FnMut(&mut Self, u32) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        // Each turn takes two bytes at least, so a false count ends at the end of the input.
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = usize::try_from(self.uvarint()?).map_err(|_| DecodeError::Truncated)?;
            let (content, after) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
            self.rest = content;
            field(self, tag)?;
            if !self.rest.is_empty() {
                return Err(DecodeError::LongTag);
            }
            self.rest = after;
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|reader, _| {
            reader.skip_rest();
            Ok(())
        })
    }

    /// Drops everything that is left; inside [`Reader::tags`], the rest of one field.
    pub fn skip_rest(&mut self) {
        self.rest = &[];
    }
}

/// A classic length: none for -1.
#[inline]
fn classic_len(len: i32) -> Result<Option<usize>, DecodeError> {
    if len == -1 {
        return Ok(None);
    }
    usize::try_from(len).map(Some).map_err(|_| DecodeError::NegativeLength)
}

#[inline]
fn null_if<T>(nullable: bool) -> Result<Option<T>, DecodeError> {
    if nullable { Ok(None) } else { Err(DecodeError::NegativeLength) }
}
