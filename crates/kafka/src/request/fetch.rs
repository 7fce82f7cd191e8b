//! Fetch (key 1): whole batches from where the client is, now or when there are enough.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::fetch::Found;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::{Partition, Topic};
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use super::{Outcome, Waiting, decode};
use crate::codec::{Few, Records};
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::of_topic;
use crate::generated::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData, SnapshotId,
};
use crate::session::{Part, PartKey, Parts, Told, next_epoch};

/// From this version topics are named by id.
const IDS_FROM: i16 = 13;
/// Epochs with a meaning of their own (KIP-227).
const EPOCH_FINAL: i32 = -1;
const EPOCH_INITIAL: i32 = 0;
const READ_COMMITTED: i8 = 1;

/// A fetch on its way.
struct Fetch {
    head: Head,
    deadline: Instant,
    min_bytes: usize,
    max_bytes: usize,
    isolation: i8,
    /// What is read, if it is not in a session.
    parts: Parts,
    /// The session to answer for, and whether only what changed is to be named; 0 = none.
    session: i32,
    incremental: bool,
    watched: Few<Arc<sabir_broker::log::LogView>>,
}

/// What one look at a partition gave.
struct Seen {
    key: PartKey,
    told: Told,
    before: Option<Told>,
    records: Vec<Bytes>,
    bytes: usize,
    diverging: Option<(i32, i64)>,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: FetchRequest<'_> = decode(&head, body)?;
    let mut fetch = Fetch {
        deadline: context.now.mono + Duration::from_millis(millis(request.max_wait_ms)),
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes)
            .unwrap_or(0)
            .min(context.settings.fetch_bytes_max),
        isolation: request.isolation_level,
        parts: Parts::default(),
        session: 0,
        incremental: false,
        watched: Few::new(),
        head,
    };
    if let Err(code) = fetch.begin(context, &request) {
        let response = FetchResponse { error_code: code.number(), ..FetchResponse::default() };
        let reply = context.reply(&fetch.head, &response, Ticket::DONE)?;
        return Ok(Outcome::Reply(reply));
    }
    drop(request);
    if let Some(outcome) = fetch.look(context, false)? {
        return Ok(outcome);
    }
    match fetch.look(context, true)? {
        Some(outcome) => Ok(outcome),
        None => Ok(Outcome::Wait(Box::new(fetch))),
    }
}

fn millis(wait: i32) -> u64 {
    u64::try_from(wait).unwrap_or(0)
}

impl Fetch {
    /// Finds out which partitions are meant: those of the request, or those of its session.
    fn begin(
        &mut self,
        context: &mut Context<'_>,
        request: &FetchRequest<'_>,
    ) -> Result<(), ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if self.head.version < 7 || epoch == EPOCH_FINAL {
            context.sessions.end(id);
            add(&mut self.parts, request);
            return Ok(());
        }
        let most = context.settings.session_partitions_max;
        if epoch == EPOCH_INITIAL {
            context.sessions.end(id);
            add(&mut self.parts, request);
            if self.parts.len() <= most && self.parts.len() > 0 {
                let parts = std::mem::take(&mut self.parts);
                self.session = context.sessions.begin(parts, context.random);
            }
            return Ok(());
        }
        let session = context.sessions.get(id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.epoch = next_epoch(epoch);
        add(&mut session.parts, request);
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.parts.remove(&(topic.topic.into(), topic.topic_id, *partition));
            }
        }
        if session.parts.len() > most {
            context.sessions.end(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        (self.session, self.incremental) = (id, true);
        Ok(())
    }

    /// Lends what is read: out of the session, or the request's own.
    fn swap_parts(&mut self, context: &mut Context<'_>, lent: &mut Parts) {
        let home = match context.sessions.get(self.session) {
            Some(session) => &mut session.parts,
            None => &mut self.parts,
        };
        std::mem::swap(home, lent);
    }

    /// Reads all partitions once; answers if that is enough, or time is up. With `watch` the
    /// connection is woken when there is more, also if that is before the reading.
    fn look(&mut self, context: &mut Context<'_>, watch: bool) -> Result<Option<Outcome>, Close> {
        let mut parts = Parts::default();
        self.swap_parts(context, &mut parts);
        let (seen, enough) = self.see(context, &parts, watch);
        self.swap_parts(context, &mut parts);
        if !enough && context.now.mono < self.deadline {
            return Ok(None);
        }
        self.unwatch(context.me);
        self.answer(context, seen).map(Some)
    }

    /// What is there now, and whether that is worth an answer.
    fn see(&mut self, context: &Context<'_>, parts: &Parts, watch: bool) -> (Few<Seen>, bool) {
        let mut seen = Few::with_capacity(parts.len());
        let mut room = self.max_bytes;
        let (mut total, mut enough) = (0, false);
        for part in parts.iter() {
            let found = find(context, self.head.version, part);
            if watch && let Ok((_, partition)) = &found {
                partition.view.watch(context.me);
                self.watched.push(partition.view.clone());
            }
            let found = match found {
                Ok((_, partition)) => read(context, part, &partition, room, total == 0),
                Err(code) => Seen::failed(part, code),
            };
            room = room.saturating_sub(found.bytes);
            total += found.bytes;
            enough |= found.told.error != 0 || found.diverging.is_some();
            seen.push(found);
        }
        enough |= total >= self.min_bytes || parts.len() == 0;
        (seen, enough)
    }

    fn unwatch(&mut self, me: &Waker) {
        self.watched.drain(..).for_each(|view| view.unwatch(me));
    }

    fn answer(&self, context: &mut Context<'_>, mut seen: Few<Seen>) -> Result<Outcome, Close> {
        if let Some(session) = context.sessions.get(self.session) {
            for seen in &seen {
                session.parts.tell(&seen.key, seen.told, seen.bytes > 0);
            }
        }
        context.caller.hand_out(context.now, seen.iter().map(|seen| seen.bytes).sum());
        let ticket = context.ticket_of(seen.iter().map(|seen| seen.told.error));
        let told = seen
            .iter_mut()
            .filter(|seen| !self.incremental || seen.bytes > 0 || seen.before != Some(seen.told));
        let mut responses: Few<FetchableTopicResponse<'_>> = Few::new();
        for seen in told {
            let records = std::mem::take(&mut seen.records);
            let (name, topic_id, _) = &seen.key;
            let same = responses
                .last()
                .is_some_and(|last| last.topic == &**name && last.topic_id == *topic_id);
            if !same {
                responses.push(FetchableTopicResponse {
                    topic: name,
                    topic_id: *topic_id,
                    partitions: Few::new(),
                });
            }
            let last = responses.last_mut().expect("just pushed");
            last.partitions.push(self.describe(seen, records));
        }
        let response =
            FetchResponse { session_id: self.session, responses, ..FetchResponse::default() };
        let reply = context.reply(&self.head, &response, ticket)?;
        Ok(Outcome::Reply(reply))
    }

    fn describe(&self, seen: &Seen, records: Vec<Bytes>) -> PartitionData<'static> {
        let (epoch, end_offset) = seen.diverging.unwrap_or((-1, -1));
        PartitionData {
            partition_index: seen.key.2,
            error_code: seen.told.error,
            high_watermark: seen.told.high_watermark,
            last_stable_offset: seen.told.high_watermark,
            log_start_offset: seen.told.log_start,
            diverging_epoch: EpochEndOffset { epoch, end_offset },
            current_leader: LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 },
            snapshot_id: SnapshotId { end_offset: -1, epoch: -1 },
            aborted_transactions: (self.isolation == READ_COMMITTED).then(Vec::new),
            preferred_read_replica: -1,
            records: Some(Records::Many(records)),
        }
    }
}

