//! `publish`: what a single record costs that joins the batch of its log, beside one that is
//! appended as a batch of its own, inside of this process.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use sabir_broker::admission::LinePlace;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::encode::{Encoder, Value};
use sabir_broker::batch::validate;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Clock;
use sabir_broker::declare::Declare;
use sabir_broker::error::{Error, Kind};
use sabir_broker::policy::Identity;
use sabir_broker::publish::{Outcomes, PublishOp};
use sabir_broker::shard::AppendOp;
use sabir_broker::topic::Topic;
use sabir_broker::wake::Waker;
use sabir_net::clock::SystemClock;
use sabir_net::random::SystemRandom;

use super::run::{Place, open};
use crate::allocations::Allocated;
use crate::bench::{Bench, Options, note};
use crate::process::{self, cpu_seconds};
use crate::table::{Table, figure, maybe, median};

const VALUE_BYTES: usize = 100;
/// Operations that go in with one call.
const FLUSH: usize = 64;
const ROUNDS: usize = 5;

/// How a record goes in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// It joins the batch of its log.
    Publish,
    /// As a batch of its own, built and checked for it.
    Append,
    /// The same batch for each, built and checked before.
    AppendBuilt,
}

const WAYS: [(&str, Way); 3] = [
    ("publish", Way::Publish),
    ("append, a batch for each", Way::Append),
    ("append, batches made before", Way::AppendBuilt),
];
const PARTITIONS: [u32; 3] = [1, 16, 1000];

const HEAD: &str = "\
One thread puts records of 100 bytes without a key into the core as the server runs it, 64 with one
call, and waits where 4 MiB are staged. *Caller*: CPU time of that thread, encoding included.
*Process*: that of all threads, with the WAL's and the bundler. *In the WAL*: bytes written of it,
padding included. *Allocations* are those of all threads, where this program counts them (feature
`count-allocations`). The WAL and the bundler do their work, but what they write is dropped, and a
sync takes 100 µs. Each figure is the median of its rounds, which take turns.
";

/// What was seen of one way, per record.
struct Seen {
    per_s: f64,
    caller_ns: f64,
    process_ns: f64,
    wal_bytes: f64,
    allocations: Option<f64>,
}

/// Runs all cases and writes the results.
pub fn main(options: Options) -> Result<()> {
    let bench = Bench::new(options)?;
    process::end_sleeps_on_time();
    let mut table = Table::new(&[
        "record",
        "partitions",
        "records/s",
        "caller: ns/record",
        "process: ns/record",
        "in the WAL: B/record",
        "allocations/record",
    ]);
    for partitions in PARTITIONS {
        let mut rounds = WAYS.map(|_| Vec::new());
        for _ in 0..bench.either(1, ROUNDS) {
            for ((name, way), seen) in WAYS.iter().zip(&mut rounds) {
                note(&format!("{name}, {partitions} partitions"));
                seen.push(run(&bench, *way, partitions, bench.either(0.2, 1.0))?);
            }
        }
        for ((name, _), seen) in WAYS.iter().zip(&rounds) {
            let middle = |of: fn(&Seen) -> f64| maybe(median(seen.iter().map(of).collect()));
            let allocations: Option<Vec<_>> = seen.iter().map(|seen| seen.allocations).collect();
            let allocations = allocations.and_then(median).map(|count| format!("{count:.4}"));
            table.row([
                (*name).to_owned(),
                figure(f64::from(partitions)),
                middle(|seen| seen.per_s),
                middle(|seen| seen.caller_ns),
                middle(|seen| seen.process_ns),
                middle(|seen| seen.wal_bytes),
                allocations.unwrap_or_default(),
            ]);
        }
    }
    bench.finish("publish", &[], &format!("\n{HEAD}\n{}", table.text()))
}

fn run(bench: &Bench, way: Way, partitions: u32, seconds: f64) -> Result<Seen> {
    let dir = bench.fresh_dir();
    fs::create_dir_all(&dir)?;
    let (broker, clock) = open(Place { dir: &dir, real: false })?;
    let caller = Caller::new(broker.clone(), Identity::anonymous(), 0);
    let name = "micro".to_owned();
    let declare = Declare { name, partitions, ..Declare::default() };
    let declared = caller.declare(clock.now(), &mut SystemRandom::default(), declare);
    let (topic, ticket) = declared.map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let seen = {
        let mut door = Door::new(&caller, clock, &topic, way)?;
        door.wait(&Error::throttled(ticket));
        measure(&mut door, seconds)
    };
    drop(caller);
    broker.close();
    fs::remove_dir_all(&dir)?;
    seen
}

fn measure(door: &mut Door<'_>, seconds: f64) -> Result<Seen> {
    let warm = Instant::now();
    while warm.elapsed().as_secs_f64() < seconds / 4.0 {
        door.flush()?;
    }
    let wal = |door: &Door<'_>| door.caller.stats().map(|stats| stats.wal.bytes);
    let refused = |error: Error| anyhow::anyhow!("{}", error.message);
    let (began, records, bytes) = (Instant::now(), door.records, wal(door).map_err(refused)?);
    let (cpu, own) = (cpu_seconds(std::process::id())?, thread_ns());
    let allocated = allocated();
    while began.elapsed().as_secs_f64() < seconds {
        door.flush()?;
    }
    let (took, own) = (began.elapsed().as_secs_f64(), thread_ns() - own);
    let more = self::allocated().zip(allocated).map(|(after, before)| after.since(before));
    let cpu = cpu_seconds(std::process::id())? - cpu;
    let records = (door.records - records) as f64;
    let bytes = wal(door).map_err(refused)? - bytes;
    Ok(Seen {
        per_s: records / took,
        caller_ns: own as f64 / records,
        process_ns: cpu * 1e9 / records,
        wal_bytes: bytes as f64 / records,
        allocations: more.map(|more| more.blocks as f64 / records),
    })
}

