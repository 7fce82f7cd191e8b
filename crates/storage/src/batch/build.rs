//! Makes uncompressed batches from records: for messages that did not arrive as a batch.

use super::encode::{put, put_bytes};
use super::{HEADER, checksum};

/// One record to encode. A header's value may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record<'a> {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// A batch that records are added to until it is sealed.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder { bytes: vec![0; HEADER], base_timestamp: 0, max_timestamp: -1, count: 0 }
    }
}

impl Builder {
    pub fn count(&self) -> i32 {
        self.count
    }

    pub fn push(&mut self, record: &Record<'_>) {
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let mut body = vec![0];
        put(&mut body, record.timestamp - self.base_timestamp);
        put(&mut body, i64::from(self.count));
        put_bytes(&mut body, record.key);
        put_bytes(&mut body, record.value);
        put(&mut body, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_bytes(&mut body, Some(name));
            put_bytes(&mut body, *value);
        }
        put(&mut self.bytes, body.len() as i64);
        self.bytes.extend_from_slice(&body);
        self.count += 1;
    }

    /// The finished batch at offset 0, with no producer.
    pub fn seal(self) -> Vec<u8> {
        self.seal_for(-1, -1, -1)
    }

    /// The finished batch of an idempotent producer.
    pub fn seal_for(self, producer_id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
        let mut batch = self.bytes;
        let counted = i32::try_from(batch.len() - super::PREFIX).expect("below 2 GiB");
        batch[8..12].copy_from_slice(&counted.to_be_bytes());
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(self.count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
        batch[51..53].copy_from_slice(&epoch.to_be_bytes());
        batch[53..57].copy_from_slice(&sequence.to_be_bytes());
        batch[57..61].copy_from_slice(&self.count.to_be_bytes());
        let crc = checksum(&batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }
}
