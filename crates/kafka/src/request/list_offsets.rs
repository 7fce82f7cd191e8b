//! ListOffsets (key 2): where a partition begins, ends, and where a time lies in it.

use bytes::Bytes;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::fetch::check_epoch;
use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_topic;
use crate::generated::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const EARLIEST_LOCAL: i64 = -4;

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: ListOffsetsRequest<'_> = decode(&head, body)?;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let find = |partition| find(context, topic.name, partition, head.version);
        let partitions = topic.partitions.iter().map(find).collect();
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    let response = ListOffsetsResponse { topics, ..ListOffsetsResponse::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, Ticket::DONE)?))
}

fn find(
    context: &Context<'_>,
    name: &str,
    asked: &ListOffsetsPartition,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
        ..ListOffsetsPartitionResponse::default()
    };
    match look_up(context, name, asked) {
        Ok((timestamp, offset)) => {
            (response.timestamp, response.offset) = (timestamp, offset);
            if offset >= 0 {
                response.leader_epoch = context.caller.epoch();
            }
            if version == 0 && offset >= 0 {
                response.old_style_offsets = vec![offset];
            }
        }
        Err(code) => response.error_code = code.number(),
    }
    response
}

fn look_up(
    context: &Context<'_>,
    name: &str,
    asked: &ListOffsetsPartition,
) -> Result<(i64, i64), ErrorCode> {
    let caller = context.caller;
    let allowed = caller.allowed(Action::Describe, Resource::Topic(name));
    allowed.map_err(|error| of_topic(&error))?;
    let topic = caller.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = usize::try_from(asked.partition_index).ok();
    let partition = partition.and_then(|at| topic.partitions.get(at));
    let view = &partition.ok_or(ErrorCode::UnknownTopicOrPartition)?.view;
    check_epoch(caller.epoch(), asked.current_leader_epoch)?;
    match asked.timestamp {
        LATEST => Ok((-1, view.visible())),
        EARLIEST | EARLIEST_LOCAL => Ok((-1, view.start())),
        _ => Ok((-1, -1)),
    }
}
