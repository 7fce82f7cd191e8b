//! One run of `micro`: a broker of its own, its connections as tasks, and what they measure.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sabir_broker::admission::LinePlace;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::{Header, validate};
use sabir_broker::caller::Caller;
use sabir_broker::clock::Clock;
use sabir_broker::declare::Declare;
use sabir_broker::policy::Identity;
use sabir_broker::publish::Outcomes;
use sabir_broker::shard::AppendOp;
use sabir_broker::topic::Partition;
use sabir_broker::wake::Waker;
use sabir_broker::{Broker, Settings};
use sabir_net::clock::SystemClock;
use sabir_net::random::SystemRandom;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::door::{Core, Doors, Entrance, Work};
use super::sink::Sink;
use crate::latency::{Latency, Summary};
use crate::load::engine::now_ns;
use crate::process::cpu_seconds;

/// Shards of a new broker.
const SHARDS: u16 = 16;
const RECORD_BYTES: usize = 1024;
/// Records in each batch that a fetch finds, and how many such batches a partition has.
const FETCHED_RECORDS: usize = 16;
const FETCHED_BATCHES: usize = 128;
/// Meters that the connections share.
const METERS: usize = 16;
/// What a connection of an open loop may have waiting.
const ARRIVALS_MAX: usize = 1024;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// So many appends of one record each are out at once, each for itself.
    Appends(usize),
    /// So many appends of one record each go in with one flush, over all partitions.
    Flush(usize),
    /// So many fetches are out at once.
    Fetches(usize),
}

/// One cell of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub kind: Kind,
    pub connections: usize,
    pub partitions: u32,
    pub mailboxes: bool,
}

/// What was seen in one interval.
pub struct Seen {
    pub per_s: f64,
    /// CPU time of the whole process, WAL and bundler included.
    pub cpu_us: f64,
    /// Waits for room in the stage, of a connection or of a shard's task.
    pub waits: f64,
    pub us: Summary,
}

/// Where a broker keeps what it writes.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub dir: &'a Path,
    /// Writes to the real disk.
    pub real: bool,
}

/// Runs a case flat out, or with `rate` arrivals per second over all connections.
pub fn run(case: Case, place: Place<'_>, rate: Option<f64>, seconds: f64) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (broker, clock) = open(place)?;
    let caller = Caller::new(broker.clone(), Identity::anonymous(), 0);
    let core = Arc::new(Core { caller, clock, waits: AtomicU64::new(0) });
    let field = Arc::new(Field::prepare(&core, case)?);
    let seen = measure(&runtime, &core, &field, case, rate, seconds);
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop((field, core));
    broker.close();
    seen
}

/// Opens a broker that makes no checkpoint, as the disk may have forgotten what one needs.
pub fn open(place: Place<'_>) -> Result<(Arc<Broker>, SystemClock)> {
    let mut settings = Settings::default();
    let random = &mut SystemRandom::default();
    let broker = if place.real {
        Broker::open(place.dir, settings, random)
    } else {
        settings.wal.backlog_max = u64::MAX;
        settings.keeper.checkpoint_bytes = u64::MAX;
        settings.keeper.checkpoint_every = Duration::from_secs(1 << 20);
        Broker::on_disk(Arc::new(Sink::new(place.dir)?), settings, random, None)
    };
    let broker = broker.context("opening a broker")?;
    let clock = SystemClock::start();
    broker.start(Arc::new(clock))?;
    Ok((broker, clock))
}

/// What all connections of a run share.
struct Field {
    kind: Kind,
    partitions: Vec<Arc<Partition>>,
    batch: Bytes,
    header: Header,
    meters: Vec<Mutex<Meter>>,
    stop: AtomicBool,
}

struct Meter {
    latency: Latency,
    operations: u64,
}

impl Field {
    fn prepare(core: &Core, case: Case) -> Result<Self> {
        let now = core.clock.now();
        let name = "micro".to_owned();
        let declare = Declare { name, partitions: case.partitions, ..Declare::default() };
        let random = &mut SystemRandom::default();
        let declared = core.caller.declare(now, random, declare);
        let (topic, ticket) = declared.map_err(|error| anyhow::anyhow!("{}", error.message))?;
        let (batch, header) = batch(1)?;
        let meter = || Mutex::new(Meter { latency: Latency::new(), operations: 0 });
        let field = Self {
            kind: case.kind,
            partitions: topic.partitions.iter().map(|one| Arc::new(one.clone())).collect(),
            batch,
            header,
            meters: (0..METERS).map(|_| meter()).collect(),
            stop: AtomicBool::new(false),
        };
        wait(core, ticket);
        if matches!(case.kind, Kind::Fetches(_)) {
            field.fill(core)?;
        }
        Ok(field)
    }

