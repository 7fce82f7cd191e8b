//! What a broker knows again after it was opened anew, with checkpoints at every place between.

use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::admission::LinePlace;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::{Header, validate};
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::declare::Declare;
use sabir_broker::error::Kind;
use sabir_broker::fetch::Found;
use sabir_broker::policy::Identity;
use sabir_broker::publish::Outcomes;
use sabir_broker::random::Seeded;
use sabir_broker::shard::AppendOp;
use sabir_broker::topic::{Policy, Topic};
use sabir_broker::wake::Waker;
use sabir_broker::{Broker, Settings};
use sabir_storage::disk::sim::{Cut, Handle, SimDisk};

const NOW: Now = Now { mono: Instant(1), wall: 1_700_000_000_000 };

struct Bench {
    disk: Arc<SimDisk>,
    caller: Caller,
}

impl Bench {
    fn new() -> Bench {
        let disk = SimDisk::new();
        let caller = open(&disk);
        Bench { disk, caller }
    }

    fn broker(&self) -> &Arc<Broker> {
        self.caller.broker()
    }

    /// Ends the process in this way and starts another one.
    fn restart(&mut self, cut: Cut) {
        self.broker().close();
        self.disk.cut(cut, || 0);
        self.caller = open(&self.disk);
    }

    fn declare(&self, name: &str, partitions: u32, policy: Policy) -> Arc<Topic> {
        let declare = Declare { name: name.into(), partitions, policy, ..Declare::default() };
        let (topic, ticket) =
            self.caller.declare(NOW, &mut Seeded(7), declare).expect("a new topic");
        self.wait(ticket);
        topic
    }

    fn topic(&self, name: &str) -> Arc<Topic> {
        self.caller.topic(name).expect("declared")
    }

    fn wait(&self, ticket: sabir_broker::ticket::Ticket) {
        while !self.caller.is_kept(ticket) {
            std::thread::yield_now();
        }
    }

    /// Appends one batch of these values and waits until it is kept; its offset.
    fn append(&self, topic: &str, partition: usize, values: &[&str]) -> i64 {
        let place = self.try_append(topic, partition, values, None).expect("appended");
        self.wait(place.ticket);
        place.base
    }

    fn try_append(
        &self,
        topic: &str,
        partition: usize,
        values: &[&str],
        producer: Option<(i64, i32)>,
    ) -> Result<sabir_broker::shard::Placed, sabir_broker::error::Error> {
        let mut builder = Builder::default();
        for value in values {
            let value = Some(value.as_bytes());
            builder.push(&Record { timestamp: NOW.wall, value, ..Record::default() });
        }
        let batch = match producer {
            Some((id, sequence)) => builder.seal_for(id, 0, sequence),
            None => builder.seal(),
        };
        let batch = Bytes::from(batch);
        let header = validate(&batch).expect("well made");
        let place = &self.topic(topic).partitions[partition];
        let op = (place.shard, AppendOp { log: place.log, batch, header });
        let mut outcomes = Outcomes::new();
        let (me, mut place) = (Waker::none(), LinePlace::default());
        self.caller.append(NOW, &[op], &me, &mut place, &mut outcomes)?;
        outcomes.pop().expect("one outcome")
    }

    /// Base offset and record count of every batch that can be read, from the first offset on.
    fn read(&self, topic: &str, partition: usize) -> Vec<(i64, i32)> {
        let partition = self.topic(topic).partitions[partition].clone();
        let mut from = partition.view.start();
        let mut found = Vec::new();
        loop {
            match self.caller.fetch(&partition, from, 1000, true, &Waker::none()).found {
                Found::Batches(batches) => {
                    for batch in batches.iter().flat_map(split) {
                        found.push((batch.base_offset, batch.count));
                        from = batch.next_offset();
                    }
                }
                Found::Pending => std::thread::yield_now(),
                Found::AtEnd => return found,
                other => panic!("at {from}: {other:?}"),
            }
        }
    }
}

fn split(bytes: &Bytes) -> Vec<Header> {
    sabir_broker::batch::split(bytes).map(|batch| batch.expect("whole").0).collect()
}

struct Stopped;

impl sabir_broker::clock::Clock for Stopped {
    fn now(&self) -> Now {
        NOW
    }
}

fn open(disk: &Arc<SimDisk>) -> Caller {
    let handle = Arc::new(Handle(disk.clone()));
    let broker = Broker::on_disk(handle, Settings::default(), &mut Seeded(3), None);
    let broker = broker.expect("opens");
    broker.start(Arc::new(Stopped)).expect("threads start");
    Caller::new(broker, Identity::anonymous(), 0)
}

