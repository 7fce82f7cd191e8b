//! A producer: batches to several partitions, several on the way at once, sent again until the
//! broker has said what became of them.

use std::collections::VecDeque;

use bytes::Bytes;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use sabir_kafka::generated::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};

use crate::life::Life;
use crate::model::{ClientId, Event, Place, Promise, Value};
use crate::net::Net;
use crate::workload::link::{Answer, Link};
use crate::workload::records::{Sender, batch};
use crate::workload::topics::{self, Known};
use crate::workload::{Client, Ctx};

/// From this version topics are named by id.
const IDS_FROM: i16 = 13;

/// How a producer works.
#[derive(Clone, Debug)]
pub struct ProducerPlan {
    pub topics: Vec<String>,
    /// Topics may vanish and come back: then it goes on with the new one.
    pub churn: bool,
    /// Somebody else makes the topics.
    pub made: bool,
    pub promise: Promise,
    /// -1, 1, or 0 for no answer.
    pub acks: i16,
    /// Of the produce request; a producer of topics that vanish names them by id.
    pub version: i16,
    /// Batches on the way per partition at most; 5 for an idempotent producer.
    pub depth: usize,
    /// Batches to send in all.
    pub batches: u32,
    /// Records of a batch at most, and bytes of a record beside its own numbers at most.
    pub records_max: u64,
    pub bytes_max: u64,
}

/// What an answer is about.
enum Ask {
    Topics(usize),
    Id,
    /// Target and batch.
    Produce(Vec<(Place, u64)>),
}

struct Batch {
    number: u64,
    values: Vec<Value>,
    bytes: Bytes,
    time_ms: i64,
    flying: bool,
}

/// One partition. Invariant: of an idempotent producer, the batches on the way come first.
struct Target {
    name: String,
    place: Place,
    sequence: i32,
    queue: VecDeque<Batch>,
    /// One was refused for now: those behind it come back first, then all are sent again.
    rewind: bool,
}

/// A producer's state.
pub struct Producer {
    id: ClientId,
    plan: ProducerPlan,
    link: Link<Ask>,
    asking: bool,
    producer_id: Option<i64>,
    targets: Vec<Target>,
    next_value: u64,
    next_batch: u64,
    left: u32,
}

impl Producer {
    pub fn new(id: ClientId, plan: ProducerPlan) -> Producer {
        let left = plan.batches;
        Producer {
            id,
            plan,
            link: Link::default(),
            asking: false,
            producer_id: None,
            targets: Vec::new(),
            next_value: 0,
            next_batch: 0,
            left,
        }
    }

    fn is_idempotent(&self) -> bool {
        self.plan.promise == Promise::Idempotent
    }

    /// Nothing that was on the way will be answered.
    fn all_landed(&mut self) {
        self.asking = false;
        for target in &mut self.targets {
            target.rewind = false;
            target.queue.iter_mut().for_each(|batch| batch.flying = false);
        }
    }

    /// Asks for what it needs before it can send. True if it has all.
    fn prepare(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.targets.is_empty() {
            if !self.asking {
                self.asking = true;
                let create = !self.plan.made;
                topics::ask(&mut self.link, ctx, &self.plan.topics, create, Ask::Topics);
            }
            return false;
        }
        if self.is_idempotent() && self.producer_id.is_none() {
            if !self.asking {
                self.asking = true;
                let version = i16::try_from(ctx.chance.below(5)).expect("small");
                let request = InitProducerIdRequest { ..InitProducerIdRequest::default() };
                self.link.send(ctx.net, version, &request, Some(Ask::Id));
            }
            return false;
        }
        true
    }

    /// Sends the next batches of some partitions in one request. False if there are none.
    fn produce(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let first = ctx.chance.index(self.targets.len());
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        for step in 0..self.targets.len() {
            let at = (first + step) % self.targets.len();
            if !chosen.is_empty() && ctx.chance.one_in(2) {
                continue;
            }
            if let Some(batch) = self.next_batch(at, ctx) {
                chosen.push((at, batch));
            }
        }
        if chosen.is_empty() {
            return false;
        }
        let mut about = Vec::new();
        for (at, batch) in &chosen {
            let target = &mut self.targets[*at];
            let batch = &mut target.queue[*batch];
            batch.flying = true;
            about.push((target.place, batch.number));
            let (place, promise) = (target.place, self.plan.promise);
            let bytes = u32::try_from(batch.bytes.len().div_ceil(batch.values.len()));
            let (bytes, time_ms) = (bytes.expect("small"), batch.time_ms);
            for value in &batch.values {
                let value = *value;
                ctx.history.add(Event::Attempt { place, value, promise, time_ms, bytes });
            }
        }
        self.request(ctx, &chosen, about);
        true
    }

