//! CreatePartitions (key 37): more partitions for a topic; never fewer.

use std::collections::BTreeMap;

use bytes::Bytes;
use sabir_broker::error::Kind;
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::create_topics::check_replicas;
use super::{Outcome, check_resources, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_declare;
use crate::generated::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

type Refusal = (ErrorCode, String);

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: CreatePartitionsRequest<'_> = decode(&head, body)?;
    check_resources(request.topics.len())?;
    let mut times = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name).or_insert(0) += 1;
    }
    let mut ticket = Ticket::DONE;
    let mut outcomes = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        outcomes.push(if times[topic.name] > 1 {
            Err((ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()))
        } else {
            grow(context, topic, request.validate_only).map(|made| ticket = ticket.join(made))
        });
    }
    ticket = ticket.join(context.caller.catalog_ticket());
    let results = request.topics.iter().zip(&outcomes).map(|(topic, outcome)| match outcome {
        Ok(()) => CreatePartitionsTopicResult {
            name: topic.name,
            ..CreatePartitionsTopicResult::default()
        },
        Err((code, message)) => CreatePartitionsTopicResult {
            name: topic.name,
            error_code: code.number(),
            error_message: Some(message),
        },
    });
    let response = CreatePartitionsResponse { results: results.collect(), ..Default::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

fn grow(
    context: &Context<'_>,
    asked: &CreatePartitionsTopic<'_>,
    validate_only: bool,
) -> Result<Ticket, Refusal> {
    let invalid = |message| Err((ErrorCode::InvalidPartitions, message));
    loop {
        let Some(topic) = context.caller.topic(asked.name) else {
            let message = "This server does not host this topic-partition.".to_owned();
            return Err((ErrorCode::UnknownTopicOrPartition, message));
        };
        let known = topic.partitions.len() as i64;
        let count = i64::from(asked.count);
        if count < known {
            return invalid(format!(
                "The topic {} currently has {known} partition(s); {count} would not be an \
                 increase.",
                asked.name
            ));
        }
        if count == known {
            return invalid(format!("Topic already has {known} partition(s)."));
        }
        if let Some(assignments) = &asked.assignments {
            let more = count - known;
            if assignments.len() as i64 != more {
                let message = format!(
                    "Attempted to add {more} additional partition(s), but {} assignment(s) were \
                     specified.",
                    assignments.len()
                );
                return Err((ErrorCode::InvalidReplicaAssignment, message));
            }
            for assignment in assignments {
                check_replicas(context, &assignment.broker_ids)?;
            }
        }
        let count = u32::try_from(count).expect("more than what there is already");
        let outcome = if validate_only {
            context.caller.may_add_partitions(&topic, count).map(|()| Ticket::DONE)
        } else {
            context.caller.add_partitions(&topic, count)
        };
        match outcome {
            Ok(ticket) => return Ok(ticket),
            Err(error) if error.kind == Kind::Conflict => {}
            Err(error) => return Err((of_declare(&error), error.message.into_owned())),
        }
    }
}
