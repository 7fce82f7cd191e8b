//! Metadata (key 3): the broker, and the topics with their partitions.

use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::declare::Declare;
use sabir_broker::error::Kind;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::Topic;
use sabir_net::connection::{Close, Peer};

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_declare;
use crate::generated::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::{names, operations};

/// What became of a topic that was asked for.
enum Found {
    Topic(Arc<Topic>),
    Error(ErrorCode),
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: MetadataRequest<'_> = decode(&head, body)?;
    let mut ticket = Ticket::DONE;
    let all = match &request.topics {
        None => true,
        // Version 0 has no null: there an empty list means all.
        Some(topics) => head.version == 0 && topics.is_empty(),
    };
    let mut found = Vec::new();
    if all {
        for topic in context.caller.topics() {
            let visible = context.caller.allowed(Action::Describe, Resource::Topic(&topic.name));
            if visible.is_ok() && names::is_topic(&topic.name) {
                found.push((Asked::default(), Found::Topic(topic)));
            }
        }
    } else {
        let create = head.version < 4 || request.allow_auto_topic_creation;
        for asked in request.topics.iter().flatten() {
            found.push((Asked::of(asked), find(context, asked, create, &mut ticket)));
        }
    }
    // Others may have made or deleted what was just seen.
    ticket = ticket.join(context.caller.catalog_ticket());
    let (host, port) = advertised(context.peer);
    let cluster_id = names::base64(context.caller.broker().cluster_id());
    let node = context.settings.node_id;
    let epoch = context.caller.epoch();
    let caller = context.caller;
    let of_topic = |topic: &Topic| match request.include_topic_authorized_operations {
        true => operations::of_topic(caller, &topic.name),
        false => operations::NOT_ASKED,
    };
    let describe = |(asked, found)| describe(asked, found, node, epoch, of_topic);
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: node, host: &host, port, rack: None }],
        cluster_id: Some(&cluster_id),
        controller_id: node,
        topics: found.iter().map(|(asked, found)| (asked, found)).map(describe).collect(),
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => operations::of_cluster(caller),
            false => operations::NOT_ASKED,
        },
        ..MetadataResponse::default()
    };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

/// The name or id in the request, to be answered with.
#[derive(Default)]
struct Asked<'a> {
    name: Option<&'a str>,
    id: [u8; 16],
}

impl<'a> Asked<'a> {
    fn of(topic: &MetadataRequestTopic<'a>) -> Asked<'a> {
        Asked { name: topic.name, id: topic.topic_id }
    }
}

fn find(
    context: &mut Context<'_>,
    asked: &MetadataRequestTopic<'_>,
    create: bool,
    ticket: &mut Ticket,
) -> Found {
    // The Java client sends an empty name beside the id.
    let by_id = asked.topic_id != [0; 16];
    let Some(name) = asked.name.filter(|_| !by_id) else {
        return match context.caller.topic_by_uuid(&asked.topic_id) {
            Some(topic) => Found::Topic(topic),
            None => Found::Error(ErrorCode::UnknownTopicId),
        };
    };
    if !names::is_topic(name) {
        return Found::Error(ErrorCode::InvalidTopicException);
    }
    if context.caller.allowed(Action::Describe, Resource::Topic(name)).is_err() {
        return Found::Error(ErrorCode::TopicAuthorizationFailed);
    }
    if let Some(topic) = context.caller.topic(name) {
        return Found::Topic(topic);
    }
    if !create || !context.settings.auto_create_topics {
        return Found::Error(ErrorCode::UnknownTopicOrPartition);
    }
    if let Err((code, _)) = names::check_new(context.caller, name) {
        return Found::Error(code);
    }
    let declare = Declare {
        name: name.to_owned(),
        partitions: context.settings.default_partitions,
        ..Declare::default()
    };
    match context.caller.declare(context.now, context.random, declare) {
        Ok((topic, made)) => {
            *ticket = ticket.join(made);
            Found::Topic(topic)
        }
        Err(error) if error.kind == Kind::Exists => match context.caller.topic(name) {
            Some(topic) => Found::Topic(topic),
            None => Found::Error(ErrorCode::UnknownTopicOrPartition),
        },
        Err(error) => Found::Error(of_declare(&error)),
    }
}

fn describe<'a>(
    asked: &Asked<'a>,
    found: &'a Found,
    node: i32,
    epoch: i32,
    operations: impl Fn(&Topic) -> i32,
) -> MetadataResponseTopic<'a> {
    match found {
        Found::Topic(topic) => MetadataResponseTopic {
            name: Some(&topic.name),
            topic_id: topic.uuid,
            partitions: (0..topic.partitions.len())
                .map(|at| MetadataResponsePartition {
                    partition_index: at as i32,
                    leader_id: node,
                    leader_epoch: epoch,
                    replica_nodes: vec![node],
                    isr_nodes: vec![node],
                    ..MetadataResponsePartition::default()
                })
                .collect(),
            topic_authorized_operations: operations(topic),
            ..MetadataResponseTopic::default()
        },
        Found::Error(error) => MetadataResponseTopic {
            error_code: error.number(),
            name: (asked.id == [0; 16]).then(|| asked.name.unwrap_or_default()),
            topic_id: asked.id,
            topic_authorized_operations: operations::NOT_ASKED,
            ..MetadataResponseTopic::default()
        },
    }
}

/// Where the client shall go: what the listener is told to say, else where the client is already.
pub fn advertised(peer: &Peer) -> (String, i32) {
    let told = peer.advertise.as_deref().and_then(|told| told.rsplit_once(':'));
    if let Some((host, port)) = told
        && let Ok(port) = port.parse()
    {
        return (host.trim_matches(['[', ']']).to_owned(), port);
    }
    (peer.local.ip().to_canonical().to_string(), i32::from(peer.local.port()))
}
