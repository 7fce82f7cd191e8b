//! From the core's kinds of error to Kafka's codes.

use sabir_broker::batch::BatchError;
use sabir_broker::error::{Error, Kind};

use crate::error_code::ErrorCode;

/// The code for a refused operation on a topic or partition.
pub fn of_topic(error: &Error) -> ErrorCode {
    match error.kind {
        Kind::Invalid => ErrorCode::InvalidRequest,
        Kind::Denied => ErrorCode::TopicAuthorizationFailed,
        Kind::NotFound => ErrorCode::UnknownTopicOrPartition,
        Kind::Exists => ErrorCode::TopicAlreadyExists,
        Kind::Conflict => ErrorCode::OutOfOrderSequenceNumber,
        Kind::Gone => ErrorCode::OffsetOutOfRange,
        Kind::TooLarge => ErrorCode::MessageTooLarge,
        Kind::Throttled => ErrorCode::RequestTimedOut,
        // Clients refresh their metadata and try again.
        Kind::Full | Kind::Broken => ErrorCode::KafkaStorageError,
        Kind::Fenced => ErrorCode::InvalidProducerEpoch,
        Kind::Unavailable => ErrorCode::LeaderNotAvailable,
    }
}

/// The code for bytes that are no batch.
pub fn of_batch(error: BatchError) -> ErrorCode {
    match error {
        BatchError::Short | BatchError::Checksum => ErrorCode::CorruptMessage,
        BatchError::Magic(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Compression(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Count { .. } | BatchError::Record(_) => ErrorCode::InvalidRecord,
    }
}
