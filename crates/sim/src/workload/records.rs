//! The records of the workload: each says whose it is and carries a hash of itself, so that a
//! reader can tell damage and mix-ups without asking anybody.

use bytes::Bytes;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::{HEADER, split, validate};

use crate::model::{ClientId, Value};

/// Client, number, and the hash at the end.
const FRONT: usize = 12;
const HASH: usize = 8;

/// The bytes of one record's value, `len` of them beside its own numbers.
pub fn make(value: Value, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRONT + len + HASH);
    bytes.extend_from_slice(&value.client.to_be_bytes());
    bytes.extend_from_slice(&value.number.to_be_bytes());
    let from = usize::from(value.number as u8);
    bytes.extend_from_slice(&FILLER[from..from + len]);
    let hash = hash(&bytes);
    bytes.extend_from_slice(&hash.to_be_bytes());
    bytes
}

/// Whose record this is, or None if it is not as it was made.
pub fn value_of(bytes: &[u8]) -> Option<Value> {
    let (body, tail) = bytes.split_last_chunk::<HASH>()?;
    if hash(body) != u64::from_be_bytes(*tail) {
        return None;
    }
    let (client, rest) = body.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some(Value { client: ClientId::from_be_bytes(*client), number: u64::from_be_bytes(*number) })
}

/// What records are filled with, from a place that differs from one to the next.
static FILLER: [u8; FILLER_BYTES] = {
    let mut filler = [0; FILLER_BYTES];
    let mut at = 0;
    while at < FILLER_BYTES {
        filler[at] = (at % 251) as u8;
        at += 1;
    }
    filler
};
const FILLER_BYTES: usize = (64 << 10) + 256;

/// FNV-1a over words.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Who sends a batch: producer id, epoch, first sequence; all -1 for a plain producer.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// A batch of these values, all of one time.
pub fn batch(values: &[Value], len: usize, time_ms: i64, sender: Sender) -> Bytes {
    let mut builder = Builder::default();
    for value in values {
        let bytes = make(*value, len);
        let record = Record { timestamp: time_ms, value: Some(&bytes), ..Record::default() };
        builder.push(&record);
    }
    Bytes::from(builder.seal_for(sender.id, sender.epoch, sender.sequence))
}

/// One record as a reader finds it.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub offset: i64,
    pub value: Option<Value>,
    /// Under which opening of the broker its batch was appended.
    pub epoch: i32,
}

/// The records of a stretch of batches; an error if a batch is not valid.
pub fn records(bytes: &Bytes) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for part in split(bytes) {
        let (_, batch) = part.map_err(|error| error.to_string())?;
        let header = validate(&batch).map_err(|error| error.to_string())?;
        let mut rest = &batch[HEADER..];
        for at in 0..header.count {
            let value = value_at(&mut rest).ok_or("a record that does not fit its frame")?;
            found.push(Found {
                offset: header.base_offset + i64::from(at),
                value: value.and_then(value_of),
                epoch: header.leader_epoch,
            });
        }
    }
    Ok(found)
}

/// Takes one record off the front; its value, which may be null.
fn value_at<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = usize::try_from(varint(rest)?).ok()?;
    let (mut record, after) = rest.split_at_checked(len)?;
    *rest = after;
    record = record.get(1..)?;
    varint(&mut record)?;
    varint(&mut record)?;
    field(&mut record)?;
    field(&mut record)
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(len) = usize::try_from(varint(rest)?) else { return Some(None) };
    let (field, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(Some(field))
}

fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for at in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_known_again_and_damage_is_not() {
        let values = [1, 2, 300].map(|number| Value { client: 7, number });
        let sender = Sender { id: 5, epoch: 0, sequence: 9 };
        let bytes = batch(&values, 20, 1_000, sender);
        let found = records(&bytes).expect("valid");
        let got: Vec<_> = found.iter().map(|found| (found.offset, found.value)).collect();
        assert_eq!(got, vec![(0, Some(values[0])), (1, Some(values[1])), (2, Some(values[2]))]);
        let mut damaged = make(values[0], 20);
        damaged[15] ^= 1;
        assert_eq!(value_of(&damaged), None);
    }
}
