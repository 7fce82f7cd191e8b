//! ListOffsets as a conversation: produced batches of every compression, asked for by time and by
//! name, in every version.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used)]

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::BytesMut;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::caller::Caller;
use sabir_broker::clock::Now;
use sabir_broker::declare::Declare;
use sabir_broker::policy::Identity;
use sabir_broker::random::Seeded;
use sabir_broker::topic::Policy;
use sabir_broker::wake::Waker;
use sabir_broker::{Broker, Settings};
use sabir_kafka::Kafka;
use sabir_kafka::codec::{Message, decode_body, frame_request};
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic,
};
use sabir_kafka::generated::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use sabir_net::connection::{Connection, Peer, Protocol, Step};
use sabir_net::outbox::Outbox;
use sabir_storage::disk::sim::{Handle, SimDisk};

const NOW_MS: i64 = 5000;
const NONE: (i64, i64) = (-1, -1);

/// One connection to a broker of its own.
struct Talk {
    broker: Arc<Broker>,
    connection: Box<dyn Connection>,
    now: Now,
    random: Seeded,
    out: Outbox,
    me: Waker,
    woken: Receiver<()>,
    wakes: usize,
}

fn talk() -> Talk {
    let disk = Arc::new(Handle(SimDisk::new()));
    let mut random = Seeded(1);
    let broker = Broker::on_disk(disk, Settings::default(), &mut random, None).unwrap();
    let kafka = Kafka::new(broker.clone(), sabir_kafka::Settings::default());
    let now = Now { wall: NOW_MS, ..Now::default() };
    let address = "127.0.0.1:9092".parse().unwrap();
    let peer = Peer { listener: "kafka".into(), remote: address, local: address, advertise: None };
    let connection = kafka.accept(peer, now);
    let (wake, woken) = sync_channel(1);
    let me = Waker::new(move || {
        let _ = wake.try_send(());
    });
    Talk { broker, connection, now, random, out: Outbox::default(), me, woken, wakes: 0 }
}

impl Talk {
    fn declare(&mut self, name: &str, partitions: u32, append_time: bool) {
        let caller = Caller::new(self.broker.clone(), Identity::anonymous(), 0);
        let policy = Policy { append_time: Some(append_time), ..Policy::default() };
        let declare = Declare { name: name.into(), partitions, policy, ..Declare::default() };
        caller.declare(self.now, &mut self.random, declare).unwrap();
    }

    /// Sends a request and returns the body of the answer.
    fn ask<'a, M: Message<'a>>(&mut self, version: i16, message: &M) -> Vec<u8> {
        let frame = frame_request(7, None, version, message).unwrap().concat();
        let mut input = BytesMut::from(&frame[..]);
        let Talk { broker, connection, now, random, out, me, woken, wakes } = self;
        let mut step = Step { broker, now: *now, random, out, me };
        connection.on_bytes(&mut input, &mut step).unwrap();
        while step.out.is_empty() {
            woken.recv_timeout(Duration::from_secs(10)).expect("an answer in time");
            assert!(me.take());
            *wakes += 1;
            connection.on_wake(&mut step).unwrap();
        }
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = out.fill(&mut slices);
        let parts: Vec<_> = slices[..filled].iter().map(|part| part.to_vec()).collect();
        let answer = parts.concat();
        out.advance(answer.len());
        assert!(out.is_empty(), "one answer");
        let head = if M::KEY.response_header_version(version) > 0 { 9 } else { 8 };
        answer[head..].to_vec()
    }

    fn produce(&mut self, name: &str, index: i32, batch: &[u8]) {
        let partition_data = [PartitionProduceData { index, records: Some(batch) }].into();
        let topic = TopicProduceData { name, partition_data, ..TopicProduceData::default() };
        let request =
            ProduceRequest { acks: -1, topic_data: [topic].into(), ..ProduceRequest::default() };
        let answer = self.ask(9, &request);
        let answer: ProduceResponse<'_> = decode_body(&answer, 9).unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{name} {index}");
    }

