//! Heartbeat (key 12): a member lives, and hears whether it has to join again.

use bytes::Bytes;
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::errors::{of_group, of_group_request};
use crate::generated::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: HeartbeatRequest<'_> = decode(&head, body)?;
    let answer = context.caller.heartbeat(
        context.now,
        request.group_id,
        request.member_id,
        request.group_instance_id,
        request.generation_id,
    );
    let (code, ticket) = match answer {
        Ok(answer) => (answer.value.err().map(of_group), answer.ticket),
        Err(error) => (Some(of_group_request(&error)), Ticket::DONE),
    };
    let error_code = code.map_or(0, |code| code.number());
    let response = HeartbeatResponse { error_code, ..HeartbeatResponse::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}
