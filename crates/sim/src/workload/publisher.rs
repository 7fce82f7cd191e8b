//! A client inside of the broker that publishes single records, as protocols do whose messages come
//! one by one.

use std::collections::VecDeque;

use sabir_broker::batch::encode::{Encoder, Value as Body};
use sabir_broker::publish::PublishOp;
use sabir_broker::ticket::Ticket;
use sabir_broker::wake::Waker;

use crate::life::Life;
use crate::model::{ClientId, Event, Place, Promise, Value};
use crate::net::Net;
use crate::workload::records::make;
use crate::workload::{Client, Ctx};

/// Records that it publishes with one call, and waits for, at most.
const AT_ONCE: u64 = 8;
const WAITING_MAX: usize = 40;
/// Bytes of a value beside its own numbers, at most; now and then of one that is shared.
const SMALL: u64 = 200;
const LARGE: usize = 64 << 10;

/// A record that the broker took and has not made durable yet.
struct Waiting {
    ticket: Ticket,
    place: Place,
    value: Value,
    offset: i64,
}

/// The state of such a client.
pub struct Publisher {
    id: ClientId,
    next: u64,
    /// Under which opening of the broker it waits.
    epoch: i32,
    waiting: VecDeque<Waiting>,
}

impl Publisher {
    pub fn new(id: ClientId) -> Publisher {
        Publisher { id, next: 0, epoch: 0, waiting: VecDeque::new() }
    }

    /// Publishes a few records, to partitions of one topic.
    fn publish(&mut self, ctx: &mut Ctx<'_>, life: &Life) -> bool {
        let topics = life.caller.topics();
        // A topic whose making is not kept yet may have another id after a crash.
        if topics.is_empty() || !life.caller.is_kept(life.caller.catalog_ticket()) {
            return false;
        }
        let topic = ctx.chance.pick(&topics);
        let (name, asked) = (topic.name.to_string(), ctx.history.events.len());
        ctx.history.add(Event::TopicSeen { name, topic: Some(topic.uuid), asked });
        let mut encoder = Encoder::default();
        let mut records = Vec::new();
        for _ in 0..=ctx.chance.below(AT_ONCE) {
            let partition = ctx.chance.index(topic.partitions.len());
            let at = i32::try_from(partition).expect("a few");
            let place = Place { topic: topic.uuid, partition: at };
            let value = Value { client: self.id, number: self.next };
            self.next += 1;
            let promise = Promise::AtLeastOnce;
            ctx.history.add(Event::Attempt { place, value, promise });
            let large = ctx.chance.one_in(50);
            let len = if large { LARGE } else { ctx.chance.below(SMALL) as usize };
            let body = bytes::Bytes::from(make(value, len));
            let span = encoder.encode(None, Some(body.len()), [].into_iter());
            records.push((partition, place, value, body, span));
        }
        let ops: Vec<_> = (records.iter())
            .map(|(partition, .., body, span)| PublishOp {
                target: topic.target(*partition).expect("there"),
                record: encoder.record(*span, Body::Shared(body)),
                timestamp: None,
            })
            .collect();
        let mut outcomes = Vec::new();
        life.caller.publish(ctx.now, &ops, &Waker::none(), &mut outcomes);
        for ((_, place, value, ..), outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                Ok(placed) => {
                    let (ticket, offset) = (placed.ticket, placed.base);
                    self.waiting.push_back(Waiting { ticket, place, value, offset });
                }
                Err(_) => ctx.history.add(Event::Refused { place, value }),
            }
        }
        true
    }
}

impl Client for Publisher {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some(life) = ctx.life else { return false };
        if life.caller.epoch() != self.epoch {
            // What became of the others nobody will say.
            self.epoch = life.caller.epoch();
            self.waiting.clear();
        }
        let kept = |waiting: &mut Waiting| life.caller.is_kept(waiting.ticket);
        if let Some(done) = self.waiting.pop_front_if(kept) {
            let Waiting { place, value, offset, .. } = done;
            ctx.history.add(Event::Ack { place, value, offset });
            return true;
        }
        if ctx.finishing || self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.publish(ctx, life)
    }

    fn hang_up(&mut self, _net: &mut Net) {}

    fn is_done(&self, life: &Life) -> bool {
        self.waiting.is_empty() || life.caller.epoch() != self.epoch
    }

    fn describe(&self) -> String {
        format!("publisher {}: {} records not acknowledged", self.id, self.waiting.len())
    }
}
