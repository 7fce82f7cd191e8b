//! What a consumer's leader gave a member, in the form that consumers have agreed upon and brokers
//! only pass on (ConsumerProtocolAssignment, versions 0 to 3). For showing it to people.

use crate::codec::{DecodeError, Reader};

/// The type of groups whose members write their assignments so.
pub const PROTOCOL_TYPE: &str = "consumer";

/// A name without letters and an array without elements.
const TOPIC_MIN: usize = 6;
const PARTITION_BYTES: usize = 4;

/// Each topic with its partitions. Fields of later versions are passed over.
///
/// # Errors
/// If these bytes are no such assignment.
pub fn partitions(assignment: &[u8]) -> Result<Vec<(&str, Vec<i32>)>, DecodeError> {
    let mut reader = Reader::new(assignment);
    let _version = reader.i16()?;
    reader.array(false, TOPIC_MIN, |reader| {
        let topic = reader.string(false)?;
        Ok((topic, reader.array(false, PARTITION_BYTES, Reader::i32)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_consumers_write() {
        let bytes =
            b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x07\0\x02bc\0\0\0\0\xff\xff\xff\xff";
        assert_eq!(partitions(bytes), Ok(vec![("a", vec![0, 7]), ("bc", vec![])]));
        for len in 0..bytes.len() - 4 {
            assert!(partitions(&bytes[..len]).is_err(), "cut at {len}");
        }
        assert!(partitions(b"\0\0\x7f\xff\xff\xff").is_err(), "more than there is room for");
    }
}
