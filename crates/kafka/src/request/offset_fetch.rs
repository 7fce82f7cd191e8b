//! OffsetFetch (key 9): how far groups have read. No transaction is ever open, so that every offset
//! is a stable one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::group::{Committed, TopicId};
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::Topic;
use sabir_net::connection::Close;

use super::offset_commit::{IDS_FROM, find};
use super::{Outcome, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_group_request;
use crate::generated::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

/// From this version on a request names many groups (KIP-709).
const BATCH_FROM: i16 = 8;
/// From this version on there is room for an error of the whole request.
const ERROR_FROM: i16 = 2;

/// What is known of one group; responses borrow from it.
struct Found {
    error: Option<ErrorCode>,
    topics: Vec<FoundTopic>,
}

struct FoundTopic {
    name: Arc<str>,
    id: TopicId,
    partitions: Vec<(i32, Result<Option<Committed>, ErrorCode>)>,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let mut request: OffsetFetchRequest<'_> = decode(&head, body)?;
    let batch = head.version >= BATCH_FROM;
    if !batch {
        request.groups = vec![single(&mut request)];
    }
    let mut ticket = Ticket::DONE;
    let all: Vec<Found> =
        request.groups.iter().map(|group| look(context, &head, group, &mut ticket)).collect();
    let mut response = OffsetFetchResponse::default();
    if batch {
        let groups = request.groups.iter().zip(&all);
        response.groups = groups.map(|(group, found)| found.as_group(group.group_id)).collect();
    } else {
        response.topics = all.iter().flat_map(Found::as_topics).collect();
        let error = all.first().and_then(|found| found.error);
        if head.version >= ERROR_FROM {
            response.error_code = error.map_or(0, |code| code.number());
        }
    }
    Ok(Outcome::Reply(context.reply(&head, &response, ticket)?))
}

/// The one group of a request of an older version.
fn single<'a>(request: &mut OffsetFetchRequest<'a>) -> OffsetFetchRequestGroup<'a> {
    let topics = request.topics.take().map(|topics| {
        let topic = |topic: crate::generated::offset_fetch::OffsetFetchRequestTopic<'a>| {
            let partition_indexes = topic.partition_indexes;
            OffsetFetchRequestTopics { name: topic.name, partition_indexes, ..Default::default() }
        };
        topics.into_iter().map(topic).collect()
    });
    OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() }
}

fn look(
    context: &Context<'_>,
    head: &Head,
    group: &OffsetFetchRequestGroup<'_>,
    ticket: &mut Ticket,
) -> Found {
    let mut ask = |partitions: Option<&[(TopicId, i32)]>| {
        let answer = context.caller.committed_offsets(context.now, group.group_id, partitions);
        let answer = answer.map_err(|error| of_group_request(&error))?;
        *ticket = ticket.join(answer.ticket);
        Ok(answer.value)
    };
    let Some(topics) = &group.topics else {
        return match ask(None) {
            Ok(all) => Found { error: None, topics: every(context, all) },
            Err(code) => Found { error: Some(code), topics: Vec::new() },
        };
    };
    let found: Vec<_> = topics
        .iter()
        .map(|topic| find(context, head.version, topic.name, &topic.topic_id))
        .collect();
    let mut wanted = Vec::new();
    for (topic, found) in topics.iter().zip(&found) {
        if let Ok((id, _)) = found {
            wanted.extend(topic.partition_indexes.iter().map(|index| (*id, *index)));
        }
    }
    let unknown = found.iter().filter_map(|found| Some(found.as_ref().err()?.number()));
    let gone = context.ticket_of(unknown);
    let (committed, error) = match ask(Some(&wanted)) {
        Ok(committed) => (committed, None),
        Err(code) => (Vec::new(), Some(code)),
    };
    *ticket = ticket.join(gone);
    let committed: BTreeMap<(TopicId, i32), Committed> =
        committed.into_iter().map(|(topic, index, kept)| ((topic, index), kept)).collect();
    let describe = |topic: &OffsetFetchRequestTopics<'_>, found: &Result<_, ErrorCode>| {
        let id = found.map_or(topic.topic_id, |(id, _)| id);
        let one = |index: &i32| match (error, found) {
            (Some(code), _) => Err(code),
            // By name, a topic that is not there is one without offsets.
            (_, Err(code)) if *code != ErrorCode::UnknownTopicOrPartition => Err(*code),
            _ => Ok(committed.get(&(id, *index)).cloned()),
        };
        let partitions = topic.partition_indexes.iter().map(|index| (*index, one(index)));
        FoundTopic { name: topic.name.into(), id, partitions: partitions.collect() }
    };
    // A whole error stands alone where there is room for it.
    let shown = error.is_none() || head.version < ERROR_FROM;
    let topics = topics.iter().zip(&found).filter(|_| shown);
    Found { error, topics: topics.map(|(topic, found)| describe(topic, found)).collect() }
}

/// Everything that a group has committed, of topics that this client may read.
fn every(context: &Context<'_>, all: Vec<sabir_broker::groups::CommittedOf>) -> Vec<FoundTopic> {
    let mut topics: Vec<FoundTopic> = Vec::new();
    let mut hidden = None;
    for (id, partition, committed) in all {
        if topics.last().is_none_or(|last| last.id != id) && hidden != Some(id) {
            let topic: Option<Arc<Topic>> = context.caller.topic_by_uuid(&id);
            let visible = find(context, IDS_FROM, "", &id).is_ok();
            match topic.filter(|_| visible) {
                Some(topic) => {
                    let name = topic.name.clone();
                    topics.push(FoundTopic { name, id, partitions: Vec::new() });
                }
                None => hidden = Some(id),
            }
        }
        if let Some(last) = topics.last_mut().filter(|last| last.id == id) {
            last.partitions.push((partition, Ok(Some(committed))));
        }
    }
    topics
}

impl Found {
    fn as_group<'a>(&'a self, group_id: &'a str) -> OffsetFetchResponseGroup<'a> {
        let topics = self.topics.iter().map(|topic| OffsetFetchResponseTopics {
            name: &topic.name,
            topic_id: topic.id,
            partitions: topic.partitions.iter().map(describe).collect(),
        });
        OffsetFetchResponseGroup {
            group_id,
            topics: topics.collect(),
            error_code: self.error.map_or(0, |code| code.number()),
        }
    }

    fn as_topics(&self) -> impl Iterator<Item = OffsetFetchResponseTopic<'_>> {
        self.topics.iter().map(|topic| OffsetFetchResponseTopic {
            name: &topic.name,
            partitions: topic.partitions.iter().map(|one| same(describe(one))).collect(),
        })
    }
}

fn describe(
    (partition_index, found): &(i32, Result<Option<Committed>, ErrorCode>),
) -> OffsetFetchResponsePartitions<'_> {
    let mut response = OffsetFetchResponsePartitions {
        partition_index: *partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(""),
        error_code: 0,
    };
    match found {
        Ok(Some(committed)) => {
            response.committed_offset = committed.offset;
            response.committed_leader_epoch = committed.leader_epoch;
            response.metadata = Some(&committed.metadata);
        }
        Ok(None) => {}
        Err(code) => response.error_code = code.number(),
    }
    response
}

/// The same in the form of the older versions.
fn same(partition: OffsetFetchResponsePartitions<'_>) -> OffsetFetchResponsePartition<'_> {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    }
}
