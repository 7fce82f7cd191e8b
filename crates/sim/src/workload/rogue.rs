//! A client that sends what must be refused: damaged batches, and bytes that are no request.

use bytes::Bytes;
use sabir_kafka::generated::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};

use crate::life::Life;
use crate::model::{ClientId, Event, Place, Promise, Value};
use crate::net::Net;
use crate::workload::link::Link;
use crate::workload::records::{Sender, batch};
use crate::workload::topics::{self, Known};
use crate::workload::{Client, Ctx};

const VERSION: i16 = 13;

enum Ask {
    Topics(usize),
    Produce(Place, Value),
}

/// The state of such a client.
pub struct Rogue {
    id: ClientId,
    topics: Vec<String>,
    link: Link<Ask>,
    known: Vec<Known>,
    next: u64,
}

impl Rogue {
    pub fn new(id: ClientId, topics: Vec<String>) -> Rogue {
        Rogue { id, topics, link: Link::default(), known: Vec::new(), next: 0 }
    }

    /// A batch with a bit flipped behind its length, where the checksum covers it.
    fn produce(&mut self, ctx: &mut Ctx<'_>) {
        let topic = ctx.chance.pick(&self.known).clone();
        let partition = i32::try_from(ctx.chance.index(topic.partitions as usize)).expect("small");
        let place = Place { topic: topic.id, partition };
        let value = Value { client: self.id, number: self.next };
        self.next += 1;
        let sender = Sender { id: -1, epoch: -1, sequence: -1 };
        let mut bytes = batch(&[value], 10, ctx.now.wall, sender).to_vec();
        let at = 21 + ctx.chance.index(bytes.len() - 21);
        bytes[at] ^= 1 << ctx.chance.below(8);
        let (time_ms, bytes_len) = (ctx.now.wall, bytes.len());
        let records = Bytes::from(bytes);
        let bytes = u32::try_from(bytes_len).expect("small");
        let data = PartitionProduceData { index: partition, records: Some(&records) };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: [TopicProduceData {
                name: &topic.name,
                topic_id: topic.id,
                partition_data: [data].into(),
            }]
            .into(),
            ..ProduceRequest::default()
        };
        let promise = Promise::AtLeastOnce;
        ctx.history.add(Event::Attempt { place, value, promise, time_ms, bytes });
        self.link.send(ctx.net, VERSION, &request, Some(Ask::Produce(place, value)));
    }

    fn noise(&mut self, ctx: &mut Ctx<'_>) {
        let len = ctx.chance.range(1, 64);
        let mut bytes: Vec<u8> = (0..len).map(|_| ctx.chance.next() as u8).collect();
        if ctx.chance.one_in(2) {
            bytes.splice(0..0, u32::try_from(len).expect("small").to_be_bytes());
        }
        self.link.send_raw(ctx.net, &bytes);
        self.link.hang_up(ctx.net);
    }

    fn on_answer(&mut self, ctx: &mut Ctx<'_>) -> Result<bool, String> {
        let Some(answer) = self.link.receive(ctx.net)? else { return Ok(false) };
        match answer.tag {
            Ask::Topics(asked) => self.known = topics::found(&answer, asked, self.id, ctx)?,
            Ask::Produce(place, value) => {
                let response: ProduceResponse<'_> = answer.decode()?;
                let partition = response.responses.first().and_then(|topic| {
                    topic.partition_responses.first().map(|partition| partition.error_code)
                });
                match partition {
                    Some(0) => return Err(format!("{value:?}, which is damaged, was taken")),
                    Some(_) => ctx.history.add(Event::Refused { place, value }),
                    None => return Err("an answer without partitions".into()),
                }
            }
        }
        Ok(true)
    }
}

impl Client for Rogue {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        match self.on_answer(ctx) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(what) => {
                ctx.wrong(self.id, what);
                return false;
            }
        }
        if self.link.lost(ctx.net).is_some() {
            return true;
        }
        if ctx.finishing || self.link.waiting() > 0 {
            return false;
        }
        if !self.link.is_open() {
            return self.link.connect(ctx);
        }
        if self.known.is_empty() {
            topics::ask(&mut self.link, ctx, &self.topics, true, Ask::Topics);
        } else if ctx.chance.one_in(4) {
            self.noise(ctx);
        } else {
            self.produce(ctx);
        }
        true
    }

    fn hang_up(&mut self, net: &mut Net) {
        self.link.hang_up(net);
    }

    fn is_done(&self, _life: &Life) -> bool {
        self.link.waiting() == 0
    }

    fn describe(&self) -> String {
        format!("rogue {}: {} requests not answered", self.id, self.link.waiting())
    }
}
