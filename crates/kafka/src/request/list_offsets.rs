//! ListOffsets (key 2): where a partition begins, ends, and where a time lies in it.
//!
//! A lookup by time may inflate a batch, so each turn of the connection does one of them only.

use std::collections::BTreeSet;

use bytes::Bytes;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::log::times::Moment;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::times::TimeSearch;
use sabir_broker::topic::Partition;
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use super::fetch::check_epoch;
use super::{Outcome, Waiting, decode};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_topic;
use crate::generated::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

/// Timestamps below zero ask for a place by name (Kafka's `ListOffsetsRequest`).
mod special {
    pub const LATEST: i64 = -1;
    pub const EARLIEST: i64 = -2;
    /// KIP-734.
    pub const MAX_TIMESTAMP: i64 = -3;
    /// KIP-405.
    pub const EARLIEST_LOCAL: i64 = -4;
    /// KIP-1005.
    pub const LATEST_TIERED: i64 = -5;
    /// KIP-1023.
    pub const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: ListOffsetsRequest<'_> = decode(&head, body)?;
    let duplicates = duplicates(&request);
    let mut work = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let asked = |asked: &ListOffsetsPartition| Asked {
            twice: duplicates.contains(&(topic.name, asked.partition_index)),
            asked: *asked,
        };
        let asked: Vec<_> = topic.partitions.iter().map(asked).collect();
        let answers = Vec::with_capacity(asked.len());
        work.push(Topic { name: topic.name.to_owned(), asked, answers });
    }
    let mut listing = Listing { head, topics: work, at: 0, search: None };
    Ok(listing.poll(context)?.unwrap_or_else(|| Outcome::Wait(Box::new(listing))))
}

/// The partitions that the request names more than once; from version 1 on, such are refused.
fn duplicates<'a>(request: &ListOffsetsRequest<'a>) -> BTreeSet<(&'a str, i32)> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let place = (topic.name, partition.partition_index);
            if !seen.insert(place) {
                twice.insert(place);
            }
        }
    }
    twice
}

struct Asked {
    asked: ListOffsetsPartition,
    twice: bool,
}

/// Invariant: the answers are those to the first partitions asked for, in their order.
struct Topic {
    name: String,
    asked: Vec<Asked>,
    answers: Vec<ListOffsetsPartitionResponse>,
}

/// A request that is being answered. Invariant: topics before `at` are answered.
struct Listing {
    head: Head,
    topics: Vec<Topic>,
    at: usize,
    /// The search for the partition that is answered next.
    search: Option<TimeSearch>,
}