#[test]
fn batches_offsets_and_topics_survive_with_and_without_checkpoints() {
    for cut in [Cut::Lost, Cut::Kept] {
        let mut bench = Bench::new();
        bench.declare("a", 3, Policy::default());
        let mut want = Vec::new();
        for round in 0..6 {
            want.push((bench.append("a", 1, &["x", "y"]), 2));
            if round % 2 == 1 {
                bench.broker().keeper().checkpoint_now().expect("stored");
            }
            want.push((bench.append("a", 1, &["z"]), 1));
            bench.restart(cut);
            assert_eq!(bench.read("a", 1), want, "round {round}, {cut:?}");
            assert_eq!(bench.read("a", 0), vec![]);
        }
        assert_eq!(want.last(), Some(&(17, 1)), "offsets are dense");
    }
}

#[test]
fn a_checkpoint_makes_old_wal_files_go_and_cold_reads_answer() {
    let mut bench = Bench::new();
    bench.declare("a", 1, Policy::default());
    let large = "v".repeat(300_000);
    let want: Vec<_> = (0..40).map(|_| (bench.append("a", 0, &[&large]), 1)).collect();
    bench.broker().keeper().checkpoint_now().expect("stored");
    bench.append("a", 0, &["small"]);
    bench.broker().keeper().checkpoint_now().expect("stored");
    bench.restart(Cut::Lost);
    assert_eq!(bench.read("a", 0)[..40], want);
    let wal: u64 = bench.disk.files().iter().filter(|f| f.0.starts_with("wal/0")).count() as u64;
    assert!(wal <= 2, "WAL files below the checkpoint are gone: {:?}", bench.disk.files());
    let view = &bench.topic("a").partitions[0].view;
    assert!(view.tail().is_empty(), "everything was read from blobs");
}

#[test]
fn resends_are_known_after_a_restart() {
    for checkpoint in [false, true] {
        let mut bench = Bench::new();
        bench.declare("a", 1, Policy::default());
        let first = bench.try_append("a", 0, &["1", "2"], Some((9, 0))).expect("appended");
        bench.wait(first.ticket);
        if checkpoint {
            bench.broker().keeper().checkpoint_now().expect("stored");
        }
        bench.restart(Cut::Lost);
        let again = bench.try_append("a", 0, &["1", "2"], Some((9, 0))).expect("known");
        assert_eq!((again.base, again.known), (0, true));
        let gap = bench.try_append("a", 0, &["5"], Some((9, 5))).expect_err("a gap");
        assert_eq!(gap.kind, Kind::Conflict);
        let next = bench.try_append("a", 0, &["3"], Some((9, 2))).expect("appended");
        assert_eq!((next.base, next.known), (2, false));
    }
}

#[test]
fn deleted_topics_stay_deleted_and_their_blobs_go() {
    for checkpoint in [false, true] {
        let mut bench = Bench::new();
        bench.declare("a", 2, Policy::default());
        bench.append("a", 0, &["old"]);
        bench.broker().keeper().checkpoint_now().expect("stored");
        bench.append("a", 0, &["newer"]);
        let ticket = bench.caller.delete(&bench.topic("a")).expect("deleted");
        bench.wait(ticket);
        if checkpoint {
            bench.broker().keeper().checkpoint_now().expect("stored");
            let blobs: Vec<_> =
                bench.disk.files().into_iter().filter(|f| f.0.starts_with("blob/")).collect();
            assert_eq!(blobs, vec![]);
        }
        bench.restart(Cut::Lost);
        assert!(bench.caller.topic("a").is_none(), "checkpoint {checkpoint}");
        bench.declare("a", 1, Policy::default());
        assert_eq!(bench.read("a", 0), vec![], "a new topic has nothing of the old");
        bench.append("a", 0, &["new"]);
        bench.restart(Cut::Lost);
        assert_eq!(bench.read("a", 0), vec![(0, 1)]);
    }
}

#[test]
fn producer_ids_are_never_given_out_twice() {
    let mut bench = Bench::new();
    let mut last = -1;
    for round in 0..5 {
        let (id, ticket) = bench.caller.producer_id();
        bench.wait(ticket);
        assert!(id > last, "{id} after {last}");
        last = id;
        if round == 2 {
            bench.broker().keeper().checkpoint_now().expect("stored");
        }
        bench.restart(Cut::Lost);
    }
}