impl Waiting for Fetch {
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close> {
        self.look(context, true)
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    fn cancel(&mut self, _caller: &Caller, me: &Waker) {
        self.unwatch(me);
    }

    fn may_end(&self) -> bool {
        true
    }
}

impl Seen {
    fn failed(part: &Part, code: ErrorCode) -> Seen {
        Seen {
            key: part.key(),
            told: Told { high_watermark: -1, log_start: -1, error: code.number() },
            before: part.told,
            records: Vec::new(),
            bytes: 0,
            diverging: None,
        }
    }
}

fn add(parts: &mut Parts, request: &FetchRequest<'_>) {
    for topic in &request.topics {
        let name: Arc<str> = topic.topic.into();
        for partition in &topic.partitions {
            parts.put(Part {
                name: name.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_epoch: partition.current_leader_epoch,
                last_epoch: partition.last_fetched_epoch,
                told: None,
            });
        }
    }
}

fn find(
    context: &Context<'_>,
    version: i16,
    part: &Part,
) -> Result<(Arc<Topic>, Partition), ErrorCode> {
    let topic = if version >= IDS_FROM {
        context.caller.topic_by_uuid(&part.topic_id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        context.caller.topic(&part.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let resource = Resource::Topic(&topic.name);
    context.caller.allowed(Action::Consume, resource).map_err(|error| of_topic(&error))?;
    let partition = usize::try_from(part.partition).ok().and_then(|at| topic.partitions.get(at));
    let partition = partition.cloned().ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_epoch(context.caller.epoch(), part.current_epoch)?;
    Ok((topic, partition))
}

/// A client whose metadata is older, or newer, than this opening of the broker (KIP-320).
pub fn check_epoch(ours: i32, theirs: i32) -> Result<(), ErrorCode> {
    match theirs {
        -1 => Ok(()),
        older if older < ours => Err(ErrorCode::FencedLeaderEpoch),
        newer if newer > ours => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn read(
    context: &Context<'_>,
    part: &Part,
    partition: &Partition,
    room: usize,
    first: bool,
) -> Seen {
    let most = room.min(usize::try_from(part.max_bytes).unwrap_or(0));
    let mut seen = Seen::failed(part, ErrorCode::None);
    if part.last_epoch >= 0
        && let Some((epoch, end)) = context.caller.epoch_end(partition, part.last_epoch)
        && (epoch != part.last_epoch || end < part.offset)
    {
        seen.diverging = Some((epoch, end));
    }
    let fetched = context.caller.fetch(partition, part.offset, most, first, context.me);
    (seen.told.log_start, seen.told.high_watermark) = (fetched.start, fetched.end);
    match fetched.found {
        Found::Batches(_) if seen.diverging.is_some() => {}
        Found::Batches(batches) => {
            seen.bytes = batches.iter().map(Bytes::len).sum();
            seen.records = batches;
        }
        Found::AtEnd | Found::Pending => {}
        Found::OutOfRange => seen.told.error = ErrorCode::OffsetOutOfRange.number(),
        Found::Failed(error) => seen.told.error = of_topic(&error).number(),
    }
    seen
}