    fn request(&mut self, ctx: &mut Ctx<'_>, chosen: &[(usize, usize)], about: Vec<(Place, u64)>) {
        let mut topic_data: Vec<TopicProduceData<'_>> = Vec::new();
        for (at, batch) in chosen {
            let target = &self.targets[*at];
            let data = PartitionProduceData {
                index: target.place.partition,
                records: Some(&target.queue[*batch].bytes),
            };
            let known = topic_data.iter_mut().find(|topic| topic.topic_id == target.place.topic);
            match known {
                Some(topic) => topic.partition_data.push(data),
                None => topic_data.push(TopicProduceData {
                    name: &target.name,
                    topic_id: target.place.topic,
                    partition_data: [data].into(),
                }),
            }
        }
        let acks = self.plan.acks;
        let request = ProduceRequest {
            acks,
            timeout_ms: 1000,
            topic_data: topic_data.into(),
            ..ProduceRequest::default()
        };
        let answered = (acks != 0).then(|| Ask::Produce(about.clone()));
        self.link.send(ctx.net, self.plan.version, &request, answered);
        drop(request);
        if acks == 0 {
            for (place, number) in about {
                self.take(place, number);
            }
        }
    }

    /// The place in its queue of the batch that a partition sends next, made if there is none.
    fn next_batch(&mut self, at: usize, ctx: &mut Ctx<'_>) -> Option<usize> {
        let depth = self.plan.depth;
        let target = &mut self.targets[at];
        let flying = target.queue.iter().filter(|batch| batch.flying).count();
        if flying == 0 {
            target.rewind = false;
        }
        if target.rewind || flying >= depth {
            return None;
        }
        if let Some(waiting) = target.queue.iter().position(|batch| !batch.flying) {
            return Some(waiting);
        }
        if self.left == 0 || ctx.finishing {
            return None;
        }
        self.left -= 1;
        self.make(at, ctx);
        Some(self.targets[at].queue.len() - 1)
    }

    fn make(&mut self, at: usize, ctx: &mut Ctx<'_>) {
        let count = ctx.chance.range(1, self.plan.records_max);
        let len = usize::try_from(ctx.chance.below(self.plan.bytes_max)).expect("small");
        let first = self.next_value;
        self.next_value += count;
        let values: Vec<Value> =
            (first..first + count).map(|number| Value { client: self.id, number }).collect();
        let target = &mut self.targets[at];
        let sender = match self.producer_id {
            Some(id) => Sender { id, epoch: 0, sequence: target.sequence },
            None => Sender { id: -1, epoch: -1, sequence: -1 },
        };
        target.sequence += i32::try_from(count).expect("small");
        let time_ms = ctx.now.wall;
        let bytes = batch(&values, len, time_ms, sender);
        self.next_batch += 1;
        let number = self.next_batch;
        target.queue.push_back(Batch { number, values, bytes, time_ms, flying: false });
    }

    /// Takes a batch out of its queue.
    fn take(&mut self, place: Place, number: u64) -> Option<Batch> {
        let target = self.targets.iter_mut().find(|target| target.place == place)?;
        let at = target.queue.iter().position(|batch| batch.number == number)?;
        target.queue.remove(at)
    }

    fn on_answer(&mut self, answer: &Answer<Ask>, ctx: &mut Ctx<'_>) -> Result<(), String> {
        match &answer.tag {
            Ask::Topics(asked) => {
                self.asking = false;
                let known = topics::found(answer, *asked, self.id, ctx)?;
                if self.plan.made && known.len() < self.plan.topics.len() {
                    return Ok(());
                }
                self.targets = known.iter().flat_map(targets).collect();
            }
            Ask::Id => {
                self.asking = false;
                let response: InitProducerIdResponse = answer.decode()?;
                if response.error_code != 0 {
                    return Err(format!("no producer id: error {}", response.error_code));
                }
                ctx.history.add(Event::ProducerId { id: response.producer_id });
                self.producer_id = Some(response.producer_id);
            }
            Ask::Produce(about) => self.on_produced(answer, about, ctx)?,
        }
        Ok(())
    }

