//! What the golden directory holds: how it is made, and what must be found in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::admission::LinePlace;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::{records, validate};
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::declare::Declare;
use sabir_broker::fetch::Found;
use sabir_broker::group::{Commit, Join, OffsetCommit, Sync};
use sabir_broker::groups::Asked;
use sabir_broker::policy::Identity;
use sabir_broker::publish::{Appended, Outcomes};
use sabir_broker::random::Seeded;
use sabir_broker::shard::AppendOp;
use sabir_broker::ticket::Ticket;
use sabir_broker::topic::{Policy, Topic};
use sabir_broker::wake::Waker;
use sabir_broker::{Broker, Settings};
use sabir_storage::disk::sim::{Cut, Handle, SimDisk};

pub const NOW: Now = Now { mono: Instant(1), wall: 1_700_000_000_000 };
/// When a session has ended, and when the time of an empty group has.
const LATER_MS: [u64; 2] = [11_000, 10 * 60 * 1000 + 30_000];
/// Batches of a client, compressed in every way there is.
const CLIENTS: &str = include_str!("../../../storage/tests/golden/batches.hex");

struct Stopped;

impl sabir_broker::clock::Clock for Stopped {
    fn now(&self) -> Now {
        NOW
    }
}

pub fn open(disk: &Arc<SimDisk>) -> Caller {
    let mut settings = Settings::default();
    settings.groups.initial_delay_ms = 0;
    // Small, because the files of this directory are written down.
    (settings.wal.first_file_bytes, settings.wal.file_bytes) = (1 << 20, 1 << 20);
    let handle = Arc::new(Handle(disk.clone()));
    let broker = Broker::on_disk(handle, settings, &mut Seeded(3), None).expect("opens");
    Caller::new(broker, Identity::anonymous(), 0)
}

/// The same client in the namespace of that name.
pub fn enter(caller: &Caller, name: &str) -> Caller {
    let namespace = caller.find_namespace(name).expect("declared").id;
    Caller::new(caller.broker().clone(), Identity::anonymous(), namespace)
}

pub fn kept(caller: &Caller, ticket: Ticket) {
    while !caller.is_kept(ticket) {
        std::thread::yield_now();
    }
}

pub fn declare(caller: &Caller, name: &str, partitions: u32, policy: Policy) -> Arc<Topic> {
    let labels = BTreeMap::from([("made".to_owned(), "by hand".to_owned())]);
    let declare = Declare { name: name.into(), partitions, policy, labels };
    let seed = name.bytes().map(u64::from).sum();
    let (topic, ticket) = caller.declare(NOW, &mut Seeded(seed), declare).expect("a new topic");
    kept(caller, ticket);
    topic
}

fn append_one(caller: &Caller, op: (u16, AppendOp)) -> Appended {
    let mut outcomes = Outcomes::new();
    caller.append(NOW, &[op], &Waker::none(), &mut LinePlace::default(), &mut outcomes)?;
    outcomes.pop().expect("one outcome")
}

fn append(caller: &Caller, topic: &str, partition: usize, batch: Vec<u8>) {
    let topic = caller.topic(topic).expect("declared");
    let batch = Bytes::from(batch);
    let header = validate(&batch).expect("well made");
    let place = &topic.partitions[partition];
    let op = (place.shard, AppendOp { log: place.log, batch, header });
    let placed = append_one(caller, op);
    kept(caller, placed.expect("appended").ticket);
}

fn batch(values: &[String], producer: Option<(i64, i32)>) -> Vec<u8> {
    let mut builder = Builder::default();
    for value in values {
        let headers = vec![(&b"h"[..], Some(&b"1"[..])), (&b"n"[..], None)];
        let (key, value) = (Some(&value.as_bytes()[..1]), Some(value.as_bytes()));
        builder.push(&Record { timestamp: NOW.wall, key, value, headers });
    }
    match producer {
        Some((id, sequence)) => builder.seal_for(id, 0, sequence),
        None => builder.seal(),
    }
}

/// `name` with its numbers, `count` of them from `from` on.
fn values(name: &str, from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| format!("{name}-{number}")).collect()
}

fn long_values() -> Vec<String> {
    (0..6).map(|number| format!("long-{number}-{}", "x".repeat(700))).collect()
}

