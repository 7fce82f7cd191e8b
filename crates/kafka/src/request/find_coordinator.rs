//! FindCoordinator (key 10): which broker looks after a group. There is one broker.

use bytes::Bytes;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::metadata::advertised;
use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_group_request;
use crate::generated::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

/// From this version on a request names many keys.
const BATCH_FROM: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: FindCoordinatorRequest<'_> = decode(&head, body)?;
    let (host, port) = advertised(context.peer);
    let find = |key| match check(context, request.key_type, key) {
        Ok(()) => {
            let node_id = context.settings.node_id;
            Coordinator { key, node_id, host: &host, port, ..Coordinator::default() }
        }
        Err(code) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.number(),
            error_message: Some(code.name()),
            ..Coordinator::default()
        },
    };
    let mut response = FindCoordinatorResponse::default();
    if head.version >= BATCH_FROM {
        response.coordinators = request.coordinator_keys.iter().map(|key| find(key)).collect();
    } else {
        let one = find(request.key);
        response.error_code = one.error_code;
        response.error_message = one.error_message;
        (response.node_id, response.host, response.port) = (one.node_id, one.host, one.port);
    }
    Ok(Outcome::Reply(context.reply(&head, &response, Ticket::DONE)?))
}

fn check(context: &Context<'_>, key_type: i8, key: &str) -> Result<(), ErrorCode> {
    match key_type {
        GROUP => {
            let allowed = context.caller.allowed(Action::Describe, Resource::Group(key));
            allowed.map_err(|error| of_group_request(&error))
        }
        // What clients take as final: there are no transactions.
        TRANSACTION => Err(ErrorCode::TransactionalIdAuthorizationFailed),
        _ => Err(ErrorCode::InvalidRequest),
    }
}