    /// Appends what fetches will find.
    fn fill(&self, core: &Core) -> Result<()> {
        let (batch, header) = batch(FETCHED_RECORDS)?;
        let me = Waker::none();
        for partition in &self.partitions {
            for _ in 0..FETCHED_BATCHES {
                let op = AppendOp { log: partition.log, batch: batch.clone(), header };
                let (now, op) = (core.clock.now(), [(partition.shard, op)]);
                let (mut place, mut outcomes) = (LinePlace::default(), Outcomes::new());
                let done = core.caller.append(now, &op, &me, &mut place, &mut outcomes);
                match (done, outcomes.pop()) {
                    (Ok(()), Some(Ok(placed))) => wait(core, placed.ticket),
                    (Err(error), _) | (_, Some(Err(error))) => {
                        anyhow::bail!("filling a partition: {}", error.message)
                    }
                    (Ok(()), None) => anyhow::bail!("filling a partition: no outcome"),
                }
            }
        }
        Ok(())
    }

    fn op(&self, partition: &Partition) -> AppendOp {
        AppendOp { log: partition.log, batch: self.batch.clone(), header: self.header }
    }

    /// Operations that are done at one arrival.
    fn operations(&self) -> u64 {
        match self.kind {
            Kind::Flush(count) => count as u64,
            Kind::Appends(_) | Kind::Fetches(_) => 1,
        }
    }

    /// Arrivals that a connection takes at once.
    fn window(&self) -> usize {
        match self.kind {
            Kind::Flush(_) => 1,
            Kind::Appends(count) | Kind::Fetches(count) => count,
        }
    }

    /// What was measured since the last time.
    fn take(&self) -> (Latency, u64) {
        let (mut latency, mut operations) = (Latency::new(), 0);
        for meter in &self.meters {
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            latency.add(&meter.latency);
            operations += meter.operations;
            *meter = Meter { latency: Latency::new(), operations: 0 };
        }
        (latency, operations)
    }
}

/// A batch of so many records of 1 KiB.
fn batch(records: usize) -> Result<(Bytes, Header)> {
    let value = [b'x'; RECORD_BYTES];
    let mut builder = Builder::default();
    for _ in 0..records {
        let timestamp = 1_700_000_000_000;
        builder.push(&Record { timestamp, value: Some(&value), ..Record::default() });
    }
    let batch = builder.seal();
    let header = validate(&batch)?;
    Ok((batch.into(), header))
}

fn wait(core: &Core, ticket: sabir_broker::ticket::Ticket) {
    while !core.caller.is_kept(ticket) {
        thread::yield_now();
    }
}

/// One connection as a task.
struct Connection {
    number: usize,
    turns: usize,
    field: Arc<Field>,
    entrance: Entrance,
    taken: Vec<u64>,
}

impl Connection {
    /// A closed loop: the client asks again as soon as all is answered, and is heard at its
    /// connection's next turn.
    async fn closed(mut self) {
        let window = self.field.window();
        while !self.field.stop.load(Relaxed) {
            let asked = now_ns();
            yield_now().await;
            self.taken.resize(window, asked);
            self.turn().await;
        }
    }

    /// An open loop: requests come when they come.
    async fn open(mut self, mut arrivals: mpsc::Receiver<u64>) {
        let window = self.field.window();
        while arrivals.recv_many(&mut self.taken, window).await > 0 {
            self.turn().await;
        }
    }

