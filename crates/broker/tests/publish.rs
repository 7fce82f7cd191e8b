//! Single records join one batch per log and frame, and come back in order with dense offsets,
//! whatever is appended between them and wherever the process ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use sabir_broker::admission::LinePlace;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::encode::{Encoder, Value};
use sabir_broker::batch::records::records;
use sabir_broker::batch::{Header, split, validate};
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::declare::Declare;
use sabir_broker::error::Kind;
use sabir_broker::fetch::Found;
use sabir_broker::policy::Identity;
use sabir_broker::publish::{Outcome, Outcomes, PublishOp};
use sabir_broker::pump::Pump;
use sabir_broker::random::Seeded;
use sabir_broker::shard::AppendOp;
use sabir_broker::ticket::Class;
use sabir_broker::topic::{Policy, Topic};
use sabir_broker::wake::Waker;
use sabir_broker::{Broker, Settings};
use sabir_storage::disk::sim::{Cut, Handle, SimDisk};

const NOW: Now = Now { mono: Instant(1), wall: 1_700_000_000_000 };

/// A broker whose frames are cut when the test says so.
struct House {
    disk: Arc<SimDisk>,
    pump: Pump,
    caller: Caller,
    topic: Arc<Topic>,
    encoder: Encoder,
    outcomes: Vec<Outcome>,
}

/// A record of a test.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Message {
    fn of(value: impl Into<Bytes>) -> Message {
        Message { value: Some(value.into()), ..Message::default() }
    }
}

fn open(disk: &Arc<SimDisk>) -> (Pump, Caller) {
    let handle = Arc::new(Handle(disk.clone()));
    let (broker, pump) =
        Broker::without_threads(handle, Settings::default(), &mut Seeded(3)).expect("opens");
    (pump, Caller::new(broker, Identity::anonymous(), 0))
}

impl House {
    fn new(partitions: u32, policy: Policy) -> House {
        let disk = SimDisk::new();
        let (pump, caller) = open(&disk);
        let declare = Declare { name: "t".into(), partitions, policy, ..Declare::default() };
        let (topic, _) = caller.declare(NOW, &mut Seeded(7), declare).expect("a new topic");
        let (encoder, outcomes) = Default::default();
        let house = House { disk, pump, caller, topic, encoder, outcomes };
        house.cut();
        house
    }

    /// Writes a frame and makes it durable.
    fn cut(&self) {
        self.pump.write().expect("written");
        let upto = self.pump.begin_sync().expect("synced");
        self.pump.end_sync(upto);
    }

    fn restart(&mut self) {
        self.disk.cut(Cut::Lost, || 0);
        (self.pump, self.caller) = open(&self.disk);
        self.topic = self.caller.topic("t").expect("declared");
    }

    /// Publishes each to its partition, in one call.
    fn publish(&mut self, messages: &[(usize, Message)]) -> &[Outcome] {
        self.encoder.clear();
        let encoder = &mut self.encoder;
        let mut encode = |message: &Message| {
            let headers = message.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
            encoder.encode(message.key.as_deref(), message.value.as_ref().map(Bytes::len), headers)
        };
        let spans: Vec<_> = messages.iter().map(|(_, message)| encode(message)).collect();
        let empty = Bytes::new();
        let ops: Vec<_> = (messages.iter().zip(spans))
            .map(|((partition, message), span)| PublishOp {
                target: self.topic.target(*partition).expect("there"),
                record: self
                    .encoder
                    .record(span, Value::Shared(message.value.as_ref().unwrap_or(&empty))),
                timestamp: None,
            })
            .collect();
        self.caller.publish(NOW, &ops, &Waker::none(), &mut self.outcomes);
        assert_eq!(self.outcomes.len(), messages.len());
        &self.outcomes
    }

    /// Publishes values that are all taken; their offsets.
    fn publish_all(&mut self, partition: usize, values: &[&str]) -> Vec<i64> {
        let messages: Vec<_> =
            values.iter().map(|value| (partition, Message::of(value.to_string()))).collect();
        let outcomes = self.publish(&messages).iter();
        outcomes.map(|outcome| outcome.as_ref().expect("taken").base).collect()
    }

