//! DescribeCluster (key 60): the one broker there is.

use bytes::Bytes;
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::metadata::advertised;
use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::generated::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::{names, operations};

/// Kinds of endpoint (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: DescribeClusterRequest = decode(&head, body)?;
    if let Err((code, message)) = check(request.endpoint_type) {
        let response = DescribeClusterResponse {
            error_code: code.number(),
            error_message: Some(&message),
            endpoint_type: request.endpoint_type,
            ..DescribeClusterResponse::default()
        };
        return Ok(Outcome::Reply(context.reply(&head, &response, Ticket::DONE)?));
    }
    let (host, port) = advertised(context.peer);
    let cluster_id = names::base64(context.caller.broker().cluster_id());
    let node = context.settings.node_id;
    let response = DescribeClusterResponse {
        cluster_id: &cluster_id,
        controller_id: node,
        brokers: vec![DescribeClusterBroker {
            broker_id: node,
            host: &host,
            port,
            ..DescribeClusterBroker::default()
        }],
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => operations::of_cluster(context.caller),
            false => operations::NOT_ASKED,
        },
        ..DescribeClusterResponse::default()
    };
    Ok(Outcome::Reply(context.reply(&head, &response, Ticket::DONE)?))
}

fn check(endpoint_type: i8) -> Result<(), (ErrorCode, String)> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => Err((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
             type CONTROLLER"
                .to_owned(),
        )),
        0 => Err((ErrorCode::InvalidRequest, "Unsupported endpoint type 0".to_owned())),
        other => {
            let message = format!("Unsupported endpoint type {other}");
            Err((ErrorCode::UnsupportedEndpointType, message))
        }
    }
}
