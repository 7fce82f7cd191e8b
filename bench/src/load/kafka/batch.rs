//! Record batches of format 2, encoded before a run, and the walk over the headers of those that
//! come back. Layout: <https://kafka.apache.org/documentation/#recordbatch>.

use anyhow::{Result, ensure};

use super::wire::{Fields, put_varint};

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
/// The base offset and the length field, which the length does not count.
pub const LENGTH_ENDS_AT: usize = 12;
const CRC_AT: usize = 17;
/// The checksum covers everything from here to the end.
const CRC_COVERS_FROM: usize = 21;

/// An encoded batch.
pub struct Batch {
    pub bytes: Vec<u8>,
    /// Where the value of its first record begins.
    pub value_at: usize,
}

/// Encodes `records` records without key and headers, each with a value of `size` bytes. All bear
/// the time `now_ms` (milliseconds since 1970), so that no retention by time takes them for old.
pub fn encode(records: usize, size: usize, now_ms: i64) -> Batch {
    assert!(records > 0, "a batch holds at least one record");
    let last_delta = i32::try_from(records - 1).expect("checked by the options");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + records * (size + 16));
    bytes.extend_from_slice(&0_i64.to_be_bytes()); // base offset: the server's to set
    bytes.extend_from_slice(&[0; 4]); // length
    bytes.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch
    bytes.push(2); // format
    bytes.extend_from_slice(&[0; 4]); // checksum
    bytes.extend_from_slice(&[0; 2]); // attributes: no compression, client's time
    bytes.extend_from_slice(&last_delta.to_be_bytes());
    bytes.extend_from_slice(&now_ms.to_be_bytes()); // first and greatest time
    bytes.extend_from_slice(&now_ms.to_be_bytes());
    bytes.extend_from_slice(&[0xFF; 14]); // producer id, epoch, sequence: none
    bytes.extend_from_slice(&(last_delta + 1).to_be_bytes());
    debug_assert_eq!(bytes.len(), HEADER_BYTES);

    let mut value_at = 0;
    let mut noise = 0x9E37_79B9_7F4A_7C15;
    let mut front = Vec::new();
    for index in 0..records {
        front.clear();
        front.extend_from_slice(&[0, 0]); // attributes, time delta
        put_varint(&mut front, i64::try_from(index).expect("checked by the options"));
        put_varint(&mut front, -1); // no key
        put_varint(&mut front, i64::try_from(size).expect("checked by the options"));
        let len = front.len() + size + 1;
        put_varint(&mut bytes, i64::try_from(len).expect("checked by the options"));
        bytes.extend_from_slice(&front);
        if index == 0 {
            value_at = bytes.len();
        }
        bytes.extend((0..size).map(|_| next_byte(&mut noise)));
        bytes.push(0); // no headers
    }
    let len = i32::try_from(bytes.len() - LENGTH_ENDS_AT).expect("checked by the options");
    bytes[8..LENGTH_ENDS_AT].copy_from_slice(&len.to_be_bytes());
    seal(&mut bytes);
    Batch { bytes, value_at }
}

/// The greatest number of records of `size` bytes in a batch of at most `bytes` bytes, at least 1.
pub fn records_within(bytes: usize, size: usize) -> usize {
    let mut total = HEADER_BYTES;
    let mut records = 0;
    while total <= bytes {
        let body = 2 + varint_bytes(records) + 1 + varint_bytes(size) + size + 1;
        total += varint_bytes(body) + body;
        records += 1;
    }
    usize::max(records, 2) - 1
}

fn varint_bytes(value: usize) -> usize {
    let mut out = Vec::with_capacity(10);
    put_varint(&mut out, i64::try_from(value).unwrap_or(i64::MAX));
    out.len()
}

/// Sets the checksum (CRC-32C) after the bytes that it covers have changed.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c(&batch[CRC_COVERS_FROM..]);
    batch[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a 32-bit checksum")
}

/// A generator of bytes that no compression makes small (xorshift*); its seed is fixed, so that
/// every run sends the same.
fn next_byte(state: &mut u64) -> u8 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
}

/// What a batch's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    /// The offset after its last record.
    pub end_offset: i64,
    /// Bytes of the whole batch.
    pub len: usize,
}

/// Reads the header at the front of `bytes`, of which there are at least `HEADER_BYTES`.
///
/// # Errors
/// A format other than 2, or a length or count that cannot be.
pub fn header(bytes: &[u8]) -> Result<Header> {
    let mut fields = Fields::new(bytes);
    let base_offset = fields.i64()?;
    let len = LENGTH_ENDS_AT + fields.len()?;
    fields.i32()?;
    let format = fields.i8()?;
    ensure!(format == 2, "the server sent a batch of format {format}");
    fields.bytes(4 + 2)?;
    let last_delta = i64::from(fields.i32()?);
    ensure!(
        len >= HEADER_BYTES && base_offset >= 0 && last_delta >= 0,
        "the server sent a batch of {len} bytes at offset {base_offset} with {last_delta} behind"
    );
    Ok(Header { base_offset, end_offset: base_offset + last_delta + 1, len })
}