    /// Appends a batch as a client would send it; its base offset.
    fn append(&self, partition: usize, values: &[&str], producer: Option<i64>) -> i64 {
        let mut builder = Builder::default();
        for value in values {
            let value = Some(value.as_bytes());
            builder.push(&Record { timestamp: NOW.wall, value, ..Record::default() });
        }
        let batch = Bytes::from(match producer {
            Some(id) => builder.seal_for(id, 0, 0),
            None => builder.seal(),
        });
        let header = validate(&batch).expect("well made");
        let place = &self.topic.partitions[partition];
        let op = (place.shard, AppendOp { log: place.log, batch, header });
        let (mut place, mut outcomes) = (LinePlace::default(), Outcomes::new());
        let done = self.caller.append(NOW, &[op], &Waker::none(), &mut place, &mut outcomes);
        done.expect("room");
        outcomes[0].as_ref().expect("taken").base
    }

    /// All batches that can be read.
    fn batches(&self, partition: usize) -> Vec<(Header, Bytes)> {
        let partition = &self.topic.partitions[partition];
        let (mut from, mut found) = (partition.view.start(), Vec::new());
        loop {
            match self.caller.fetch(partition, from, 1 << 30, true, &Waker::none()).found {
                Found::Batches(batches) => {
                    for batch in batches.iter().flat_map(split) {
                        let (header, bytes) = batch.expect("whole");
                        assert_eq!(validate(&bytes), Ok(header));
                        assert_eq!(header.base_offset, from, "offsets are dense");
                        from = header.next_offset();
                        found.push((header, bytes));
                    }
                }
                Found::Pending => assert!(self.pump.read_one()),
                Found::AtEnd => return found,
                other => panic!("at {from}: {other:?}"),
            }
        }
    }

    /// Records per batch.
    fn counts(&self, partition: usize) -> Vec<i32> {
        self.batches(partition).iter().map(|(header, _)| header.count).collect()
    }

    fn messages(&self, partition: usize) -> Vec<Message> {
        let mut found = Vec::new();
        for (_, bytes) in self.batches(partition) {
            for record in &records(&bytes).expect("records") {
                let record = record.expect("a record");
                assert_eq!(record.timestamp, NOW.wall);
                let owned = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
                let pair = |(name, value)| (Bytes::copy_from_slice(name), owned(value));
                found.push(Message {
                    key: owned(record.key),
                    value: owned(record.value),
                    headers: record.headers.iter().map(pair).collect(),
                });
            }
        }
        found
    }
}

/// What happens in a test of how records join.
enum Step {
    /// So many records of one partition.
    Publish(usize, usize),
    /// A batch of so many records, of this producer.
    Append(usize, usize, Option<i64>),
    Cut,
}
use Step::*;

#[test]
fn records_of_one_frame_join_one_batch_of_their_log() {
    let check = |name: &str, steps: &[Step], want: [&[i32]; 2]| {
        let mut house = House::new(2, Policy::default());
        let mut next = [0, 0];
        for step in steps {
            match step {
                Publish(partition, count) => {
                    let offsets = house.publish_all(*partition, &vec!["v"; *count]);
                    let from = next[*partition];
                    next[*partition] += *count as i64;
                    assert_eq!(offsets, (from..next[*partition]).collect::<Vec<_>>(), "{name}");
                }
                Append(partition, count, producer) => {
                    let base = house.append(*partition, &vec!["w"; *count], *producer);
                    assert_eq!(base, next[*partition], "{name}");
                    next[*partition] += *count as i64;
                }
                Cut => house.cut(),
            }
        }
        house.cut();
        for _ in 0..2 {
            assert_eq!([house.counts(0), house.counts(1)], want.map(<[_]>::to_vec), "{name}");
            house.restart();
        }
    };
    let (a, b) = (0, 1);
    check("one", &[Publish(a, 1)], [&[1], &[]]);
    check("many calls", &[Publish(a, 1), Publish(a, 5), Publish(a, 20)], [&[26], &[]]);
    check("a cut between", &[Publish(a, 2), Cut, Publish(a, 3)], [&[2, 3], &[]]);
    let two_logs = [Publish(a, 2), Publish(b, 3), Publish(a, 4), Publish(b, 1)];
    check("two logs", &two_logs, [&[6], &[4]]);
    let batches = [Publish(a, 2), Append(a, 3, None), Publish(a, 4), Append(b, 1, None)];
    check("batches of clients", &batches, [&[2, 3, 4], &[1]]);
    let producers = [Append(a, 1, Some(4)), Publish(a, 1), Append(a, 1, Some(5)), Publish(a, 2)];
    check("producers", &producers, [&[1, 1, 1, 2], &[]]);
    let resend = [Publish(a, 1), Append(a, 2, Some(4)), Publish(a, 2)];
    check("nothing of a producer is joined", &resend, [&[1, 2, 2], &[]]);
    let many = [Publish(a, 16_000), Publish(a, 400)];
    check("a batch has at most 16,384 records", &many, [&[16_384, 16], &[]]);
}