/// The batches of clients, as they came.
fn of_clients() -> Vec<Vec<u8>> {
    let lines = CLIENTS.lines().filter(|line| !line.starts_with('#'));
    let hex = lines.map(|line| line.split(' ').next_back().expect("three words"));
    hex.map(|hex| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (0..hex.len()).step_by(2).map(byte).collect()
    })
    .collect()
}

fn commit(caller: &Caller, group: &str, (member_id, generation): (&str, i32), offset: i64) {
    let topic = caller.topic("orders").expect("declared").uuid;
    let offset = OffsetCommit {
        topic,
        partition: 1,
        offset,
        leader_epoch: 1,
        metadata: "so far",
        expire_ms: None,
    };
    let commit = Commit { member_id, instance_id: None, generation, offsets: &[offset] };
    let answer = again(caller, || caller.commit_offsets(NOW, group, commit));
    assert_eq!(answer.value, Ok(vec![Ok(())]));
    kept(caller, answer.ticket);
}

/// Repeats what is throttled, as a protocol does.
fn again<T>(caller: &Caller, mut act: impl FnMut() -> Result<T, sabir_broker::error::Error>) -> T {
    loop {
        match act() {
            Ok(value) => return value,
            Err(error) => kept(caller, error.wait.expect("throttled")),
        }
    }
}

/// Joins as the only member and takes its assignment.
fn become_member(caller: &Caller, group: &str, session_timeout_ms: u32) -> i32 {
    let me = Waker::none();
    let join = || Join {
        member_id: "",
        new_member_id: "c-1",
        instance_id: None,
        client_id: "client",
        client_host: "/host",
        session_timeout_ms,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer",
        protocols: &[("range", b"meta")],
        known_member_only: false,
        may_skip_assignment: false,
        waker: &me,
    };
    let joined = again(caller, || caller.join(NOW, group, join()));
    let Asked::Done(reply) = joined.value else { panic!("{joined:?}") };
    let sync = Sync {
        member_id: "c-1",
        instance_id: None,
        generation: reply.generation,
        protocol_type: None,
        protocol: None,
        assignments: &[("c-1", b"all")],
        waker: &me,
    };
    let synced = again(caller, || caller.sync(NOW, group, sync));
    kept(caller, synced.ticket);
    reply.generation
}

/// Makes the directory: a checkpoint with a bundle, segments and rows of every kind, effects of
/// every kind behind it, and a second opening.
pub fn build() -> Arc<SimDisk> {
    let disk = SimDisk::new();
    let caller = open(&disk);
    declare(&caller, "orders", 3, Policy::default());
    // They were sent soon after 1970.
    let for_ever = Policy { retention_ms: Some(-1), ..Policy::default() };
    declare(&caller, "clients", of_clients().len() as u32, for_ever);
    declare(&caller, "long", 1, Policy { segment_bytes: Some(2000), ..Policy::default() });
    declare(&caller, "short", 1, Policy { retention_bytes: Some(0), ..Policy::default() });
    declare(&caller, "gone", 1, Policy::default());
    let (producer, ticket) = caller.producer_id();
    kept(&caller, ticket);
    append(&caller, "orders", 0, batch(&values("a", 0, 3), None));
    append(&caller, "orders", 1, batch(&values("b", 0, 2), Some((producer, 0))));
    for (partition, batch) in of_clients().into_iter().enumerate() {
        append(&caller, "clients", partition, batch);
    }
    long_values()
        .iter()
        .for_each(|v| append(&caller, "long", 0, batch(std::slice::from_ref(v), None)));
    append(&caller, "short", 0, batch(&values("s", 0, 4), None));
    append(&caller, "gone", 0, batch(&values("g", 0, 1), None));
    let generation = become_member(&caller, "readers", 1_800_000);
    commit(&caller, "readers", ("c-1", generation), 1);
    become_member(&caller, "brief", 10_000);
    let keeper = caller.broker().keeper();
    keeper.checkpoint_now().expect("stored");

    append(&caller, "orders", 0, batch(&values("a", 3, 2), None));
    append(&caller, "orders", 1, batch(&values("b", 2, 3), Some((producer, 2))));
    commit(&caller, "readers", ("c-1", generation), 4);
    let ticket = caller.delete(&caller.topic("gone").expect("declared")).expect("deleted");
    kept(&caller, ticket);
    declare(&caller, "late", 1, Policy::default());
    for ms in LATER_MS {
        let (mono, wall) = (Instant(ms * 1_000_000), NOW.wall + ms as i64);
        caller.broker().tick(Now { mono, wall });
    }
    keeper.turn(Now { mono: Instant(11_000_000_000), wall: NOW.wall }).expect("retains");
    caller.broker().close();
    disk.cut(Cut::Kept, || 0);

    let caller = open(&disk);
    let (_, ticket) = caller.producer_id();
    kept(&caller, ticket);
    append(&caller, "late", 0, batch(&values("l", 0, 1), None));
    caller.broker().close();
    disk.cut(Cut::Kept, || 0);
    disk
}