/// What this program has allocated, if it counts.
fn allocated() -> Option<Allocated> {
    #[cfg(feature = "count-allocations")]
    {
        let mut page = String::new();
        crate::counting::write(&mut page);
        crate::allocations::parsed(&page)
    }
    #[cfg(not(feature = "count-allocations"))]
    None
}

/// CPU time of this thread.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// One thread's way into the core.
struct Door<'a> {
    caller: &'a Caller,
    clock: SystemClock,
    topic: Arc<Topic>,
    way: Way,
    /// Records that went in.
    records: u64,
    encoder: Encoder,
    batch: Bytes,
    me: Waker,
    room: Waker,
    outcomes: Vec<sabir_broker::publish::Outcome>,
}

const VALUE: [u8; VALUE_BYTES] = [b'x'; VALUE_BYTES];

impl<'a> Door<'a> {
    fn new(caller: &'a Caller, clock: SystemClock, topic: &Arc<Topic>, way: Way) -> Result<Self> {
        let thread = thread::current();
        let batch = batch(clock.now().wall);
        validate(&batch)?;
        Ok(Self {
            caller,
            clock,
            topic: topic.clone(),
            way,
            records: 0,
            encoder: Encoder::default(),
            batch,
            me: Waker::none(),
            room: Waker::new(move || thread.unpark()),
            outcomes: Vec::new(),
        })
    }

    /// Puts records into all partitions in turn.
    fn flush(&mut self) -> Result<()> {
        let mut left = FLUSH;
        while left > 0 {
            let taken = match self.way {
                Way::Publish => self.publish(left)?,
                Way::Append | Way::AppendBuilt => self.append(left)?,
            };
            self.records += taken as u64;
            left -= taken;
        }
        Ok(())
    }

    fn partition(&self, at: usize) -> usize {
        (usize::try_from(self.records).unwrap_or(0) / FLUSH * FLUSH + at)
            % self.topic.partitions.len()
    }

    fn publish(&mut self, count: usize) -> Result<usize> {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.encoder.clear();
        let mut spans = [None; FLUSH];
        for span in &mut spans[..count] {
            *span = Some(self.encoder.encode(None, Some(VALUE_BYTES), [].into_iter()));
        }
        let ops: [Option<PublishOp<'_>>; FLUSH] = std::array::from_fn(|at| {
            let target = self.topic.target(self.partition(at))?;
            let record = self.encoder.record(spans[at]?, Value::Copied(&VALUE));
            Some(PublishOp { target, record, timestamp: None })
        });
        let fill = ops[0].expect("at least one is left");
        let ops = ops.map(|op| op.unwrap_or(fill));
        self.caller.publish(self.clock.now(), &ops[..count], &self.me, &mut outcomes);
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if let Some(Err(error)) = outcomes.iter().find(|outcome| outcome.is_err()) {
            ensure!(error.kind == Kind::Throttled, "{}", error.message);
            self.wait(error);
        }
        self.outcomes = outcomes;
        Ok(taken)
    }

    fn append(&mut self, count: usize) -> Result<usize> {
        let now = self.clock.now();
        let op = |at| {
            let partition = &self.topic.partitions[self.partition(at)];
            let batch = match self.way {
                Way::Append => batch(now.wall),
                _ => self.batch.clone(),
            };
            let header = match self.way {
                Way::Append => validate(&batch)?,
                _ => sabir_broker::batch::Header::parse(&batch)?,
            };
            Ok((partition.shard, AppendOp { log: partition.log, batch, header }))
        };
        let ops = (0..count).map(op).collect::<Result<Vec<_>>>()?;
        let (mut place, mut outcomes) = (LinePlace::default(), Outcomes::new());
        loop {
            let left = &ops[outcomes.len()..];
            let tried = self.caller.append(now, left, &self.room, &mut place, &mut outcomes);
            let Err(error) = tried else { break };
            match error.wait {
                Some(_) => self.wait(&error),
                None => thread::park(),
            }
            self.room.take();
        }
        ensure!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        Ok(outcomes.len())
    }

    /// Waits until there is room.
    fn wait(&self, error: &Error) {
        let Some(ticket) = error.wait else { return };
        while !self.caller.is_kept(ticket) {
            self.caller.wait(ticket, &self.room);
            thread::park();
            self.room.take();
        }
    }
}

/// A batch of one record.
fn batch(timestamp: i64) -> Bytes {
    let mut builder = Builder::default();
    builder.push(&Record { timestamp, value: Some(&VALUE), ..Record::default() });
    builder.seal().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_leads_in() {
        let dir = std::env::temp_dir().join(format!("micro-publish-{}", std::process::id()));
        for (name, way) in WAYS {
            fs::create_dir_all(&dir).expect("a temporary directory");
            let (broker, clock) = open(Place { dir: &dir, real: false }).expect("opens");
            let caller = Caller::new(broker.clone(), Identity::anonymous(), 0);
            let declare = Declare { name: "micro".into(), partitions: 3, ..Declare::default() };
            let random = &mut SystemRandom::default();
            let (topic, ticket) = caller.declare(clock.now(), random, declare).expect("declared");
            let mut door = Door::new(&caller, clock, &topic, way).expect("a door");
            door.wait(&Error::throttled(ticket));
            for _ in 0..10 {
                door.flush().expect("taken");
            }
            assert_eq!(door.records, 640, "{name}");
            broker.close();
            let taken = &caller.topic_stats()[0];
            let taken: u64 = taken.partitions.iter().map(|part| part.taken.records).sum();
            assert_eq!(taken, 640, "{name}");
            fs::remove_dir_all(&dir).expect("made above");
        }
    }
}
