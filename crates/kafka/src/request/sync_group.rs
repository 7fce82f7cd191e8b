//! SyncGroup (key 14): the leader brings everybody's assignment, each member gets its own. Answered
//! when the leader has spoken.

use bytes::Bytes;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::group::{Sync, SyncReply};
use sabir_broker::groups::{Answer, Asked, GroupWait};
use sabir_broker::ticket::Ticket;
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use super::join_group::settled;
use super::{Outcome, Waiting, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_group;
use crate::generated::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::groups::{Stop, refusal, run};

/// From this version on a request has to name the protocol and its type (KIP-559).
const PROTOCOL_FROM: i16 = 5;

/// A member that waits for the leader.
struct Syncing {
    head: Head,
    wait: GroupWait,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    run(context, head, body, attempt)
}

fn attempt(context: &mut Context<'_>, head: &Head, body: &Bytes) -> Result<Outcome, Stop> {
    let request: SyncGroupRequest<'_> = decode(head, body)?;
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if head.version >= PROTOCOL_FROM && !named {
        return refuse(context, head, ErrorCode::InconsistentGroupProtocol, Ticket::DONE);
    }
    let assignments: Vec<(&str, &[u8])> =
        request.assignments.iter().map(|given| (given.member_id, given.assignment)).collect();
    let sync = Sync {
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: &assignments,
        waker: context.me,
    };
    match context.caller.sync(context.now, request.group_id, sync) {
        Err(error) => refuse(context, head, refusal(&error)?, Ticket::DONE),
        Ok(Answer { value: Asked::Done(reply), ticket }) => tell(context, head, &reply, ticket),
        Ok(Answer { value: Asked::Refused(error), ticket }) => {
            refuse(context, head, of_group(error), ticket)
        }
        Ok(Answer { value: Asked::Wait(wait), .. }) => {
            Ok(Outcome::Wait(Box::new(Syncing { head: head.clone(), wait })))
        }
    }
}

fn tell(
    context: &mut Context<'_>,
    head: &Head,
    reply: &SyncReply,
    ticket: Ticket,
) -> Result<Outcome, Stop> {
    let response = SyncGroupResponse {
        protocol_type: reply.protocol_type.as_deref(),
        protocol_name: reply.protocol.as_deref(),
        assignment: &reply.assignment,
        ..SyncGroupResponse::default()
    };
    Ok(Outcome::Reply(context.reply(head, &response, ticket)?))
}

fn refuse(
    context: &mut Context<'_>,
    head: &Head,
    code: ErrorCode,
    ticket: Ticket,
) -> Result<Outcome, Stop> {
    let response = SyncGroupResponse { error_code: code.number(), ..Default::default() };
    Ok(Outcome::Reply(context.reply(head, &response, ticket)?))
}

impl Waiting for Syncing {
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close> {
        let Answer { value, ticket } = context.caller.poll_sync(context.now, self.wait);
        settled(match value {
            Asked::Wait(_) => return Ok(None),
            Asked::Done(reply) => tell(context, &self.head, &reply, ticket),
            Asked::Refused(error) => refuse(context, &self.head, of_group(error), ticket),
        })
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn cancel(&mut self, caller: &Caller, me: &Waker) {
        caller.gone(self.wait, me);
    }

    fn may_end(&self) -> bool {
        true
    }
}
