//! OffsetCommit (key 8): how far a group has read, kept for it.

use bytes::Bytes;
use sabir_broker::error::Kind;
use sabir_broker::group::{Commit, OffsetCommit, TopicId};
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::{of_group, of_topic};
use crate::generated::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::groups::{Stop, refusal, run};

/// From this version on topics are named by id.
pub(super) const IDS_FROM: i16 = 10;
/// From this version on a member may be told that there is no such group.
const NO_GROUP_FROM: i16 = 9;
/// In these versions a request has a retention of its own.
const RETENTION: std::ops::RangeInclusive<i16> = 2..=4;

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    run(context, head, body, attempt)
}

fn attempt(context: &mut Context<'_>, head: &Head, body: &Bytes) -> Result<Outcome, Stop> {
    let request: OffsetCommitRequest<'_> = decode(head, body)?;
    let own = RETENTION.contains(&head.version) && request.retention_time_ms >= 0;
    let expire_ms = own.then(|| context.now.wall.saturating_add(request.retention_time_ms));
    let mut codes = Vec::new();
    let mut offsets = Vec::new();
    for topic in &request.topics {
        let found = find(context, head.version, topic.name, &topic.topic_id);
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let known = found.and_then(|(id, count)| match u32::try_from(index) {
                Ok(at) if at < count => Ok(id),
                _ => Err(ErrorCode::UnknownTopicOrPartition),
            });
            if let Ok(topic) = known {
                offsets.push(OffsetCommit {
                    topic,
                    partition: index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.unwrap_or(""),
                    expire_ms,
                });
            }
            codes.push(known.err());
        }
    }
    let commit = Commit {
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        offsets: &offsets,
    };
    let ticket = keep(context, head, request.group_id, commit, &mut codes)?;
    let ticket = ticket.join(context.ticket_of(codes.iter().flatten().map(|code| code.number())));
    let response = describe(&request.topics, &codes);
    Ok(Outcome::Reply(context.reply(head, &response, ticket)?))
}

/// The topic of that name or id, and how many partitions it has.
pub(super) fn find(
    context: &Context<'_>,
    version: i16,
    name: &str,
    id: &TopicId,
) -> Result<(TopicId, u32), ErrorCode> {
    let topic = if version >= IDS_FROM {
        context.caller.topic_by_uuid(id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        context.caller.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let allowed = context.caller.allowed(Action::Consume, Resource::Topic(&topic.name));
    allowed.map_err(|error| of_topic(&error))?;
    Ok((topic.uuid, topic.partitions.len() as u32))
}

/// Commits what was found to be good, and fills in what becomes of it.
fn keep(
    context: &mut Context<'_>,
    head: &Head,
    group_id: &str,
    commit: Commit<'_>,
    codes: &mut [Option<ErrorCode>],
) -> Result<Ticket, Stop> {
    if commit.offsets.is_empty() {
        return Ok(Ticket::DONE);
    }
    let good = codes.iter_mut().filter(|code| code.is_none());
    match context.caller.commit_offsets(context.now, group_id, commit) {
        Ok(answer) => {
            match answer.value {
                Ok(results) => {
                    good.zip(results).for_each(|(code, result)| *code = result.err().map(of_group))
                }
                Err(error) => good.for_each(|code| *code = Some(of_group(error))),
            }
            Ok(answer.ticket)
        }
        Err(error) => {
            let refused = match error.kind {
                Kind::NotFound if head.version < NO_GROUP_FROM => ErrorCode::IllegalGeneration,
                _ => refusal(&error)?,
            };
            good.for_each(|code| *code = Some(refused));
            Ok(Ticket::DONE)
        }
    }
}

fn describe<'a>(
    topics: &[OffsetCommitRequestTopic<'a>],
    codes: &[Option<ErrorCode>],
) -> OffsetCommitResponse<'a> {
    let mut codes = codes.iter();
    let mut one = |partition_index| OffsetCommitResponsePartition {
        partition_index,
        error_code: codes.next().copied().flatten().map_or(0, |code| code.number()),
    };
    let topics = topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|p| one(p.partition_index)).collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}
