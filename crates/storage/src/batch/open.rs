//! Batches that records still join, several of them side by side in one buffer that is used again.
//! Gives each record its place; the checksum is made once a batch lies in its frame, by [`seal`].

use std::sync::Arc;

use bytes::Bytes;

use super::encode::{Encoded, FRONT_MAX, Value, front};
use super::{HEADER, PREFIX, checksum};
use crate::log::{LogView, Offset};
use crate::ticket::Class;

/// Memory kept for the next records, in bytes.
const KEPT: usize = 1 << 20;
/// Batches, and pieces of them, that memory is kept for.
const KEPT_BATCHES: usize = 1 << 10;
const KEPT_PIECES: usize = 1 << 14;

/// Which of the batches in a section.
pub type BatchIx = usize;

/// What is known of a batch before its first record.
pub struct Begin {
    pub view: Arc<LogView>,
    pub class: Class,
    pub base: Offset,
    pub leader_epoch: i32,
    /// The timestamps are the broker's, not the producers'.
    pub append_time: bool,
    /// Bytes that will stand before the batch, as part of its effect.
    pub front: usize,
}

/// A batch that has begun. Invariant: its records have the deltas 0 to `count` - 1, and their
/// pieces in order are `bytes` long.
pub struct OpenBatch {
    pub begin: Begin,
    pub count: i32,
    /// Bytes of the records.
    pub bytes: usize,
    /// Milliseconds since 1970.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// Nothing joins it any more.
    pub closed: bool,
    /// The first and the last piece; none = `NONE`.
    first: u32,
    last: u32,
}

/// A stretch of records of one batch.
struct Piece {
    /// The next piece of the same batch, or `NONE`.
    next: u32,
    len: u32,
    of: Of,
}

enum Of {
    /// The common buffer, from this byte on.
    Buffer(u32),
    Shared(u32),
}

const NONE: u32 = u32::MAX;

/// The batches of one section, open and closed, by rising [`BatchIx`].
#[derive(Default)]
pub struct OpenBatches {
    batches: Vec<OpenBatch>,
    /// Records of all of them as they came.
    buffer: Vec<u8>,
    shared: Vec<Bytes>,
    pieces: Vec<Piece>,
}

impl OpenBatches {
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn get(&self, at: BatchIx) -> Option<&OpenBatch> {
        self.batches.get(at)
    }

    /// Makes it empty again and keeps some of its memory.
    pub fn clear(&mut self) {
        self.batches.clear();
        self.buffer.clear();
        self.shared.clear();
        self.pieces.clear();
        self.batches.shrink_to(KEPT_BATCHES);
        self.buffer.shrink_to(KEPT);
        self.shared.shrink_to(KEPT_BATCHES);
        self.pieces.shrink_to(KEPT_PIECES);
    }

    pub fn begin(&mut self, begin: Begin) -> BatchIx {
        self.batches.push(OpenBatch {
            begin,
            count: 0,
            bytes: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            closed: false,
            first: NONE,
            last: NONE,
        });
        self.batches.len() - 1
    }

    /// Adds a record at the next offset of a batch; returns its bytes.
    pub fn join(&mut self, at: BatchIx, timestamp: i64, record: &Encoded<'_>) -> usize {
        let batch = &mut self.batches[at];
        assert!(!batch.closed && timestamp >= 0, "a record at {timestamp} joins a closed batch");
        if batch.count == 0 {
            batch.base_timestamp = timestamp;
        }
        batch.max_timestamp = batch.max_timestamp.max(timestamp);
        let time_delta = timestamp - batch.base_timestamp;
        let mut written = [0; FRONT_MAX];
        let len = front(&mut written, record.size(), time_delta, batch.count);
        batch.count += 1;
        let total = len + record.size();
        batch.bytes += total;
        let mut from = self.buffer.len();
        self.buffer.extend_from_slice(&written[..len]);
        self.buffer.extend_from_slice(record.head);
        match record.value {
            Value::Copied(value) => self.buffer.extend_from_slice(value),
            Value::Shared(value) => {
                self.piece(at, Of::Buffer(from as u32), self.buffer.len() - from);
                self.piece(at, Of::Shared(self.shared.len() as u32), value.len());
                self.shared.push(value.clone());
                from = self.buffer.len();
            }
        }
        self.buffer.extend_from_slice(record.tail);
        self.piece(at, Of::Buffer(from as u32), self.buffer.len() - from);
        total
    }

    /// Adds a stretch to the end of a batch: to its last one, where that ends there.
    fn piece(&mut self, at: BatchIx, of: Of, len: usize) {
        let batch = &mut self.batches[at];
        let len = u32::try_from(len).expect("an operation fits a frame");
        if let (Some(last), Of::Buffer(from)) = (self.pieces.get_mut(batch.last as usize), &of)
            && let Of::Buffer(at) = last.of
            && at + last.len == *from
        {
            last.len += len;
            return;
        }
        let new = u32::try_from(self.pieces.len()).expect("a frame holds less");
        match self.pieces.get_mut(batch.last as usize) {
            Some(last) => last.next = new,
            None => batch.first = new,
        }
        batch.last = new;
        self.pieces.push(Piece { next: NONE, len, of });
    }

    /// Nothing joins the batch any more. Returns it with its header, which lacks the checksum.
    pub fn close(&mut self, at: BatchIx) -> (&OpenBatch, [u8; HEADER]) {
        let batch = &mut self.batches[at];
        assert!(
            !batch.closed && batch.count > 0,
            "a batch is closed once, and not without records"
        );
        batch.closed = true;
        (batch, batch.header())
    }

    /// Puts the records of a batch together.
    pub fn copy_to(&self, at: BatchIx, into: &mut [u8]) {
        let mut rest = into;
        let mut next = self.batches[at].first;
        while let Some(piece) = self.pieces.get(next as usize) {
            let bytes = match piece.of {
                Of::Buffer(from) => &self.buffer[from as usize..(from + piece.len) as usize],
                Of::Shared(at) => &self.shared[at as usize][..],
            };
            let (now, later) = rest.split_at_mut(bytes.len());
            now.copy_from_slice(bytes);
            (rest, next) = (later, piece.next);
        }
        assert!(rest.is_empty(), "{} bytes of a batch are in no piece", rest.len());
    }
}

impl OpenBatch {
    /// Bytes that it takes with its header.
    pub fn len(&self) -> usize {
        HEADER + self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The offset after its last record.
    pub fn next(&self) -> Offset {
        self.begin.base + i64::from(self.count)
    }

    fn header(&self) -> [u8; HEADER] {
        let counted = i32::try_from(self.len() - PREFIX).expect("below 2 GiB");
        let attributes = i16::from(self.begin.append_time) << 3;
        let mut head = [0; HEADER];
        head[0..8].copy_from_slice(&self.begin.base.to_be_bytes());
        head[8..12].copy_from_slice(&counted.to_be_bytes());
        head[12..16].copy_from_slice(&self.begin.leader_epoch.to_be_bytes());
        head[16] = 2;
        head[21..23].copy_from_slice(&attributes.to_be_bytes());
        head[23..27].copy_from_slice(&(self.count - 1).to_be_bytes());
        head[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        head[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        // No producer: its id, epoch and sequence are -1.
        head[43..57].fill(0xff);
        head[57..61].copy_from_slice(&self.count.to_be_bytes());
        head
    }
}

/// Writes the checksum into a batch that is whole but for it.
pub fn seal(batch: &mut [u8]) {
    let crc = checksum(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests;