/// The values of all records of a partition from its start on, as text where they are text.
fn read(caller: &Caller, topic: &str, partition: usize) -> Vec<Vec<u8>> {
    let partition = caller.topic(topic).expect("declared").partitions[partition].clone();
    let mut from = partition.view.start();
    let mut found = Vec::new();
    loop {
        match caller.fetch(&partition, from, 1000, true, &Waker::none()).found {
            Found::Batches(batches) => {
                for bytes in &batches {
                    for batch in sabir_broker::batch::split(bytes) {
                        let (header, batch) = batch.expect("whole");
                        validate(&batch).expect("intact");
                        from = header.next_offset();
                        found.extend(values_of(&batch));
                    }
                }
            }
            Found::Pending => std::thread::yield_now(),
            Found::AtEnd => return found,
            other => panic!("at {from}: {other:?}"),
        }
    }
}

fn values_of(batch: &Bytes) -> Vec<Vec<u8>> {
    let records = records::records(batch).expect("a batch");
    let values = records.iter().map(|record| record.expect("whole").value.map(<[u8]>::to_vec));
    values.map(Option::unwrap_or_default).collect()
}

/// Opens the directory and finds everything.
pub fn check(disk: &Arc<SimDisk>) {
    let caller = open(disk);
    caller.broker().start(Arc::new(Stopped)).expect("threads start");
    let texts = |values: &[String]| -> Vec<Vec<u8>> {
        values.iter().map(|value| value.as_bytes().to_vec()).collect()
    };
    assert_eq!(read(&caller, "orders", 0), texts(&values("a", 0, 5)));
    assert_eq!(read(&caller, "orders", 1), texts(&values("b", 0, 5)));
    assert_eq!(of_clients().len(), 9);
    for (partition, batch) in of_clients().into_iter().enumerate() {
        assert_eq!(read(&caller, "clients", partition), values_of(&Bytes::from(batch)));
    }
    assert_eq!(read(&caller, "long", 0), texts(&long_values()));
    assert_eq!(read(&caller, "late", 0), texts(&values("l", 0, 1)));
    let short = caller.topic("short").expect("declared").partitions[0].view.clone();
    assert_eq!((short.start(), short.visible()), (4, 4));
    assert!(caller.topic("gone").is_none());
    let orders = caller.topic("orders").expect("declared");
    assert_eq!(orders.labels["made"], "by hand");
    assert_eq!(orders.created_ms, NOW.wall);
    let committed = caller.committed_offsets(NOW, "readers", None).expect("allowed").value;
    let (topic, partition, at) = committed.first().expect("one");
    assert_eq!((*topic, *partition, at.offset), (orders.uuid, 1, 4));
    assert_eq!((&*at.metadata, at.leader_epoch), ("so far", 1));
    let group = caller.describe_group(NOW, "readers").expect("allowed").expect("there").value;
    assert_eq!(group.members[0].assignment, "all");
    assert!(caller.describe_group(NOW, "brief").expect("allowed").is_none());
    let (producer, _) = caller.producer_id();
    assert!(producer >= 2000, "{producer}: blocks of 1,000, one for each opening that gave any");
    let known = batch(&values("b", 2, 3), Some((0, 2)));
    let place = orders.partitions[1].clone();
    let batch = Bytes::from(known);
    let header = validate(&batch).expect("well made");
    let op = (place.shard, AppendOp { log: place.log, batch, header });
    let again = append_one(&caller, op).expect("known");
    assert_eq!((again.base, again.known), (2, true), "a resend is known again");
    assert_eq!(caller.broker().cluster_id().len(), 16);
    caller.broker().close();
}
