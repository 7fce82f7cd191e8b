//! OffsetForLeaderEpoch (key 23): where the log ended under an earlier opening of the broker
//! (KIP-101, KIP-320).

use bytes::Bytes;
use sabir_broker::policy::{Action, Resource};
use sabir_net::connection::Close;

use super::fetch::check_epoch;
use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_topic;
use crate::generated::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

/// Told where nothing is known of an epoch.
const UNKNOWN: (i32, i64) = (-1, -1);

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: OffsetForLeaderEpochRequest<'_> = decode(&head, body)?;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let answer = |asked: &OffsetForLeaderPartition| {
            let found = find(context, topic.topic, asked);
            let error_code = found.err().unwrap_or(ErrorCode::None).number();
            let (leader_epoch, end_offset) = found.unwrap_or(UNKNOWN);
            EpochEndOffset { error_code, partition: asked.partition, leader_epoch, end_offset }
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    let answers =
        topics.iter().flat_map(|topic: &OffsetForLeaderTopicResult<'_>| &topic.partitions);
    let ticket = context.ticket_of(answers.map(|answer| answer.error_code));
    let response =
        OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() };
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

fn find(
    context: &Context<'_>,
    name: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let caller = context.caller;
    let allowed = caller.allowed(Action::Describe, Resource::Topic(name));
    allowed.map_err(|error| of_topic(&error))?;
    let topic = caller.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = usize::try_from(asked.partition).ok();
    let partition = partition.and_then(|at| topic.partitions.get(at));
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_epoch(caller.epoch(), asked.current_leader_epoch)?;
    let epoch = asked.leader_epoch;
    Ok(match epoch {
        ..0 => UNKNOWN,
        now if now == caller.epoch() => (now, partition.view.visible()),
        later if later > caller.epoch() => UNKNOWN,
        // Older than anything that is left: all of it is newer, from the start on.
        older => caller.epoch_end(partition, older).unwrap_or((older, partition.view.start())),
    })
}
