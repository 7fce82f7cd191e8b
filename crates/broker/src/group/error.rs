//! Why a group refuses, in the words of the field. Wire codes are the protocols' business.

use crate::error::{Error, Kind};

/// A refused operation on a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupError {
    /// The group was deleted: look for it again.
    Dead,
    /// Not a member (any more): join without an id.
    UnknownMember,
    /// Another client took over this instance id.
    FencedInstance,
    /// The generation is not the present one: join again.
    IllegalGeneration,
    /// A round of joining has begun: join again.
    RebalanceInProgress,
    /// No protocol that all members know, or another type of protocol.
    InconsistentProtocol,
    /// The session timeout is outside the allowed range.
    InvalidSessionTimeout,
    /// Join again with the id just given.
    MemberIdRequired,
    /// The group has as many members, or bytes of them, as it may.
    GroupFull,
    /// A member's protocols or an assignment are larger than a limit.
    TooLarge,
    /// The text beside an offset is larger than a limit.
    OffsetMetadataTooLarge,
    /// Only possible without members.
    NonEmptyGroup,
    /// A member reads the topic whose offset should be removed.
    SubscribedToTopic,
    /// A value that no group can take, such as a negative partition.
    Invalid,
}

impl GroupError {
    /// What the caller should do about it.
    pub fn kind(self) -> Kind {
        match self {
            GroupError::Dead => Kind::NotFound,
            GroupError::UnknownMember | GroupError::IllegalGeneration => Kind::Gone,
            GroupError::FencedInstance => Kind::Fenced,
            GroupError::RebalanceInProgress | GroupError::MemberIdRequired => Kind::Conflict,
            GroupError::InconsistentProtocol
            | GroupError::InvalidSessionTimeout
            | GroupError::Invalid => Kind::Invalid,
            GroupError::GroupFull => Kind::Full,
            GroupError::TooLarge | GroupError::OffsetMetadataTooLarge => Kind::TooLarge,
            GroupError::NonEmptyGroup | GroupError::SubscribedToTopic => Kind::Conflict,
        }
    }

    /// For people; lower case, no full stop.
    pub fn message(self) -> &'static str {
        match self {
            GroupError::Dead => "the group was deleted",
            GroupError::UnknownMember => "not a member of the group",
            GroupError::FencedInstance => "another client took over this instance id",
            GroupError::IllegalGeneration => "not the present generation of the group",
            GroupError::RebalanceInProgress => "the group is rebalancing",
            GroupError::InconsistentProtocol => "no protocol in common with the group's members",
            GroupError::InvalidSessionTimeout => "the session timeout is out of range",
            GroupError::MemberIdRequired => "join again with the member id given",
            GroupError::GroupFull => "the group has its largest size",
            GroupError::TooLarge => "member metadata or assignment too large",
            GroupError::OffsetMetadataTooLarge => "offset metadata too large",
            GroupError::NonEmptyGroup => "the group has members",
            GroupError::SubscribedToTopic => "a member is subscribed to the topic",
            GroupError::Invalid => "a value is out of range",
        }
    }
}

impl std::fmt::Display for GroupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for GroupError {}

impl From<GroupError> for Error {
    fn from(error: GroupError) -> Error {
        Error::new(error.kind(), error.message())
    }
}