    /// Does what arrived at the times in `taken`, and notes how long each took.
    async fn turn(&mut self) {
        let mut done = [0; 64];
        let count = self.taken.len();
        match self.field.kind {
            Kind::Flush(operations) => {
                self.flush(operations).await;
                done[0] = now_ns();
            }
            Kind::Appends(_) | Kind::Fetches(_) => {
                let mut finished = 0;
                for _ in 0..count {
                    let (shard, work) = self.work();
                    if self.entrance.submit(shard, work).await {
                        done[finished] = now_ns();
                        finished += 1;
                    }
                }
                // All go to one shard, which answers in order.
                while finished < count {
                    self.entrance.outcome().await;
                    done[finished] = now_ns();
                    finished += 1;
                }
            }
        }
        let meter = &self.field.meters[self.number % METERS];
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        for (asked, done) in self.taken.drain(..).zip(done) {
            meter.latency.record(done.saturating_sub(asked), 1);
            meter.operations += self.field.operations();
        }
    }

    fn work(&mut self) -> (u16, Work) {
        let partitions = &self.field.partitions;
        let partition = &partitions[self.number % partitions.len()];
        self.turns = self.turns.wrapping_add(1);
        let work = if let Kind::Fetches(_) = self.field.kind {
            let at = self.turns % (FETCHED_BATCHES - 8) * FETCHED_RECORDS;
            Work::Fetch(partition.clone(), at as i64)
        } else {
            Work::Append(vec![self.field.op(partition)])
        };
        (partition.shard, work)
    }

    /// Appends to all partitions in turn, with one submission per shard.
    async fn flush(&mut self, operations: usize) {
        let mut out = 0;
        let field = self.field.clone();
        let each = operations / field.partitions.len();
        for partition in &field.partitions {
            let ops = (0..each).map(|_| field.op(partition)).collect();
            if !self.entrance.submit(partition.shard, Work::Append(ops)).await {
                out += 1;
            }
        }
        for _ in 0..out {
            self.entrance.outcome().await;
        }
    }
}

fn measure(
    runtime: &Runtime,
    core: &Arc<Core>,
    field: &Arc<Field>,
    case: Case,
    rate: Option<f64>,
    seconds: f64,
) -> Result<Seen> {
    let _inside = runtime.enter();
    let doors = match case.mailboxes {
        true => Doors::mailboxes(core, SHARDS),
        false => Doors::Locks(core.clone()),
    };
    let (mut arrivals, mut running) = (Vec::new(), Vec::new());
    for number in 0..case.connections {
        let entrance = Entrance::new(doors.clone(), field.window().max(usize::from(SHARDS)));
        let (field, taken) = (field.clone(), Vec::new());
        let connection = Connection { number, turns: number, field, entrance, taken };
        if rate.is_some() {
            let (sender, receiver) = mpsc::channel(ARRIVALS_MAX);
            arrivals.push(sender);
            running.push(runtime.spawn(connection.open(receiver)));
        } else {
            running.push(runtime.spawn(connection.closed()));
        }
    }
    let field_of_clients = field.clone();
    let clients = rate.map(|rate| {
        thread::spawn(move || {
            let stop = || field_of_clients.stop.load(Relaxed);
            arrive(&arrivals, rate, stop);
        })
    });
    thread::sleep(Duration::from_secs_f64(seconds / 4.0));
    field.take();
    let waits = core.waits.load(Relaxed);
    let (began, cpu) = (Instant::now(), cpu_seconds(std::process::id())?);
    thread::sleep(Duration::from_secs_f64(seconds));
    let (latency, operations) = field.take();
    let (took, cpu) = (began.elapsed(), cpu_seconds(std::process::id())? - cpu);
    field.stop.store(true, Relaxed);
    if let Some(clients) = clients {
        ensure!(clients.join().is_ok(), "the thread of the clients panicked");
    }
    for connection in running {
        runtime.block_on(connection).context("a connection panicked")?;
    }
    Ok(Seen {
        per_s: operations as f64 / took.as_secs_f64(),
        waits: (core.waits.load(Relaxed) - waits) as f64 / operations as f64,
        cpu_us: cpu * 1e6 / operations as f64,
        us: latency.summary("arrival").context("nothing was done")?,
    })
}

/// Lets requests arrive at the connections in turn, evenly over time.
fn arrive(connections: &[mpsc::Sender<u64>], rate: f64, stop: impl Fn() -> bool) {
    let interval_ns = (1e9 / rate) as u64;
    let mut due = now_ns();
    for connection in connections.iter().cycle() {
        if stop() {
            return;
        }
        due += interval_ns;
        let now = now_ns();
        if due > now {
            thread::sleep(Duration::from_nanos(due - now));
        }
        if connection.blocking_send(now_ns()).is_err() {
            return;
        }
    }
}
