//! JoinGroup (key 11): become a member, or take part in the next round. Answered when the round is
//! complete.

use std::fmt::Write;

use bytes::Bytes;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::group::{GroupError, Join, JoinReply};
use sabir_broker::groups::{Answer, Asked, GroupWait};
use sabir_broker::random::Random;
use sabir_broker::ticket::Ticket;
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use super::{Outcome, Waiting, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_group;
use crate::generated::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::groups::{Stop, refusal, run};

/// From this version on a new member first gets its id, and joins with it (KIP-394).
const ID_FIRST_FROM: i16 = 4;
/// From this version on an answer need not name a protocol.
const NO_PROTOCOL_FROM: i16 = 7;
/// From this version on a leader can be told that the assignment stands (KIP-814).
const SKIP_FROM: i16 = 9;

/// A join that waits for its round.
struct Joining {
    head: Head,
    wait: GroupWait,
    /// What a refusal calls the member.
    member_id: String,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    run(context, head, body, attempt)
}

fn attempt(context: &mut Context<'_>, head: &Head, body: &Bytes) -> Result<Outcome, Stop> {
    let request: JoinGroupRequest<'_> = decode(head, body)?;
    let client_id = head.client_id.as_deref().unwrap_or("");
    let prefix = request.group_instance_id.unwrap_or(client_id);
    let new_member_id = new_id(prefix, context.random);
    // Sessions out of range are refused, and so are negative ones.
    let session_timeout_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
    let rebalance = if head.version == 0 { -1 } else { request.rebalance_timeout_ms };
    let protocols: Vec<(&str, &[u8])> =
        request.protocols.iter().map(|protocol| (protocol.name, protocol.metadata)).collect();
    let client_host = format!("/{}", context.peer.remote.ip().to_canonical());
    let join = Join {
        member_id: request.member_id,
        new_member_id: &new_member_id,
        instance_id: request.group_instance_id,
        client_id,
        client_host: &client_host,
        session_timeout_ms,
        rebalance_timeout_ms: u32::try_from(rebalance).unwrap_or(session_timeout_ms),
        protocol_type: request.protocol_type,
        protocols: &protocols,
        known_member_only: head.version >= ID_FIRST_FROM,
        may_skip_assignment: head.version >= SKIP_FROM,
        waker: context.me,
    };
    let member_id = request.member_id;
    match context.caller.join(context.now, request.group_id, join) {
        Err(error) => refuse(context, head, member_id, refusal(&error)?, Ticket::DONE),
        Ok(Answer { value: Asked::Done(reply), ticket }) => tell(context, head, &reply, ticket),
        Ok(Answer { value: Asked::Refused(error), ticket }) => {
            let fresh = error == GroupError::MemberIdRequired;
            let member_id = if fresh { &new_member_id } else { member_id };
            refuse(context, head, member_id, of_group(error), ticket)
        }
        Ok(Answer { value: Asked::Wait(wait), .. }) => {
            let member_id = member_id.to_owned();
            Ok(Outcome::Wait(Box::new(Joining { head: head.clone(), wait, member_id })))
        }
    }
}

fn tell(
    context: &mut Context<'_>,
    head: &Head,
    reply: &JoinReply,
    ticket: Ticket,
) -> Result<Outcome, Stop> {
    let members = reply.members.iter().map(|member| JoinGroupResponseMember {
        member_id: &member.id,
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    });
    let response = JoinGroupResponse {
        generation_id: reply.generation,
        protocol_type: reply.protocol_type.as_deref(),
        protocol_name: reply.protocol.as_deref().or(Some("")),
        leader: &reply.leader,
        skip_assignment: reply.skip_assignment,
        member_id: &reply.member_id,
        members: members.collect(),
        ..JoinGroupResponse::default()
    };
    Ok(Outcome::Reply(context.reply(head, &response, ticket)?))
}

fn refuse(
    context: &mut Context<'_>,
    head: &Head,
    member_id: &str,
    code: ErrorCode,
    ticket: Ticket,
) -> Result<Outcome, Stop> {
    let response = JoinGroupResponse {
        error_code: code.number(),
        generation_id: -1,
        protocol_name: Some("").filter(|_| head.version < NO_PROTOCOL_FROM),
        member_id,
        ..JoinGroupResponse::default()
    };
    Ok(Outcome::Reply(context.reply(head, &response, ticket)?))
}

/// `prefix-` and 128 random bits in the form of a UUID (RFC 9562).
fn new_id(prefix: &str, random: &mut dyn Random) -> String {
    let mut id = format!("{prefix}-");
    for (at, byte) in random.uuid().iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("writing to a string does not fail");
    }
    id
}

impl Waiting for Joining {
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close> {
        let Answer { value, ticket } = context.caller.poll_join(context.now, self.wait);
        let outcome = match value {
            Asked::Wait(_) => return Ok(None),
            Asked::Done(reply) => tell(context, &self.head, &reply, ticket),
            Asked::Refused(error) => {
                refuse(context, &self.head, &self.member_id, of_group(error), ticket)
            }
        };
        settled(outcome)
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

/// A request that the group has taken in has nothing to wait for but the group.
pub(super) fn settled(outcome: Result<Outcome, Stop>) -> Result<Option<Outcome>, Close> {
    match outcome {
        Ok(outcome) => Ok(Some(outcome)),
        Err(Stop::Close(close)) => Err(close),
        Err(Stop::Wait(_)) => unreachable!("only the first attempt asks for room"),
    }
}
