//! InitProducerId (key 22): an id for idempotent producing. Transactions are refused in a way that
//! clients take as final.

use bytes::Bytes;
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::generated::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: InitProducerIdRequest<'_> = decode(&head, body)?;
    let mut response =
        InitProducerIdResponse { producer_id: -1, producer_epoch: -1, ..Default::default() };
    let mut ticket = Ticket::DONE;
    if request.transactional_id.is_some() {
        response.error_code = ErrorCode::TransactionalIdAuthorizationFailed.number();
    } else {
        // A client that names its former id and epoch wants to begin anew (KIP-360): a new id
        // leaves nothing of the old one to be confused with.
        (response.producer_id, ticket) = context.caller.producer_id();
        response.producer_epoch = 0;
    }
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}
