//! The `records` of a response: bytes that came from the log and are sent as they are.

use bytes::Bytes;

/// Record batches on their way out, never copied by the writer unless tiny; or, in a client, a
/// slice of the decoded response.
#[derive(Debug, Clone)]
pub enum Records<'a> {
    /// Part of a decoded message.
    Slice(&'a [u8]),
    /// One piece of the log.
    One(Bytes),
    /// Pieces of the log that follow one another.
    Many(Vec<Bytes>),
}

impl Records<'_> {
    /// No records at all, which is not null: what a fetch answers at the end of the log.
    pub const EMPTY: Records<'static> = Records::Slice(&[]);

    /// Total bytes.
    pub fn len(&self) -> usize {
        match self {
            Records::Slice(slice) => slice.len(),
            Records::One(bytes) => bytes.len(),
            Records::Many(chunks) => {
                chunks.iter().fold(0, |sum, chunk| chunk.len().saturating_add(sum))
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All the bytes in one piece, copied when there are several pieces.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Records::Slice(slice) => Bytes::copy_from_slice(slice),
            Records::One(bytes) => bytes.clone(),
            Records::Many(chunks) => chunks.concat().into(),
        }
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Records::EMPTY
    }
}

impl From<Bytes> for Records<'_> {
    fn from(bytes: Bytes) -> Self {
        Records::One(bytes)
    }
}

impl From<Vec<Bytes>> for Records<'_> {
    fn from(chunks: Vec<Bytes>) -> Self {
        Records::Many(chunks)
    }
}

/// Equal when the bytes are, however they are cut.
impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Records::Slice(left), Records::Slice(right)) => left == right,
            _ => self.to_bytes() == other.to_bytes(),
        }
    }
}
