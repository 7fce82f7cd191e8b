//! CreateTopics (key 19): topics with their partitions and configs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::declare::Declare;
use sabir_broker::error::Kind;
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::Topic;
use sabir_net::connection::Close;

use super::{Outcome, check_resources, decode};
use crate::config::{Entry, Kept};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_declare;
use crate::generated::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use crate::names;

/// Stands for the broker's default (KIP-464).
const DEFAULT: i32 = -1;

pub type Refusal = (ErrorCode, String);

/// A topic that was made, or could be.
struct Made {
    uuid: [u8; 16],
    partitions: u32,
    configs: Vec<Entry>,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: CreateTopicsRequest<'_> = decode(&head, body)?;
    check_resources(request.topics.len())?;
    let mut times = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name).or_insert(0) += 1;
    }
    let mut ticket = Ticket::DONE;
    let mut outcomes = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        // A name that stands there twice is answered once, as in Kafka.
        match times.get_mut(topic.name) {
            Some(1) => {
                let made = create(context, topic, request.validate_only, &mut ticket);
                outcomes.push((topic.name, made));
            }
            Some(times) if *times > 1 => {
                *times = 0;
                let message = "Duplicate topic name.".to_owned();
                outcomes.push((topic.name, Err((ErrorCode::InvalidRequest, message))));
            }
            _ => {}
        }
    }
    ticket = ticket.join(context.caller.catalog_ticket());
    let response = CreateTopicsResponse {
        topics: outcomes.iter().map(|(name, outcome)| describe(name, outcome)).collect(),
        ..CreateTopicsResponse::default()
    };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

fn describe<'a>(name: &'a str, outcome: &'a Result<Made, Refusal>) -> CreatableTopicResult<'a> {
    match outcome {
        Ok(made) => CreatableTopicResult {
            name,
            topic_id: made.uuid,
            num_partitions: made.partitions as i32,
            replication_factor: 1,
            configs: Some(made.configs.iter().map(describe_config).collect()),
            ..CreatableTopicResult::default()
        },
        Err((code, message)) => CreatableTopicResult {
            name,
            error_code: code.number(),
            error_message: Some(message),
            ..CreatableTopicResult::default()
        },
    }
}

fn describe_config(entry: &Entry) -> CreatableTopicConfigs<'_> {
    CreatableTopicConfigs {
        name: entry.name,
        value: entry.value.as_deref(),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: false,
    }
}

fn create(
    context: &mut Context<'_>,
    asked: &CreatableTopic<'_>,
    validate_only: bool,
    ticket: &mut Ticket,
) -> Result<Made, Refusal> {
    let name = asked.name;
    if context.caller.topic(name).is_some() {
        return Err(exists(name));
    }
    names::check_new(context.caller, name)?;
    let partitions = partitions(context, asked)?;
    let kept = configs(context, asked)?;
    let configs = kept.describe(context.caller.broker().defaults());
    let refused = |error: sabir_broker::error::Error| match error.kind {
        Kind::Exists => exists(name),
        _ => (of_declare(&error), error.message.into_owned()),
    };
    if validate_only {
        context.caller.may_declare(name, partitions).map_err(refused)?;
        return Ok(Made { uuid: [0; 16], partitions, configs });
    }
    let Kept { policy, labels } = kept;
    let declare = Declare { name: name.to_owned(), partitions, policy, labels };
    let (topic, made): (Arc<Topic>, _) =
        context.caller.declare(context.now, context.random, declare).map_err(refused)?;
    *ticket = ticket.join(made);
    Ok(Made { uuid: topic.uuid, partitions, configs })
}

fn exists(name: &str) -> Refusal {
    (ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."))
}

/// How many partitions are asked for, by number or by naming their brokers.
fn partitions(context: &Context<'_>, asked: &CreatableTopic<'_>) -> Result<u32, Refusal> {
    let (count, factor) = (asked.num_partitions, i32::from(asked.replication_factor));
    if !asked.assignments.is_empty() {
        return assigned(context, asked);
    }
    if factor == 0 || factor < DEFAULT {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((ErrorCode::InvalidReplicationFactor, message.to_owned()));
    }
    if factor > 1 {
        let message = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor \
             of {factor} cannot be reached because only 1 broker(s) are registered."
        );
        return Err((ErrorCode::InvalidReplicationFactor, message));
    }
    match u32::try_from(count) {
        Err(_) if count == DEFAULT => Ok(context.settings.default_partitions),
        Ok(0) | Err(_) => {
            let message = "Number of partitions was set to an invalid non-positive value.";
            Err((ErrorCode::InvalidPartitions, message.to_owned()))
        }
        Ok(count) => Ok(count),
    }
}

fn assigned(context: &Context<'_>, asked: &CreatableTopic<'_>) -> Result<u32, Refusal> {
    let with = |what: &str| {
        let message =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err((ErrorCode::InvalidRequest, message))
    };
    if i32::from(asked.replication_factor) != DEFAULT {
        return with("replication factor");
    }
    if asked.num_partitions != DEFAULT {
        return with("numPartitions");
    }
    let invalid = |message: String| Err((ErrorCode::InvalidReplicaAssignment, message));
    let mut named: Vec<i32> = asked.assignments.iter().map(|one| one.partition_index).collect();
    named.sort_unstable();
    if let Some(twice) = named.windows(2).find(|two| two[0] == two[1]) {
        let at = twice[0];
        return invalid(format!("Found multiple manual partition assignments for partition {at}"));
    }
    for assignment in &asked.assignments {
        check_replicas(context, &assignment.broker_ids)?;
    }
    if !named.iter().copied().eq(0..named.len() as i32) {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return invalid(message.to_owned());
    }
    Ok(named.len() as u32)
}

/// Checks the brokers that a partition is assigned to: there is only this one.
pub fn check_replicas(context: &Context<'_>, brokers: &[i32]) -> Result<(), Refusal> {
    let invalid = |message: String| Err((ErrorCode::InvalidReplicaAssignment, message));
    let this = context.settings.node_id;
    match brokers {
        [] => invalid("The manual partition assignment includes an empty replica list.".to_owned()),
        [broker] if *broker == this => Ok(()),
        brokers => match brokers.iter().find(|broker| **broker != this) {
            Some(other) => invalid(format!(
                "The manual partition assignment includes broker {other}, but no such broker is \
                 registered."
            )),
            None => invalid(format!(
                "The manual partition assignment includes the broker {this} more than once."
            )),
        },
    }
}

fn configs(context: &Context<'_>, asked: &CreatableTopic<'_>) -> Result<Kept, Refusal> {
    let invalid = |message: String| (ErrorCode::InvalidConfig, message);
    let mut kept = Kept::default();
    for config in &asked.configs {
        let Some(value) = config.value else {
            let message = format!(
                "Null value not supported for topic configs: {}",
                names::short(config.name)
            );
            return Err(invalid(message));
        };
        kept.set(config.name, value).map_err(invalid)?;
    }
    kept.check(context.caller.broker().defaults()).map_err(invalid)?;
    Ok(kept)
}
