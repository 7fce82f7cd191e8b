//! Record batches, version 2: the one form in which records are stored. Reads and checks headers
//! and walks records; never re-encodes a batch that a client made.
//!
//! Source: the record batch section of the public protocol documentation; all numbers big-endian.

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc32Iscsi;

/// Bytes of the header of a batch.
pub const HEADER: usize = 61;
/// Bytes before the part that the length field counts.
pub const PREFIX: usize = 12;
/// Where the part begins that the checksum covers.
const CHECKED: usize = 21;
/// The smallest possible record: its length, attributes, two deltas, two lengths, header count.
const RECORD_MIN: usize = 7;

/// How the records of a batch are compressed; passed through untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Why bytes are no batch that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the batch ends before its length says")]
    Short,
    #[error("the batch has magic {0}, not 2")]
    Magic(u8),
    #[error("the checksum of the batch does not match its bytes")]
    Checksum,
    #[error("the batch counts {count} records, its last offset delta is {last_delta}")]
    Count { count: i32, last_delta: i32 },
    #[error("compression code {0} is unknown")]
    Compression(u8),
    #[error("record {0} of the batch does not fit its frame")]
    Record(i32),
    #[error("the compressed records of the batch are damaged")]
    Compressed,
    #[error("the records of the batch inflate to more than {0} bytes")]
    Inflated(usize),
}

/// The fixed header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub len: usize,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_delta: i32,
    /// Milliseconds since 1970.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl Header {
    /// Reads the header at the front of `bytes` and checks that the whole batch is there and that
    /// its numbers agree; not its checksum.
    pub fn parse(bytes: &[u8]) -> Result<Header, BatchError> {
        let head: &[u8; HEADER] = bytes.first_chunk().ok_or(BatchError::Short)?;
        if head[16] != 2 {
            return Err(BatchError::Magic(head[16]));
        }
        let counted = usize::try_from(int(head, 8)).map_err(|_| BatchError::Short)?;
        let header = Header {
            base_offset: long(head, 0),
            len: counted + PREFIX,
            leader_epoch: int(head, 12),
            crc: int(head, 17).cast_unsigned(),
            attributes: i16::from_be_bytes([head[21], head[22]]),
            last_delta: int(head, 23),
            base_timestamp: long(head, 27),
            max_timestamp: long(head, 35),
            producer_id: long(head, 43),
            producer_epoch: i16::from_be_bytes([head[51], head[52]]),
            base_sequence: int(head, 53),
            count: int(head, 57),
        };
        if header.len < HEADER || header.len > bytes.len() {
            return Err(BatchError::Short);
        }
        Ok(header)
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_delta) + 1
    }

    pub fn compression(&self) -> Result<Compression, BatchError> {
        Ok(match self.attributes & 7 {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            other => return Err(BatchError::Compression(other.unsigned_abs() as u8)),
        })
    }

    /// True where the timestamp is the broker's, not the producer's.
    pub fn is_append_time(&self) -> bool {
        self.attributes & 1 << 3 != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & 1 << 4 != 0
    }

    /// Control batches mark the ends of transactions and hold no messages.
    pub fn is_control(&self) -> bool {
        self.attributes & 1 << 5 != 0
    }

    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record; sequences wrap to 0 after 2^31 - 1.
    pub fn last_sequence(&self) -> i32 {
        let sum = i64::from(self.base_sequence) + i64::from(self.last_delta);
        i32::try_from(sum % (i64::from(i32::MAX) + 1)).expect("below 2^31")
    }
}

/// Checks a batch as a client sends it: header, checksum, count, and, where the records are not
/// compressed, that each record lies in its place. `bytes` is exactly one batch.
pub fn validate(bytes: &[u8]) -> Result<Header, BatchError> {
    let header = Header::parse(bytes)?;
    let batch = &bytes[..header.len];
    if checksum(batch) != header.crc {
        return Err(BatchError::Checksum);
    }
    if header.count <= 0 || header.last_delta != header.count - 1 {
        return Err(BatchError::Count { count: header.count, last_delta: header.last_delta });
    }
    if header.compression()? == Compression::None {
        walk(&batch[HEADER..], header.count)?;
    }
    Ok(header)
}

/// The CRC-32C of a whole batch, over what its field covers.
pub fn checksum(batch: &[u8]) -> u32 {
    crc_fast::checksum(Crc32Iscsi, &batch[CHECKED.min(batch.len())..]) as u32
}

fn walk(mut records: &[u8], count: i32) -> Result<(), BatchError> {
    if records.len() / RECORD_MIN < usize::try_from(count).unwrap_or(usize::MAX) {
        return Err(BatchError::Record(0));
    }
    for at in 0..count {
        let broken = BatchError::Record(at);
        let (len, rest) = varint(records).ok_or(broken)?;
        let len = usize::try_from(len).map_err(|_| broken)?;
        let record = rest.get(..len).ok_or(broken)?;
        // Attributes, then the timestamp delta, then the offset delta, which has to count up.
        let (_, after) = varint(record.get(1..).ok_or(broken)?).ok_or(broken)?;
        let (delta, _) = varint(after).ok_or(broken)?;
        if delta != i64::from(at) {
            return Err(broken);
        }
        records = &rest[len..];
    }
    if records.is_empty() { Ok(()) } else { Err(BatchError::Record(count)) }
}

/// A zigzag varint of at most 10 bytes at the front, and what follows it.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            let value = (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Writes the two fields outside the checksum: where the batch lies, and under which opening of
/// the broker it was appended.
pub fn place(head: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(head.len() >= HEADER && base_offset >= 0, "a header at offset {base_offset}");
    head[0..8].copy_from_slice(&base_offset.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Marks a batch as carrying the broker's time, and recomputes the checksum. `batch` is whole.
pub fn stamp(batch: &mut [u8], append_ms: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | 1 << 3;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&append_ms.to_be_bytes());
    let crc = checksum(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The batches of a stretch of bytes, one after the other; stops after the first error.
pub fn split(bytes: &Bytes) -> impl Iterator<Item = Result<(Header, Bytes), BatchError>> {
    let mut rest = bytes.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match Header::parse(&rest) {
            Ok(header) => Some(Ok((header, rest.split_to(header.len)))),
            Err(error) => {
                rest.clear();
                Some(Err(error))
            }
        }
    })
}

fn int(head: &[u8; HEADER], at: usize) -> i32 {
    i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn long(head: &[u8; HEADER], at: usize) -> i64 {
    i64::from_be_bytes(std::array::from_fn(|i| head[at + i]))
}

pub mod build;
pub mod compress;
pub mod encode;
pub mod open;
pub mod records;
#[cfg(test)]
mod tests;
