//! What the requests of groups share: waiting for room in the core, and words of the field.

use bytes::Bytes;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::error::{Error, Kind};
use sabir_broker::group::State;
use sabir_broker::ticket::Ticket;
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_group_request;
use crate::request::{Outcome, Waiting};

/// Authorized operations where nobody asked for them.
pub const NOT_ASKED: i32 = i32::MIN;

/// Why a request is not answered yet.
pub enum Stop {
    /// Nothing has happened: do the same again once the ticket is reached.
    Wait(Ticket),
    Close(Close),
}

impl From<Close> for Stop {
    fn from(close: Close) -> Stop {
        Stop::Close(close)
    }
}

/// A handler that may be run again as long as it says `Stop::Wait`.
pub type Attempt = fn(&mut Context<'_>, &Head, &Bytes) -> Result<Outcome, Stop>;

/// A request that waits for room in the core.
struct Again {
    head: Head,
    body: Bytes,
    attempt: Attempt,
}

/// Runs the handler until it has room.
pub fn run(
    context: &mut Context<'_>,
    head: Head,
    body: &Bytes,
    attempt: Attempt,
) -> Result<Outcome, Close> {
    let mut again = Again { head, body: body.clone(), attempt };
    match again.poll(context)? {
        Some(outcome) => Ok(outcome),
        None => Ok(Outcome::Wait(Box::new(again))),
    }
}

impl Waiting for Again {
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close> {
        match (self.attempt)(context, &self.head, &self.body) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(Stop::Close(close)) => Err(close),
            Err(Stop::Wait(ticket)) => {
                context.caller.wait(ticket, context.me);
                Ok(None)
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn cancel(&mut self, _caller: &Caller, _me: &Waker) {}

    fn may_end(&self) -> bool {
        false
    }
}

/// Sorts a refusal of the core: wait and repeat, or a code for the client.
pub fn refusal(error: &Error) -> Result<ErrorCode, Stop> {
    match (error.kind, error.wait) {
        (Kind::Throttled, Some(ticket)) => Err(Stop::Wait(ticket)),
        _ => Ok(of_group_request(error)),
    }
}

/// The type of the groups of JoinGroup and SyncGroup, as lists and filters name it.
pub const CLASSIC: &str = "classic";

pub fn state_name(state: State) -> &'static str {
    match state {
        State::Empty => "Empty",
        State::Preparing => "PreparingRebalance",
        State::Completing => "CompletingRebalance",
        State::Stable => "Stable",
        State::Dead => "Dead",
    }
}
