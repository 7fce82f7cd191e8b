//! Why bytes are no message, and why a message cannot become bytes.

/// Why a message could not be decoded. All of them end the connection: after one, the rest of the
/// stream cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field reaches beyond the end of the frame.
    #[error("the message ends inside a field")]
    Truncated,
    /// A length is negative where null is not allowed, or below -1.
    #[error("a length is negative")]
    NegativeLength,
    /// A variable-length integer has more than 32 bits.
    #[error("a variable-length integer is too long")]
    LongVarint,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// An array claims more elements than the bytes left could hold.
    #[error("an array claims more elements than the message can hold")]
    LongArray,
    /// The decoded arrays would take more memory than a message of this size may.
    #[error("the message would take too much memory")]
    OverBudget,
    /// A tagged field is longer than its content.
    #[error("a tagged field has bytes left over")]
    LongTag,
    /// Bytes are left after the last field.
    #[error("bytes are left over after the message")]
    TrailingBytes,
    /// The version is outside the served range.
    #[error("the version of the message is not supported")]
    UnsupportedVersion,
}

/// Why a message could not be encoded: its maker asked for what the version cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string, array or frame is longer than its length field can say.
    #[error("a field is too long")]
    TooLong,
    /// A field is null that this version requires.
    #[error("a required field is null")]
    NullNotAllowed,
    /// The version is outside the served range.
    #[error("the version of the message is not supported")]
    UnsupportedVersion,
}