    fn list(
        &mut self,
        version: i16,
        name: &str,
        partitions: Vec<ListOffsetsPartition>,
    ) -> Vec<ListOffsetsPartitionResponse> {
        let topics = vec![ListOffsetsTopic { name, partitions }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let answer = self.ask(version, &request);
        let answer: ListOffsetsResponse<'_> = decode_body(&answer, version).unwrap();
        let [topic] = &answer.topics[..] else { panic!("one topic") };
        assert_eq!(topic.name, name);
        topic.partitions.clone()
    }

    /// Offset and timestamp of an answer without an error, and its epoch.
    fn find(&mut self, name: &str, index: i32, timestamp: i64) -> ((i64, i64), i32) {
        let [ref answer] = self.list(11, name, vec![asked(index, timestamp)])[..] else {
            panic!("one answer")
        };
        assert_eq!((answer.error_code, answer.partition_index), (0, index), "{name} {timestamp}");
        ((answer.offset, answer.timestamp), answer.leader_epoch)
    }
}

fn asked(partition_index: i32, timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition { partition_index, timestamp, ..ListOffsetsPartition::default() }
}

fn batch(timestamps: &[i64]) -> Vec<u8> {
    let mut builder = Builder::default();
    for timestamp in timestamps {
        builder.push(&Record { timestamp: *timestamp, value: Some(b"v"), ..Record::default() });
    }
    builder.seal()
}

#[test]
fn times_that_do_not_rise_are_found_by_record() {
    let mut talk = talk();
    talk.declare("t", 2, false);
    for timestamps in [&[100, 90, 110][..], &[300, 200], &[250, 300]] {
        talk.produce("t", 0, &batch(timestamps));
    }
    let found = [
        (0, (0, 100)),
        (100, (0, 100)),
        (101, (2, 110)),
        (111, (3, 300)),
        (300, (3, 300)),
        (301, NONE),
        (-1, (7, -1)),
        (-2, (0, -1)),
        (-3, (3, 300)),
        (-4, (0, -1)),
        (-5, NONE),
        (-6, NONE),
    ];
    for (timestamp, want) in found {
        let epoch = if want == NONE { -1 } else { 1 };
        assert_eq!(talk.find("t", 0, timestamp), (want, epoch), "{timestamp}");
    }
    let empty = [(0, NONE), (-1, (0, -1)), (-2, (0, -1)), (-3, NONE), (-4, (0, -1)), (-5, NONE)];
    for (timestamp, want) in empty {
        assert_eq!(talk.find("t", 1, timestamp).0, want, "empty, {timestamp}");
    }
}

#[test]
fn every_compression_is_searched() {
    let mut talk = talk();
    let golden = include_str!("../../storage/tests/golden/batches.hex");
    let lines: Vec<_> = golden.lines().filter(|line| line.starts_with("java ")).collect();
    assert_eq!(lines.len(), 5);
    talk.declare("t", 5, false);
    for (partition, line) in (0..).zip(lines) {
        let [_, compression, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        let pairs = hex.as_bytes().chunks(2);
        let bytes = pairs.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap());
        talk.produce("t", partition, &batch(&[500]));
        talk.produce("t", partition, &bytes.collect::<Vec<_>>());
        let found = [(500, (0, 500)), (501, (1, 1000)), (1001, (3, 1100)), (-3, (3, 1100))];
        for (timestamp, want) in found {
            let (found, epoch) = talk.find("t", partition, timestamp);
            assert_eq!((found, epoch), (want, 1), "{compression} {timestamp}");
        }
        assert_eq!(talk.find("t", partition, 1101).0, NONE, "{compression}");
    }
}

#[test]
fn the_time_of_the_broker_is_that_of_the_whole_batch() {
    let mut talk = talk();
    talk.declare("t", 1, true);
    talk.produce("t", 0, &batch(&[1, 2, 3]));
    talk.now.wall = NOW_MS + 1000;
    talk.produce("t", 0, &batch(&[4, 5]));
    let found = [
        (3, (0, NOW_MS)),
        (NOW_MS, (0, NOW_MS)),
        (NOW_MS + 1, (3, NOW_MS + 1000)),
        (-3, (3, NOW_MS + 1000)),
        (NOW_MS + 1001, NONE),
    ];
    for (timestamp, want) in found {
        assert_eq!(talk.find("t", 0, timestamp).0, want, "{timestamp}");
    }
}

#[test]
fn a_name_is_refused_before_the_version_that_has_it() {
    let mut talk = talk();
    talk.declare("t", 1, false);
    talk.produce("t", 0, &batch(&[100]));
    let since = [(-1, 0), (-2, 0), (-3, 7), (-4, 8), (-5, 9), (-6, 11), (-7, 99), (i64::MIN, 99)];
    for version in 0..=11 {
        for (timestamp, since) in since {
            let answers = talk.list(version, "t", vec![asked(0, timestamp)]);
            let known = version >= since;
            let want = if known { ErrorCode::None } else { ErrorCode::UnsupportedVersion };
            assert_eq!(answers[0].error_code, want.number(), "{timestamp} in version {version}");
            assert!(known || answers[0].offset == -1);
        }
        let time = talk.list(version, "t", vec![asked(0, 100)]);
        if version > 0 {
            assert_eq!((time[0].offset, time[0].timestamp), (0, 100), "version {version}");
        }
    }
}

#[test]
fn version_0_lists_offsets_of_segments() {
    let mut talk = talk();
    talk.declare("t", 2, false);
    talk.produce("t", 0, &batch(&[100, 200]));
    let check = |talk: &mut Talk, partition, timestamp, max_num_offsets, want: &[i64]| {
        let asked = ListOffsetsPartition { max_num_offsets, ..asked(partition, timestamp) };
        let answers = talk.list(0, "t", vec![asked]);
        assert_eq!((answers[0].error_code, &answers[0].old_style_offsets[..]), (0, want));
    };
    check(&mut talk, 0, -1, 1, &[2]);
    check(&mut talk, 0, -1, 9, &[2, 0]);
    check(&mut talk, 0, -2, 9, &[0]);
    check(&mut talk, 0, -1, -1, &[]);
    check(&mut talk, 0, NOW_MS, 9, &[2, 0]);
    check(&mut talk, 0, 200, 9, &[0]);
    check(&mut talk, 0, 199, 9, &[]);
    check(&mut talk, 1, -1, 9, &[0]);
    let twice = talk.list(0, "t", vec![asked(0, -1), asked(0, -1)]);
    assert!(twice.iter().all(|answer| answer.error_code == 0), "refused from version 1 on");
}

#[test]
fn each_mistake_has_its_code_and_spares_the_others() {
    let mut talk = talk();
    talk.declare("t", 2, false);
    talk.produce("t", 0, &batch(&[100]));
    let epoch =
        |current_leader_epoch| ListOffsetsPartition { current_leader_epoch, ..asked(0, 50) };
    let check = |talk: &mut Talk, name, asked: Vec<_>, want: &[ErrorCode]| {
        let answers = talk.list(5, name, asked);
        let codes: Vec<_> = answers.iter().map(|answer| answer.error_code).collect();
        let want: Vec<_> = want.iter().map(|code| code.number()).collect();
        assert_eq!(codes, want, "{name}");
    };
    use ErrorCode::*;
    check(&mut talk, "none", vec![asked(0, -1)], &[UnknownTopicOrPartition]);
    let many = vec![asked(-1, -1), asked(2, 5), asked(1, 5)];
    check(&mut talk, "t", many, &[UnknownTopicOrPartition, UnknownTopicOrPartition, None]);
    let twice = vec![asked(1, -1), asked(0, -1), asked(1, -2)];
    check(&mut talk, "t", twice, &[InvalidRequest, None, InvalidRequest]);
    check(&mut talk, "t", vec![epoch(1)], &[None]);
    check(&mut talk, "t", vec![epoch(0)], &[FencedLeaderEpoch]);
    check(&mut talk, "t", vec![epoch(2)], &[UnknownLeaderEpoch]);
    // The unknown name is noticed before the unknown topic.
    check(&mut talk, "none", vec![asked(0, -9)], &[UnsupportedVersion]);
}

#[test]
fn one_turn_searches_one_partition() {
    let mut talk = talk();
    talk.declare("t", 10, false);
    for partition in 0..10 {
        talk.produce("t", partition, &batch(&[i64::from(partition) * 10]));
    }
    talk.wakes = 0;
    let all = (0..10).map(|partition| asked(partition, 45)).collect();
    let answers = talk.list(6, "t", all);
    assert_eq!(talk.wakes, 9, "each search but the first waits for a turn of its own");
    for (partition, answer) in (0..).zip(&answers) {
        let want = if partition < 5 { NONE } else { (0, partition * 10) };
        assert_eq!((answer.offset, answer.timestamp), want, "partition {partition}");
    }
    talk.wakes = 0;
    talk.list(6, "t", (0..10).map(|partition| asked(partition, -1)).collect());
    assert_eq!(talk.wakes, 0, "names need no search");
}
