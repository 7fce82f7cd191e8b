//! The records inside one batch, one after the other. Nothing of them is copied: keys, values and
//! headers point into the batch, or into the one buffer that a compressed batch was inflated to.

use bytes::Bytes;

use super::compress::{INFLATED_MAX, inflate};
use super::{BatchError, Compression, HEADER, Header, varint};

/// A batch whose records can be walked.
#[derive(Clone, Debug)]
pub struct Records {
    header: Header,
    /// The records, uncompressed.
    body: Bytes,
}

/// One record. Its offset and its time are those that a consumer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub offset: i64,
    /// Milliseconds since 1970; the broker's time where the batch carries that.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// Key and value of a header.
pub type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

/// The headers of a record in their order; a key may come several times, a value may be absent.
///
/// Invariant: `bytes` hold exactly `count` whole headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// The records of `batch`, which is one whole batch. A compressed one is inflated here, to at most
/// [`INFLATED_MAX`] bytes. Neither the checksum nor the records are looked at yet.
pub fn records(batch: &Bytes) -> Result<Records, BatchError> {
    records_within(batch, INFLATED_MAX)
}

/// The same with another limit on what it may inflate to, in bytes.
pub fn records_within(batch: &Bytes, limit: usize) -> Result<Records, BatchError> {
    let header = Header::parse(batch)?;
    let (count, last_delta) = (header.count, header.last_delta);
    // A compacted batch has fewer records than offsets.
    if count < 0 || last_delta < 0 || count.saturating_sub(1) > last_delta {
        return Err(BatchError::Count { count, last_delta });
    }
    let body = batch.slice(HEADER..header.len);
    let body = match header.compression()? {
        Compression::None => body,
        compression => inflate(compression, &body, limit)?.into(),
    };
    Ok(Records { header, body })
}

impl Records {
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The records by rising offset; ends after the first that does not fit its frame.
    pub fn iter(&self) -> Iter<'_> {
        Iter { header: &self.header, rest: &self.body, at: 0, next_delta: 0, ended: false }
    }

    /// A part of one of these records, to be kept without a copy.
    ///
    /// # Panics
    /// If it is no part of them.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.body.slice_ref(part)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<RecordRef<'a>, BatchError>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Walks the records of a batch.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    header: &'a Header,
    rest: &'a [u8],
    /// Records so far.
    at: i32,
    /// The lowest offset delta that the next record may have.
    next_delta: i64,
    ended: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let broken = BatchError::Record(self.at);
        if self.at == self.header.count {
            self.ended = true;
            return if self.rest.is_empty() { None } else { Some(Err(broken)) };
        }
        let record = self.record().ok_or(broken);
        self.at += 1;
        self.ended = record.is_err();
        Some(record)
    }
}

impl<'a> Iter<'a> {
    /// The record at the front; none if it does not fit.
    fn record(&mut self) -> Option<RecordRef<'a>> {
        let (len, rest) = varint(self.rest)?;
        let (record, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        let (_attributes, record) = record.split_first()?;
        let (time_delta, record) = varint(record)?;
        let (offset_delta, record) = varint(record)?;
        if offset_delta < self.next_delta || offset_delta > i64::from(self.header.last_delta) {
            return None;
        }
        let (key, record) = field(record)?;
        let (value, record) = field(record)?;
        let (count, record) = varint(record)?;
        let headers = Headers::check(record, count)?;
        (self.rest, self.next_delta) = (rest, offset_delta + 1);
        let timestamp = if self.header.is_append_time() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp.saturating_add(time_delta)
        };
        let offset = self.header.base_offset.checked_add(offset_delta)?;
        Some(RecordRef { offset, timestamp, key, value, headers })
    }
}

impl<'a> Headers<'a> {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keys and values in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (pair, after) = header(rest).expect("checked when the record was read");
            rest = after;
            Some(pair)
        })
    }

    /// None unless `bytes` are exactly `count` headers.
    fn check(bytes: &'a [u8], count: i64) -> Option<Headers<'a>> {
        let count = usize::try_from(count).ok()?;
        let (mut rest, mut found) = (bytes, 0);
        while !rest.is_empty() {
            (_, rest) = header(rest)?;
            found += 1;
        }
        (found == count).then_some(Headers { bytes, count })
    }
}

/// The header at the front, and what follows it.
fn header(bytes: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (key, rest) = field(bytes)?;
    let (value, rest) = field(rest)?;
    Some(((key?, value), rest))
}

/// Bytes behind their length, where a negative one means none, and what follows them.
fn field(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (len, rest) = varint(bytes)?;
    let Ok(len) = usize::try_from(len) else { return Some((None, rest)) };
    let (field, rest) = rest.split_at_checked(len)?;
    Some((Some(field), rest))
}

#[cfg(test)]
mod tests;
