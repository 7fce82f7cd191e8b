//! From the core's kinds of error to Kafka's codes.

use sabir_broker::batch::BatchError;
use sabir_broker::error::{Error, Kind};
use sabir_broker::group::GroupError;

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

/// The code for a topic that cannot be made, changed or deleted.
pub fn of_declare(error: &Error) -> ErrorCode {
    match error.kind {
        Kind::Invalid => ErrorCode::InvalidPartitions,
        Kind::TooLarge => ErrorCode::PolicyViolation,
        _ => of_topic(error),
    }
}

/// The code for bytes that are no batch.
pub fn of_batch(error: BatchError) -> ErrorCode {
    match error {
        BatchError::Short | BatchError::Checksum | BatchError::Compressed => {
            ErrorCode::CorruptMessage
        }
        BatchError::Inflated(_) => ErrorCode::MessageTooLarge,
        BatchError::Magic(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Compression(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Count { .. } | BatchError::Record(_) => ErrorCode::InvalidRecord,
    }
}

/// The code for a request that no group was asked about, because the core refused it before.
pub fn of_group_request(error: &Error) -> ErrorCode {
    match error.kind {
        Kind::Invalid => ErrorCode::InvalidGroupId,
        Kind::Denied => ErrorCode::GroupAuthorizationFailed,
        Kind::NotFound => ErrorCode::GroupIdNotFound,
        // Clients look for the coordinator and try again.
        Kind::Exists
        | Kind::Conflict
        | Kind::Gone
        | Kind::TooLarge
        | Kind::Throttled
        | Kind::Full
        | Kind::Fenced
        | Kind::Unavailable
        | Kind::Broken => ErrorCode::CoordinatorNotAvailable,
    }
}

/// The code for what a group refuses.
pub fn of_group(error: GroupError) -> ErrorCode {
    match error {
        GroupError::Dead => ErrorCode::CoordinatorNotAvailable,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
        GroupError::TooLarge => ErrorCode::MessageTooLarge,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::Invalid => ErrorCode::InvalidRequest,
    }
}