impl Waiting for Listing {
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close> {
        let mut searched = false;
        while let Some(topic) = self.topics.get_mut(self.at) {
            let Some(next) = topic.asked.get(topic.answers.len()) else {
                self.at += 1;
                continue;
            };
            if matches!(next.asked.timestamp, 0.. | special::MAX_TIMESTAMP) {
                if searched {
                    context.me.wake();
                    return Ok(None);
                }
                searched = true;
            }
            let version = self.head.version;
            let Some(answer) = answer(context, &topic.name, next, version, &mut self.search) else {
                return Ok(None);
            };
            self.search = None;
            topic.answers.push(answer);
        }
        let answers = self.topics.iter().flat_map(|topic| &topic.answers);
        let ticket = context.ticket_of(answers.map(|answer| answer.error_code));
        let topics = self.topics.iter_mut().map(|topic| ListOffsetsTopicResponse {
            name: &topic.name,
            partitions: std::mem::take(&mut topic.answers),
        });
        let response = ListOffsetsResponse { topics: topics.collect(), throttle_time_ms: 0 };
        Ok(Some(Outcome::Reply(context.reply(&self.head, &response, ticket)?)))
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn cancel(&mut self, _caller: &Caller, _me: &Waker) {}

    fn may_end(&self) -> bool {
        false
    }
}

fn answer(
    context: &Context<'_>,
    name: &str,
    asked: &Asked,
    version: i16,
    search: &mut Option<TimeSearch>,
) -> Option<ListOffsetsPartitionResponse> {
    let mut response = ListOffsetsPartitionResponse {
        partition_index: asked.asked.partition_index,
        ..ListOffsetsPartitionResponse::default()
    };
    match partition(context, name, asked, version) {
        Ok(partition) if version == 0 => {
            match old_style(context, &partition, &asked.asked, search)? {
                Ok(offsets) => response.old_style_offsets = offsets,
                Err(code) => response.error_code = code.number(),
            }
        }
        Ok(partition) => match look_up(context, &partition, asked.asked.timestamp, search)? {
            Ok(Some(moment)) => {
                response.timestamp = moment.timestamp;
                response.offset = moment.offset;
                response.leader_epoch = moment.epoch;
            }
            Ok(None) => {}
            Err(code) => response.error_code = code.number(),
        },
        Err(code) => response.error_code = code.number(),
    }
    Some(response)
}

/// The partition that is asked for, if the question is allowed; errors in Kafka's order.
fn partition(
    context: &Context<'_>,
    name: &str,
    Asked { asked, twice }: &Asked,
    version: i16,
) -> Result<Partition, ErrorCode> {
    let caller = context.caller;
    let allowed = caller.allowed(Action::Describe, Resource::Topic(name));
    allowed.map_err(|error| of_topic(&error))?;
    if *twice && version > 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    if !knows(version, asked.timestamp) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let topic = caller.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let at = usize::try_from(asked.partition_index).ok();
    let partition = at.and_then(|at| topic.partitions.get(at));
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_epoch(caller.epoch(), asked.current_leader_epoch)?;
    Ok(partition.clone())
}

/// Whether this version of the request has this timestamp.
fn knows(version: i16, timestamp: i64) -> bool {
    let since = match timestamp {
        0.. | special::LATEST | special::EARLIEST => 0,
        special::MAX_TIMESTAMP => 7,
        special::EARLIEST_LOCAL => 8,
        special::LATEST_TIERED => 9,
        special::EARLIEST_PENDING_UPLOAD => 11,
        _ => return false,
    };
    version >= since
}

/// None = it waits for a disk; no moment = there is no such record, which is no error.
fn look_up(
    context: &Context<'_>,
    partition: &Partition,
    timestamp: i64,
    search: &mut Option<TimeSearch>,
) -> Option<Result<Option<Moment>, ErrorCode>> {
    let caller = context.caller;
    let view = &partition.view;
    let place = |offset, epoch| Some(Ok(Some(Moment { offset, timestamp: -1, epoch })));
    let wanted = match timestamp {
        special::LATEST => return place(view.visible(), caller.epoch()),
        special::EARLIEST | special::EARLIEST_LOCAL => {
            let start = view.start();
            return place(start, caller.epoch_at(partition, start));
        }
        // Nothing is kept in a second tier that clients can see.
        special::LATEST_TIERED | special::EARLIEST_PENDING_UPLOAD => return Some(Ok(None)),
        special::MAX_TIMESTAMP => TimeSearch::highest(),
        timestamp => TimeSearch::from(timestamp),
    };
    let search = search.get_or_insert(wanted);
    let found = caller.find_time(partition, search, context.me)?;
    Some(found.map_err(|error| of_topic(&error)))
}

/// Version 0 asks for the first offsets of segments last written before a time, and for the end,
/// falling; a partition is one segment here.
fn old_style(
    context: &Context<'_>,
    partition: &Partition,
    asked: &ListOffsetsPartition,
    search: &mut Option<TimeSearch>,
) -> Option<Result<Vec<i64>, ErrorCode>> {
    let (start, end) = (partition.view.start(), partition.view.visible());
    let mut offsets = if start < end { vec![end, start] } else { vec![start] };
    match asked.timestamp {
        special::LATEST => {}
        special::EARLIEST => offsets = vec![start],
        time if time >= context.now.wall => {}
        time => {
            let search = search.get_or_insert_with(TimeSearch::highest);
            let last = match context.caller.find_time(partition, search, context.me)? {
                Ok(last) => last,
                Err(error) => return Some(Err(of_topic(&error))),
            };
            offsets = vec![start];
            offsets.retain(|_| last.is_none_or(|last| last.timestamp <= time));
        }
    }
    offsets.truncate(usize::try_from(asked.max_num_offsets).unwrap_or(0));
    Some(Ok(offsets))
}
