//! The row that makes a commit a checkpoint: where replay begins, and what was known durable.

use crate::state::{Key, Kind};
use crate::ticket::FrameNo;
use crate::wal::Place;

const VERSION: u8 = 1;

/// The checkpoint row. All big-endian: version u8 | durable u64 | frame u64 | file u64 |
/// offset u64 | generation u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Everything up to this frame was durable when the checkpoint was made.
    pub durable: FrameNo,
    /// Replay begins with this frame.
    pub replay_from: Place,
}

impl CheckpointRow {
    pub const KEY: Key = Key { shard: 0, kind: Kind::Checkpoint, id: 0, sub: 0 };

    pub fn encode(&self) -> Vec<u8> {
        let place = &self.replay_from;
        let mut row = vec![VERSION];
        for number in [self.durable, place.frame, place.file, place.offset] {
            row.extend_from_slice(&number.to_be_bytes());
        }
        row.extend_from_slice(&place.generation.to_be_bytes());
        row
    }

    /// None if the row is of another version, or damaged.
    pub fn decode(row: &[u8]) -> Option<CheckpointRow> {
        let row: &[u8; 37] = row.try_into().ok()?;
        let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| row[at + i]));
        let generation = u32::from_be_bytes(std::array::from_fn(|i| row[33 + i]));
        let place = Place { frame: long(9), file: long(17), offset: long(25), generation };
        (row[0] == VERSION).then(|| CheckpointRow { durable: long(1), replay_from: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_reads_back() {
        let replay_from = Place { frame: 2, file: 3, offset: 4, generation: 5 };
        let row = CheckpointRow { durable: 1, replay_from };
        let bytes = row.encode();
        assert_eq!(CheckpointRow::decode(&bytes), Some(row));
        assert_eq!(CheckpointRow::decode(&bytes[1..]), None);
    }
}