#[test]
fn a_batch_keeps_to_the_limit_of_its_topic_and_to_one_mebibyte() {
    let check = |limit: Option<i64>, sizes: &[usize], want: &[i32]| {
        let mut house = House::new(1, Policy { message_bytes_max: limit, ..Policy::default() });
        let messages: Vec<_> = sizes.iter().map(|size| (0, Message::of(vec![7; *size]))).collect();
        assert!(house.publish(&messages).iter().all(Result::is_ok));
        house.cut();
        assert_eq!(house.counts(0), want, "{limit:?} {sizes:?}");
        let got = house.messages(0).into_iter().map(|one| (0, one)).collect::<Vec<_>>();
        assert_eq!(got, messages);
        for (header, _) in house.batches(0).iter().filter(|(header, _)| header.count > 1) {
            assert!((header.len as i64) <= limit.unwrap_or(1 << 20));
        }
    };
    check(Some(300), &[100, 100, 100, 100], &[2, 2]);
    check(Some(300), &[10, 500, 10], &[1, 1, 1]);
    check(None, &[600_000, 500_000, 10, 2 << 20, 10], &[1, 2, 1, 1]);
    check(Some(8 << 20), &[400_000, 400_000, 400_000], &[2, 1]);
}

#[test]
fn small_messages_cost_little() {
    // Bytes of the key, and messages in the frame; then the most bytes that each may take over its
    // body of 100, in the log, and in log and WAL together without padding.
    let check = |key: usize, count: usize, most: [f64; 2]| {
        let mut house = House::new(1, Policy::default());
        let message = Message {
            key: (key > 0).then(|| Bytes::from(vec![b'k'; key])),
            ..Message::of(vec![b'v'; 100])
        };
        assert!(house.publish(&vec![(0, message); count]).iter().all(Result::is_ok));
        // The frame has its header, and that of its only section.
        let frame = house.pump.staged() + 16 + 32;
        house.cut();
        let batches: usize = house.batches(0).iter().map(|(header, _)| header.len).sum();
        let over = |bytes: usize| (bytes - 100 * count) as f64 / count as f64;
        let got = [over(batches), over(frame)];
        let fits = got.iter().zip(most).all(|(got, most)| *got <= most && *got > most - 8.0);
        assert!(fits, "{count} with a key of {key}: {got:?}");
    };
    check(0, 1, [71.0, 132.0]);
    check(0, 5, [22.0, 35.0]);
    check(0, 20, [13.0, 16.0]);
    check(0, 100, [11.0, 12.0]);
    check(24, 20, [37.0, 40.0]);
    check(24, 100, [35.0, 36.0]);
}

#[test]
fn what_is_refused_leaves_no_gap() {
    let mut house = House::new(2, Policy::default());
    let huge = Bytes::from(vec![0; 48 << 20]);
    let messages = [(0, Message::of("a")), (0, Message::of(huge)), (0, Message::of("b"))];
    let outcomes = house.publish(&messages).iter();
    let got: Vec<_> = outcomes
        .map(|one| one.as_ref().map(|placed| placed.base).map_err(|error| error.kind))
        .collect();
    assert_eq!(got, [Ok(0), Err(Kind::TooLarge), Ok(1)]);
    house.cut();
    assert_eq!(house.counts(0), [2]);
    let ticket = house.caller.delete(&house.topic).expect("deleted");
    assert!(!house.caller.is_kept(ticket));
    let got = house.publish(&[(1, Message::of("c"))])[0].as_ref().expect_err("gone").kind;
    assert_eq!(got, Kind::NotFound);
}

#[test]
fn a_full_stage_throttles_until_the_next_frame_and_keeps_the_order() {
    let mut house = House::new(4, Policy::default());
    let size = 60_000;
    let message = |at: usize| (at % 4, Message::of(format!("{at:0size$}")));
    let mut left: Vec<_> = (0..200).map(message).collect();
    let mut rounds = 0;
    while !left.is_empty() {
        let outcomes = house.publish(&left).to_vec();
        let mut again = Vec::new();
        for (message, outcome) in left.drain(..).zip(outcomes) {
            match outcome {
                Ok(placed) => assert!(!house.caller.is_kept(placed.ticket)),
                Err(error) => {
                    assert_eq!(error.kind, Kind::Throttled);
                    let wait = error.wait.expect("says until when");
                    assert!(!house.caller.is_kept(wait) && wait.class() == Class::Os);
                    again.push(message);
                }
            }
        }
        assert!(house.pump.staged() < 6 << 20);
        house.cut();
        left = again;
        rounds += 1;
    }
    assert!(rounds >= 3, "{rounds} frames of at most about 4 MiB");
    for partition in 0..4 {
        let want: Vec<_> = (0..200).filter(|at| at % 4 == partition).map(message).collect();
        let got = house.messages(partition).into_iter().map(|one| (partition, one));
        assert_eq!(got.collect::<Vec<_>>(), want);
    }
}