/// The front of the value of the record at the front of `bytes`, up to 8 bytes; none where `bytes`
/// end before it or the value is shorter.
pub fn first_value(bytes: &[u8]) -> Option<[u8; 8]> {
    let mut fields = Fields::new(bytes);
    fields.varint().ok()?;
    fields.i8().ok()?;
    fields.varint().ok()?;
    fields.varint().ok()?;
    let key = usize::try_from(fields.varint().ok()?).unwrap_or(0);
    fields.bytes(key).ok()?;
    (fields.varint().ok()? >= 8).then_some(())?;
    fields.bytes(8).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records of three bytes at 0x0102_0304_0506 ms, as the format's page draws them. The
    /// checksum stands apart, since it is computed over the rest by another program.
    const GOLDEN: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 0, // base offset
        0, 0, 0, 69, // length: 49 of the header, 2 records of 10
        255, 255, 255, 255, 2, // leader epoch, format
        0, 0, 0, 0, // checksum, set below
        0, 0, 0, 0, 0, 1, // attributes, last delta
        0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 1, 2, 3, 4, 5, 6, // first and greatest time
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, // no producer
        0, 0, 0, 2, // records
        18, 0, 0, 0, 1, 6, 0, 0, 0, 0, // 9 bytes: delta 0, no key, 3 bytes, no headers
        18, 0, 0, 2, 1, 6, 0, 0, 0, 0, // delta 1
    ];
    const VALUES_AT: [usize; 2] = [67, 77];

    #[test]
    fn a_batch_is_the_golden_bytes() {
        let mut batch = encode(2, 3, 0x0102_0304_0506);
        assert_eq!(batch.value_at, VALUES_AT[0]);
        for at in VALUES_AT {
            batch.bytes[at..at + 3].fill(0);
        }
        let mut golden = GOLDEN.to_vec();
        assert_eq!(&batch.bytes[..CRC_AT], &golden[..CRC_AT]);
        assert_eq!(&batch.bytes[CRC_COVERS_FROM..], &golden[CRC_COVERS_FROM..]);
        seal(&mut batch.bytes);
        golden[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&GOLDEN_CRC.to_be_bytes());
        assert_eq!(batch.bytes, golden);
    }

    /// Of the bytes of `GOLDEN` from `CRC_COVERS_FROM` on, by a bitwise CRC-32C.
    const GOLDEN_CRC: u32 = 0x3EFA_FF7E;

    #[test]
    fn the_checksum_is_castagnoli() {
        // The check value of the catalogue of CRCs, and RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn a_changed_value_needs_a_new_seal() {
        let mut batch = encode(3, 100, 1);
        let crc = |bytes: &[u8]| bytes[CRC_AT..CRC_COVERS_FROM].to_vec();
        let before = crc(&batch.bytes);
        seal(&mut batch.bytes);
        assert_eq!(crc(&batch.bytes), before);
        batch.bytes[batch.value_at..][..8].copy_from_slice(&7_u64.to_be_bytes());
        seal(&mut batch.bytes);
        assert_ne!(crc(&batch.bytes), before);
        assert_eq!(first_value(&batch.bytes[HEADER_BYTES..]), Some(7_u64.to_be_bytes()));
    }

    #[test]
    fn as_many_records_as_fit() {
        for (bytes, size) in [(1 << 20, 1024), (16 << 10, 1024), (1 << 20, 100), (5000, 16)] {
            let records = records_within(bytes, size);
            assert!(encode(records, size, 1).bytes.len() <= bytes, "{records} of {size}");
            assert!(encode(records + 1, size, 1).bytes.len() > bytes, "{records} of {size}");
        }
        assert_eq!(records_within(10, 1024), 1);
    }

    #[test]
    fn headers_are_read_or_refused() {
        let good = encode(10, 5, 1).bytes;
        let read = header(&good).expect("well formed");
        assert_eq!(read, Header { base_offset: 0, end_offset: 10, len: good.len() });
        let refuse = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(header(&bad).is_err(), "byte {at} = {byte}");
        };
        refuse(16, 1); // format
        refuse(0, 255); // negative offset
        refuse(23, 255); // negative count
        refuse(8, 255); // negative length
    }

    #[test]
    fn values_too_short_for_a_stamp_have_none() {
        assert_eq!(first_value(&encode(1, 7, 1).bytes[HEADER_BYTES..]), None);
        assert!(first_value(&encode(1, 8, 1).bytes[HEADER_BYTES..]).is_some());
        assert_eq!(first_value(&[0x80; 30]), None);
    }
}
