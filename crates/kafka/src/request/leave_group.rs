//! LeaveGroup (key 13): members that go, or that somebody sends away by their instance ids.

use bytes::Bytes;
use sabir_broker::group::LeaveMember;
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::errors::of_group;
use crate::generated::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};
use crate::groups::{Stop, refusal, run};

/// From this version on a request names many members (KIP-345).
const BATCH_FROM: i16 = 3;

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    run(context, head, body, attempt)
}

fn attempt(context: &mut Context<'_>, head: &Head, body: &Bytes) -> Result<Outcome, Stop> {
    let mut request: LeaveGroupRequest<'_> = decode(head, body)?;
    let batch = head.version >= BATCH_FROM;
    if !batch {
        let member_id = request.member_id;
        request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    }
    let leaving: Vec<LeaveMember<'_>> = request
        .members
        .iter()
        .map(|m| LeaveMember { member_id: m.member_id, instance_id: m.group_instance_id })
        .collect();
    let mut response = LeaveGroupResponse::default();
    let answer = match context.caller.leave(context.now, request.group_id, &leaving) {
        Ok(answer) => answer,
        Err(error) => {
            response.error_code = refusal(&error)?.number();
            return Ok(Outcome::Reply(context.reply(head, &response, Ticket::DONE)?));
        }
    };
    let codes = answer.value.iter().map(|result| result.err().map_or(0, |e| of_group(e).number()));
    if batch {
        let members =
            request.members.iter().zip(codes).map(|(member, error_code)| MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code,
            });
        response.members = members.collect();
    } else {
        response.error_code = codes.sum();
    }
    Ok(Outcome::Reply(context.reply(head, &response, answer.ticket)?))
}