    fn on_produced(
        &mut self,
        answer: &Answer<Ask>,
        about: &[(Place, u64)],
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let response: ProduceResponse<'_> = answer.decode()?;
        let mut left = about.to_vec();
        for topic in &response.responses {
            for partition in &topic.partition_responses {
                let is = |(place, _): &(Place, u64)| {
                    let named = self.targets.iter().find(|target| target.place == *place);
                    place.partition == partition.index
                        && if self.plan.version >= IDS_FROM {
                            place.topic == topic.topic_id
                        } else {
                            named.is_some_and(|target| target.name == topic.name)
                        }
                };
                // A topic that vanished meanwhile is no target any more.
                let Some(at) = left.iter().position(is) else {
                    if self.plan.churn {
                        continue;
                    }
                    return Err("an answer for a partition that was not produced to".into());
                };
                let (place, number) = left.swap_remove(at);
                let code = ErrorCode::from_number(partition.error_code);
                let taken = code.map(|code| (code, partition.base_offset));
                self.on_outcome(place, number, taken, answer.life, ctx)?;
            }
        }
        if left.is_empty() || self.plan.churn {
            Ok(())
        } else {
            Err(format!("{} partitions without an answer", left.len()))
        }
    }

    fn on_outcome(
        &mut self,
        place: Place,
        number: u64,
        told: Option<(ErrorCode, i64)>,
        life: u64,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let Some(target) = self.targets.iter_mut().find(|target| target.place == place) else {
            return Ok(());
        };
        let code = told.map(|told| told.0);
        match told {
            Some((ErrorCode::None, base)) => {
                let Some(batch) = self.take(place, number) else {
                    return Err("a batch was acknowledged twice on one connection".into());
                };
                for (value, offset) in batch.values.iter().zip(base..) {
                    ctx.history.add(Event::Ack { place, value: *value, offset, life });
                }
                Ok(())
            }
            Some((
                ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::RequestTimedOut
                | ErrorCode::KafkaStorageError,
                _,
            )) => {
                let batch = target.queue.iter().find(|batch| batch.number == number);
                for value in batch.iter().flat_map(|batch| &batch.values) {
                    ctx.history.add(Event::Refused { place, value: *value });
                }
                target.land(number);
                Ok(())
            }
            Some((ErrorCode::OutOfOrderSequenceNumber, _))
                if self.plan.promise == Promise::Idempotent =>
            {
                if target.queue.front().is_some_and(|batch| batch.number == number) {
                    return Err("out of order, and everything before it was acknowledged".into());
                }
                target.land(number);
                Ok(())
            }
            Some((ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition, _))
                if self.plan.churn =>
            {
                self.targets.retain(|target| target.place.topic != place.topic);
                Ok(())
            }
            _ => Err(format!("produce to {place:?} refused: {code:?}")),
        }
    }
}

impl Target {
    /// A batch came back without having been taken.
    fn land(&mut self, number: u64) {
        self.rewind = true;
        if let Some(batch) = self.queue.iter_mut().find(|batch| batch.number == number) {
            batch.flying = false;
        }
    }
}

fn targets(topic: &Known) -> Vec<Target> {
    let target = |place| Target {
        name: topic.name.clone(),
        place,
        sequence: 0,
        queue: VecDeque::new(),
        rewind: false,
    };
    topic.places().map(target).collect()
}

impl Client for Producer {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        match self.link.receive(ctx.net) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                if let Err(what) = self.on_answer(&answer, ctx) {
                    ctx.wrong(self.id, what);
                }
                return true;
            }
            Err(what) => {
                ctx.wrong(self.id, what);
                return false;
            }
        }
        if self.link.lost(ctx.net).is_some() {
            self.all_landed();
            return true;
        }
        if ctx.finishing && self.targets.iter().all(|target| target.queue.is_empty()) {
            return false;
        }
        if !self.link.is_open() {
            return self.link.connect(ctx);
        }
        self.prepare(ctx) && self.produce(ctx)
    }

    fn hang_up(&mut self, net: &mut Net) {
        self.link.hang_up(net);
        self.all_landed();
    }

    fn is_done(&self, _life: &Life) -> bool {
        self.link.waiting() == 0 && self.targets.iter().all(|target| target.queue.is_empty())
    }

    fn describe(&self) -> String {
        let waiting: usize = self.targets.iter().map(|target| target.queue.len()).sum();
        let (id, asked) = (self.id, self.link.waiting());
        format!("producer {id}: {waiting} batches not acknowledged, {asked} requests not answered")
    }
}
