//! DeleteTopics (key 20): by name, and by id from version 6 on (KIP-516).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::Topic;
use sabir_net::connection::Close;

use super::{Outcome, check_resources, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_declare;
use crate::generated::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};

const NO_ID: [u8; 16] = [0; 16];

type Refusal = (ErrorCode, String);

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: DeleteTopicsRequest<'_> = decode(&head, body)?;
    check_resources(request.topics.len() + request.topic_names.len())?;
    let by_name = request.topic_names.iter().map(|name| (Some(*name), NO_ID));
    let by_either = request.topics.iter().map(|topic| (topic.name, topic.topic_id));
    let asked: Vec<_> = by_name.chain(by_either).collect();
    // Looked up before anything is deleted: a topic that is named twice is not deleted at all.
    let found: Vec<_> = asked.iter().map(|(name, id)| find(context, *name, id)).collect();
    let mut times = BTreeMap::new();
    for topic in found.iter().flatten() {
        *times.entry(topic.uuid).or_insert(0) += 1;
    }
    let mut ticket = Ticket::DONE;
    let mut outcomes = Vec::with_capacity(asked.len());
    for found in found {
        outcomes.push(match found {
            Ok(topic) if times[&topic.uuid] > 1 => {
                Err((ErrorCode::InvalidRequest, "The topic is named more than once.".to_owned()))
            }
            Ok(topic) => match context.caller.delete(&topic) {
                Ok(made) => {
                    ticket = ticket.join(made);
                    Ok(topic)
                }
                Err(error) => Err((of_declare(&error), error.message.into_owned())),
            },
            Err(refusal) => Err(refusal),
        });
    }
    // That something is not there may be the work of somebody else, and not kept yet.
    ticket = ticket.join(context.caller.catalog_ticket());
    let responses = asked.iter().zip(&outcomes).map(|((name, id), outcome)| match outcome {
        Ok(topic) => DeletableTopicResult {
            name: Some(&topic.name),
            topic_id: topic.uuid,
            ..DeletableTopicResult::default()
        },
        Err((code, message)) => DeletableTopicResult {
            name: *name,
            topic_id: *id,
            error_code: code.number(),
            error_message: Some(message),
        },
    });
    let response =
        DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

fn find(context: &Context<'_>, name: Option<&str>, id: &[u8; 16]) -> Result<Arc<Topic>, Refusal> {
    let caller = context.caller;
    let refuse = |code, message: &str| Err((code, message.to_owned()));
    let found = match name {
        Some(_) if *id != NO_ID => {
            let message = "You may not specify both topic name and topic id.";
            return refuse(ErrorCode::InvalidRequest, message);
        }
        None if *id == NO_ID => {
            let message = "Neither topic name nor id were specified.";
            return refuse(ErrorCode::InvalidRequest, message);
        }
        Some(name) => caller.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        None => caller.topic_by_uuid(id).ok_or(ErrorCode::UnknownTopicId),
    };
    match found {
        Err(ErrorCode::UnknownTopicId) => {
            refuse(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")
        }
        Err(code) => refuse(code, "This server does not host this topic-partition."),
        // Whoever may not even see it is not told that it is there.
        Ok(topic) if !caller.may(Action::Describe, Resource::Topic(&topic.name)) => {
            refuse(ErrorCode::TopicAuthorizationFailed, "not allowed")
        }
        Ok(topic) => Ok(topic),
    }
}
