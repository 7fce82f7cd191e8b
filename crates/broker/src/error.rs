//! The few kinds of error of the core. Each tells the caller what to do; a new kind only when
//! somebody would act differently.

use std::borrow::Cow;

use sabir_storage::ticket::Ticket;

/// What the caller should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Mend the request.
    Invalid,
    /// Ask for rights.
    Denied,
    /// It is not there.
    NotFound,
    /// It is there already.
    Exists,
    /// Something changed meanwhile: read again.
    Conflict,
    /// What was asked for is gone: start over from what there is.
    Gone,
    /// Larger than a limit.
    TooLarge,
    /// Wait for the ticket that the error names, or for one's turn in the line; then try again.
    Throttled,
    /// No space: wait until somebody makes room.
    Full,
    /// Another took over this identity.
    Fenced,
    /// Cannot be served at the moment: try later.
    Unavailable,
    /// Damaged or impossible: do not retry.
    Broken,
}

/// A refused operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: Kind,
    /// For people; lower case, no full stop.
    pub message: Cow<'static, str>,
    /// With `Throttled`: the ticket to wait for; None = one stands in line and will be woken.
    pub wait: Option<Ticket>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Error {
        Error { kind, message: message.into(), wait: None }
    }

    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::Invalid, message)
    }

    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    pub fn throttled(wait: Ticket) -> Error {
        Error { wait: Some(wait), ..Error::in_line() }
    }

    /// Throttled, with a place in the line of those who wait for room.
    pub fn in_line() -> Error {
        Error::new(Kind::Throttled, "too much is waiting to be written")
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