#[test]
fn retention_by_size_and_time_drops_whole_stretches_for_good() {
    let by_size = Policy { retention_bytes: Some(250), ..Policy::default() };
    let by_time = Policy { retention_ms: Some(1000), ..Policy::default() };
    let check = |policy: Policy, later_ms: i64, want: Vec<(i64, i32)>| {
        let mut bench = Bench::new();
        bench.declare("a", 1, policy.clone());
        for _ in 0..4 {
            bench.append("a", 0, &[&"x".repeat(100)]);
            bench.broker().keeper().checkpoint_now().expect("stored");
        }
        let mono = Instant(u64::MAX / 2);
        let later = Now { mono, wall: NOW.wall + later_ms };
        bench.broker().keeper().turn(later).expect("retains");
        assert_eq!(bench.read("a", 0), want, "{policy:?}");
        bench.broker().keeper().checkpoint_now().expect("stored");
        bench.restart(Cut::Lost);
        assert_eq!(bench.read("a", 0), want, "{policy:?} after a restart");
        assert_eq!(bench.append("a", 0, &["next"]), 4);
    };
    check(by_size, 0, vec![(2, 1), (3, 1)]);
    check(by_time.clone(), 500, vec![(0, 1), (1, 1), (2, 1), (3, 1)]);
    check(by_time, 5000, vec![]);
}

#[test]
fn a_full_disk_refuses_publishes_and_room_takes_them_again() {
    let bench = Bench::new();
    bench.declare("a", 1, Policy::default());
    bench.append("a", 0, &["before"]);
    bench.disk.set_capacity(1 << 20);
    let turn = |at: u64| {
        let now = Now { mono: Instant(at * 1_000_000_000), wall: NOW.wall };
        bench.broker().keeper().turn(now).expect("no failure");
    };
    turn(10);
    let refused = bench.try_append("a", 0, &["no"], None).expect_err("full");
    assert_eq!(refused.kind, Kind::Full);
    assert_eq!(bench.read("a", 0), vec![(0, 1)], "reading goes on");
    bench.disk.set_capacity(1 << 40);
    turn(20);
    assert_eq!(bench.append("a", 0, &["after"]), 1);
}

#[test]
fn checkpoints_that_find_no_room_are_made_up_for() {
    let mut bench = Bench::new();
    bench.declare("a", 1, Policy::default());
    let large = "v".repeat(300_000);
    let mut want: Vec<_> = (0..2).map(|_| (bench.append("a", 0, &[&large]), 1)).collect();
    let used: u64 = bench.disk.files().iter().map(|file| file.1).sum();
    bench.disk.set_capacity(used + 100_000);
    for _ in 0..2 {
        let error = bench.broker().keeper().checkpoint_now().expect_err("no room");
        assert!(error.is_full(), "{error}");
        // The next try has more to write at the same place.
        want.push((bench.append("a", 0, &["small"]), 1));
    }
    bench.disk.set_capacity(1 << 40);
    bench.broker().keeper().checkpoint_now().expect("stored");
    bench.restart(Cut::Lost);
    assert_eq!(bench.read("a", 0), want);
}

#[test]
fn what_went_in_is_counted_from_the_start_of_the_broker() {
    let mut bench = Bench::new();
    bench.declare("a", 2, Policy::default());
    bench.append("a", 1, &["x", "y"]);
    bench.append("a", 1, &["z"]);
    let stats = |bench: &Bench| {
        let topics = bench.caller.topic_stats();
        let part = topics[0].partitions[1];
        assert_eq!((&*topics[0].topic.name, topics[0].partitions[0].end), ("a", 0));
        assert!(part.bytes > 100, "{part:?}");
        (part.start, part.end, part.taken.records, part.taken.batches, part.taken.bytes)
    };
    let (bytes, before) = (stats(&bench).4, bench.caller.stats().expect("allowed"));
    assert_eq!(stats(&bench), (0, 3, 3, 2, bytes));
    assert!(bytes > 100 && before.recent >= before.unbundled && before.unbundled > 0);
    assert!(before.wal.frames >= 3 && before.wal.syncs >= 3, "{before:?}");
    assert!(before.wal.bytes >= before.backlog / 2 && before.durable <= before.written);
    bench.restart(Cut::Lost);
    assert_eq!(stats(&bench), (0, 3, 0, 0, 0), "what is replayed did not come in again");
}