#[test]
fn the_class_and_the_time_of_the_topic_hold_for_its_batches() {
    let os = Policy { durability: Some(Class::Os), append_time: Some(true), ..Policy::default() };
    let mut house = House::new(1, os);
    house.cut();
    assert_eq!(house.publish_all(0, &["a", "b"]), [0, 1]);
    let ticket = house.outcomes[1].as_ref().expect("taken").ticket;
    assert_eq!(ticket.class(), Class::Os);
    house.pump.write().expect("written");
    assert!(house.caller.is_kept(ticket), "without a sync");
    let batches = house.batches(0);
    assert!(batches[0].0.is_append_time());
    // A change of the class in the same frame ends the batch.
    assert_eq!(house.publish_all(0, &["c"]), [2]);
    let durable = Policy { append_time: Some(true), ..Policy::default() };
    house.caller.alter(&house.topic, durable, BTreeMap::new()).expect("altered");
    assert_eq!(house.publish_all(0, &["d"]), [3]);
    house.pump.write().expect("written");
    assert_eq!(house.counts(0), [2, 1], "the last is not synced");
    house.cut();
    assert_eq!(house.counts(0), [2, 1, 1]);
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Act {
    Publish(Vec<(usize, Message)>),
    Append(usize, u8),
    Cut,
    Checkpoint,
    Restart,
}

fn message() -> impl Strategy<Value = Message> {
    let some = |max: usize| {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from))
    };
    let value = prop_oneof![
        8 => some(40),
        1 => (65_000..70_000usize).prop_map(|size| Some(Bytes::from(vec![1; size]))),
    ];
    let name = prop::collection::vec(any::<u8>(), 0..5).prop_map(Bytes::from);
    let headers = prop::collection::vec((name, some(5)), 0..3);
    (some(10), value, headers).prop_map(|(key, value, headers)| Message { key, value, headers })
}

fn act() -> impl Strategy<Value = Act> {
    let messages = prop::collection::vec((0..PARTITIONS, message()), 1..10);
    prop_oneof![
        6 => messages.prop_map(Act::Publish),
        3 => (0..PARTITIONS, 1..4u8).prop_map(|(partition, count)| Act::Append(partition, count)),
        2 => Just(Act::Cut),
        1 => Just(Act::Checkpoint),
        1 => Just(Act::Restart),
    ]
}

/// More than there are shards, so that two share one.
const PARTITIONS: usize = 18;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_interleaving_reads_back_in_order(acts in prop::collection::vec(act(), 1..40)) {
        let mut house = House::new(PARTITIONS as u32, Policy::default());
        let mut said: Vec<Vec<Message>> = vec![Vec::new(); PARTITIONS];
        let mut kept = said.clone();
        for act in acts.into_iter().chain([Act::Cut, Act::Restart]) {
            match act {
                Act::Publish(messages) => {
                    let bases: Vec<_> = house.publish(&messages).iter()
                        .map(|one| one.as_ref().expect("taken").base).collect();
                    for ((partition, message), base) in messages.into_iter().zip(bases) {
                        prop_assert_eq!(base, said[partition].len() as i64);
                        said[partition].push(message);
                    }
                }
                Act::Append(partition, count) => {
                    let base = house.append(partition, &vec!["native"; usize::from(count)], None);
                    prop_assert_eq!(base, said[partition].len() as i64);
                    said[partition].extend((0..count).map(|_| Message::of("native")));
                }
                Act::Cut | Act::Checkpoint => {
                    house.cut();
                    kept.clone_from(&said);
                    if matches!(act, Act::Checkpoint) {
                        house.pump.checkpoint().expect("stored");
                    }
                }
                Act::Restart => {
                    house.restart();
                    said.clone_from(&kept);
                }
            }
            for (partition, want) in kept.iter().enumerate() {
                prop_assert_eq!(&house.messages(partition), want);
            }
        }
    }
}
