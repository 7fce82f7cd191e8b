//! Produce (key 0): batches are checked, appended, and answered once they are durable.

use std::borrow::Cow;

use bytes::Bytes;
use sabir_broker::admission::LinePlace;
use sabir_broker::batch;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Instant;
use sabir_broker::policy::{Action, Resource};
use sabir_broker::publish::Outcomes;
use sabir_broker::shard::AppendOp;
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::Topic;
use sabir_broker::wake::Waker;
use sabir_net::connection::Close;

use super::{Outcome, Waiting, decode};
use crate::codec::Few;
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::errors::{of_batch, of_topic};
use crate::generated::produce::{
    LeaderIdAndEpoch, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::replies::Reply;

/// Below this version records are message sets, which are not converted.
const BATCHES_FROM: i16 = 3;

/// What became of one partition.
enum Checked {
    /// Not appended yet: its operation is at this place in the list.
    Op(usize),
    Refused(ErrorCode, Cow<'static, str>),
}

/// A request on its way: everything that its answer needs.
struct Produce {
    head: Head,
    body: Bytes,
    acks: i16,
    results: Few<Checked>,
    ops: Few<(u16, AppendOp)>,
    /// One per operation that was tried, in order.
    outcomes: Outcomes,
    /// Where it waits for room.
    place: LinePlace,
    /// The broker's time in the records, where the topic wants it.
    append_ms: Few<Option<i64>>,
}

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: ProduceRequest<'_> = decode(&head, body)?;
    let acks = request.acks;
    let mut produce = Produce {
        head,
        body: body.clone(),
        acks,
        results: Few::new(),
        ops: Few::new(),
        outcomes: Outcomes::new(),
        place: LinePlace::default(),
        append_ms: Few::new(),
    };
    let whole = refuse_whole(&produce.head, &request);
    for topic in &request.topic_data {
        let found = whole.map_or_else(|| find(context, &produce.head, topic), Err);
        for partition in &topic.partition_data {
            let checked = found
                .as_ref()
                .map_err(|code| (*code, Cow::Borrowed("")))
                .and_then(|topic| check(context, topic, partition.index, partition.records, body));
            produce.results.push(match checked {
                Ok((shard, op, append_ms)) => {
                    produce.ops.push((shard, op));
                    produce.append_ms.push(append_ms);
                    Checked::Op(produce.ops.len() - 1)
                }
                Err((code, message)) => Checked::Refused(code, message),
            });
        }
    }
    if produce.append(context) {
        return produce.answer(context, &request);
    }
    drop(request);
    Ok(Outcome::Wait(Box::new(produce)))
}

/// What is wrong with the request as a whole.
fn refuse_whole(head: &Head, request: &ProduceRequest<'_>) -> Option<ErrorCode> {
    if head.version < BATCHES_FROM {
        return Some(ErrorCode::UnsupportedVersion);
    }
    if request.transactional_id.is_some() {
        return Some(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    (!(-1..=1).contains(&request.acks)).then_some(ErrorCode::InvalidRequiredAcks)
}

fn find(
    context: &Context<'_>,
    head: &Head,
    topic: &crate::generated::produce::TopicProduceData<'_>,
) -> Result<std::sync::Arc<Topic>, ErrorCode> {
    let by_id = head.version >= 13;
    let found = if by_id {
        context.caller.topic_by_uuid(&topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        context.caller.topic(topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let resource = Resource::Topic(&found.name);
    context.caller.allowed(Action::Publish, resource).map_err(|error| of_topic(&error))?;
    Ok(found)
}

type Refusal = (ErrorCode, Cow<'static, str>);

/// Checks the records of one partition as a batch that may be appended.
fn check(
    context: &Context<'_>,
    topic: &Topic,
    index: i32,
    records: Option<&[u8]>,
    body: &Bytes,
) -> Result<(u16, AppendOp, Option<i64>), Refusal> {
    let refuse = |code, message: &'static str| Err((code, Cow::Borrowed(message)));
    let partition = usize::try_from(index).ok().and_then(|at| topic.partitions.get(at));
    let Some(partition) = partition else {
        return refuse(ErrorCode::UnknownTopicOrPartition, "no such partition");
    };
    let records = records.unwrap_or_default();
    if records.is_empty() {
        return refuse(ErrorCode::InvalidRecord, "there are no records");
    }
    let policy = &topic.effective;
    if records.len() as i64 > policy.message_bytes_max {
        let message = format!(
            "the batch has {} bytes, the topic takes {}",
            records.len(),
            policy.message_bytes_max
        );
        return Err((ErrorCode::MessageTooLarge, message.into()));
    }
    let mut header = batch::validate(records)
        .map_err(|error| (of_batch(error), Cow::Owned(error.to_string())))?;
    if header.len != records.len() {
        return refuse(ErrorCode::InvalidRecord, "a request has one batch per partition");
    }
    if header.is_control() {
        return refuse(ErrorCode::InvalidRecord, "clients may not write control batches");
    }
    if header.is_transactional() {
        let code = ErrorCode::TransactionalIdAuthorizationFailed;
        return refuse(code, "transactions are not supported");
    }
    let now = context.now.wall;
    let mut batch = body.slice_ref(records);
    let mut append_ms = None;
    if policy.append_time {
        let mut stamped = batch.to_vec();
        batch::stamp(&mut stamped, now);
        (header.max_timestamp, append_ms) = (now, Some(now));
        batch = stamped.into();
    } else if header.max_timestamp.saturating_sub(now) > policy.after_ms_max
        || now.saturating_sub(header.base_timestamp) > policy.before_ms_max
    {
        return refuse(ErrorCode::InvalidTimestamp, "the timestamp is out of the allowed range");
    }
    Ok((partition.shard, AppendOp { log: partition.log, batch, header }, append_ms))
}

impl Produce {
    /// Appends what is left; false = it has to wait for room.
    fn append(&mut self, context: &mut Context<'_>) -> bool {
        let left = &self.ops[self.outcomes.len()..];
        let Context { caller, now, me, .. } = context;
        match caller.append(*now, left, me, &mut self.place, &mut self.outcomes) {
            Ok(()) => true,
            Err(error) => {
                if let Some(ticket) = error.wait {
                    caller.wait(ticket, me);
                }
                false
            }
        }
    }

    fn answer(
        &self,
        context: &mut Context<'_>,
        request: &ProduceRequest<'_>,
    ) -> Result<Outcome, Close> {
        if self.acks == 0 {
            return self.silent();
        }
        let mut ticket = Ticket::DONE;
        let mut results = self.results.iter();
        let mut responses = Few::with_capacity(request.topic_data.len());
        for topic in &request.topic_data {
            let mut partitions = Few::with_capacity(topic.partition_data.len());
            for partition in &topic.partition_data {
                let result = results.next().expect("one result per partition");
                partitions.push(self.describe(partition.index, result, &mut ticket));
            }
            responses.push(TopicProduceResponse {
                name: topic.name,
                topic_id: topic.topic_id,
                partition_responses: partitions,
            });
        }
        let parts = responses.iter().flat_map(|topic| &topic.partition_responses);
        ticket = ticket.join(context.ticket_of(parts.map(|part| part.error_code)));
        let response = ProduceResponse { responses, ..ProduceResponse::default() };
        let reply: Reply = context.reply(&self.head, &response, ticket)?;
        Ok(Outcome::Reply(reply))
    }

    /// With acks = 0 the only way to tell of an error is to close the connection.
    fn silent(&self) -> Result<Outcome, Close> {
        let refused = self.results.iter().find_map(|result| match result {
            Checked::Refused(code, _) => Some(code.name()),
            Checked::Op(at) => {
                self.outcomes[*at].as_ref().err().map(|error| of_topic(error).name())
            }
        });
        match refused {
            Some(code) => Err(Close::because(format!("produce with acks = 0 failed: {code}"))),
            None => Ok(Outcome::Silent),
        }
    }

    fn describe<'a>(
        &'a self,
        index: i32,
        result: &'a Checked,
        ticket: &mut Ticket,
    ) -> PartitionProduceResponse<'a> {
        let mut response = PartitionProduceResponse {
            index,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            current_leader: LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 },
            ..PartitionProduceResponse::default()
        };
        let (code, message) = match result {
            Checked::Refused(code, message) => (*code, &**message),
            Checked::Op(at) => match &self.outcomes[*at] {
                Ok(placed) => {
                    *ticket = ticket.join(placed.ticket);
                    response.base_offset = placed.base;
                    response.log_start_offset = placed.start;
                    response.log_append_time_ms = self.append_ms[*at].unwrap_or(-1);
                    return response;
                }
                Err(error) => (of_topic(error), &*error.message),
            },
        };
        response.error_code = code.number();
        response.error_message = Some(message).filter(|message| !message.is_empty());
        response
    }
}

impl Waiting for Produce {
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Option<Outcome>, Close> {
        if !self.append(context) {
            return Ok(None);
        }
        let request = decode(&self.head, &self.body)?;
        self.answer(context, &request).map(Some)
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn cancel(&mut self, _caller: &Caller, _me: &Waker) {
        self.place = LinePlace::default();
    }

    fn may_end(&self) -> bool {
        false
    }
}
