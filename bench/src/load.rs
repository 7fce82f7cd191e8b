//! `load`: sends messages that were encoded before the run, so that the server and not the
//! generator is what gets measured. A protocol is one file that implements `Protocol`.

pub mod engine;
pub mod kafka;
mod options;
pub mod report;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, Release},
};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;

use crate::process;
use engine::{Consumer, Meter, Publisher, Schedule, now_ns};
use options::{Common, KafkaOptions, portion};
use report::Report;

/// How often the reporting thread looks at the others.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// With `--count`: how long nothing may come before what is missing is given up.
const MOVES_WITHIN: Duration = Duration::from_secs(30);
/// A server that takes or sends nothing for so long has failed.
const SERVER_TIMEOUT: Duration = Duration::from_secs(40);

/// The protocols.
#[derive(Subcommand)]
pub enum Load {
    /// Load a Kafka server.
    Kafka(KafkaOptions),
}

/// What a protocol contributes.
pub trait Protocol {
    /// Makes what the run needs on the server and waits until it is usable.
    fn prepare(&self) -> Result<()>;
    fn messages_per_request(&self) -> u64;
    /// Opens the publisher `index`, for `messages` messages or without end.
    fn publisher(&self, index: usize, messages: Option<u64>) -> Result<Publisher>;
    fn consumer(&self, index: usize) -> Result<Consumer>;
    /// How many messages the server holds for a consumer that reads from the start.
    fn backlog(&self) -> Result<u64>;
    /// Removes what `prepare` made.
    fn clean_up(&self) -> Result<()>;
}

/// Runs a load and prints what it found.
pub fn main(load: Load) -> Result<()> {
    let Load::Kafka(mut options) = load;
    let common = options.common.resolve()?;
    options.common = common.clone();
    let from_start = options.from_start;
    let report = run(&kafka::Kafka::new(options)?, "kafka", &common, from_start)?;
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

fn run(protocol: &dyn Protocol, name: &str, common: &Common, from_start: bool) -> Result<Report> {
    process::end_sleeps_on_time();
    protocol.prepare()?;
    let mut count = common.count;
    if common.pubs == 0 && from_start && count.is_none() {
        count = Some(protocol.backlog()?);
        ensure!(count != Some(0), "there is nothing to read from the start");
    }
    let mut threads = Threads::default();
    let consumers = (0..common.subs).map(|index| protocol.consumer(index));
    let consumers = consumers.collect::<Result<Vec<_>>>()?;
    let publishers = (0..common.pubs).map(|index| {
        let messages = count.map(|count| portion(count, index, common.pubs));
        protocol.publisher(index, messages)
    });
    let publishers = publishers.collect::<Result<Vec<_>>>()?;

    let began = Sample::take(common, &threads)?;
    let began_ns = now_ns();
    for consumer in consumers {
        let timed = common.rate.is_some();
        threads.spawn(move |meter, stop| engine::consume(consumer, timed, began_ns, meter, stop));
    }
    start_publishers(publishers, protocol.messages_per_request(), common, &mut threads);
    let (before, after) = match count {
        Some(count) => (began, counted(count, common, &mut threads)?),
        None => timed(common, &mut threads)?,
    };
    let report = Report::new(name, common, protocol.messages_per_request(), &before, &after);
    let report = report.with_latencies(common, threads.meters());
    threads.end()?;
    if !common.keep {
        protocol.clean_up()?;
    }
    Ok(report)
}

/// Starts the publishers; those at a rate take turns, so that they do not send in step.
fn start_publishers(
    publishers: Vec<Publisher>,
    per_request: u64,
    common: &Common,
    threads: &mut Threads,
) {
    const LEAD_NS: u64 = 10_000_000;
    let number = publishers.len() as f64;
    let (window, spin) = (common.requests_in_flight(), common.spin);
    let start_ns = now_ns() + LEAD_NS;
    for (index, publisher) in publishers.into_iter().enumerate() {
        let Some(rate) = common.rate else {
            threads.spawn(move |meter, stop| engine::flat_out(publisher, window, meter, stop));
            continue;
        };
        let step_ns = 1e9 * per_request as f64 / rate;
        let first_ns = start_ns + (index as f64 * step_ns) as u64;
        let schedule = Schedule { first_ns, interval_ns: step_ns * number, spin };
        threads.spawn(move |meter, stop| engine::at_rate(publisher, window, schedule, meter, stop));
    }
}

/// Waits out the warm-up and the measured time.
fn timed(common: &Common, threads: &mut Threads) -> Result<(Sample, Sample)> {
    threads.watch(Duration::from_secs_f64(common.warmup))?;
    for meter in threads.meters() {
        meter.latencies.clear();
    }
    let before = Sample::take(common, threads)?;
    threads.watch(Duration::from_secs_f64(common.seconds))?;
    Ok((before, Sample::take(common, threads)?))
}

/// Waits until all of `count` messages are published and delivered as often as they should be.
fn counted(count: u64, common: &Common, threads: &mut Threads) -> Result<Sample> {
    let readers = if common.fanout { common.subs as u64 } else { u64::from(common.subs > 0) };
    let wanted = (if common.pubs > 0 { count } else { 0 }, count * readers);
    let mut last = (0, 0);
    let mut moved = Instant::now();
    loop {
        let now = threads.counts();
        if now.0 >= wanted.0 && now.1 >= wanted.1 {
            return Sample::take(common, threads);
        }
        if now != last {
            (last, moved) = (now, Instant::now());
        }
        ensure!(
            moved.elapsed() < MOVES_WITHIN,
            "{} of {} messages published, {} of {} delivered, then none for {MOVES_WITHIN:?}",
            now.0,
            wanted.0,
            now.1,
            wanted.1
        );
        threads.watch(LOOK_EVERY)?;
    }
}

/// The threads of a run.
#[derive(Default)]
struct Threads {
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<Result<()>>>,
    meters: Vec<Arc<Meter>>,
}

impl Threads {
    fn spawn(&mut self, work: impl FnOnce(&Meter, &AtomicBool) -> Result<()> + Send + 'static) {
        let (meter, stop) = (Arc::new(Meter::default()), self.stop.clone());
        self.meters.push(meter.clone());
        self.running.push(thread::spawn(move || work(&meter, &stop)));
    }

    fn meters(&self) -> &[Arc<Meter>] {
        &self.meters
    }

    /// Messages published and delivered.
    fn counts(&self) -> (u64, u64) {
        let sum = |one: fn(&Meter) -> u64| self.meters.iter().map(|meter| one(meter)).sum();
        (sum(|meter| meter.published.load(Relaxed)), sum(|meter| meter.delivered.load(Relaxed)))
    }

    /// Sleeps for `time`; the failure of a thread ends it early.
    fn watch(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            let ended = |thread: &JoinHandle<_>| thread.is_finished();
            while let Some(at) = self.running.iter().position(ended) {
                joined(self.running.swap_remove(at))?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Release);
        self.running.into_iter().try_for_each(joined)
    }
}

fn joined(thread: JoinHandle<Result<()>>) -> Result<()> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the generator panicked"),
    }
}

/// The counters at one moment.
pub struct Sample {
    pub time: Instant,
    pub published: u64,
    pub delivered: u64,
    /// CPU seconds.
    pub generator: f64,
    pub server: Option<f64>,
}

impl Sample {
    fn take(common: &Common, threads: &Threads) -> Result<Self> {
        let (published, delivered) = threads.counts();
        let server = common.pid.map(process::cpu_seconds).transpose().context("--pid")?;
        let generator = process::cpu_seconds(std::process::id())?;
        Ok(Self { time: Instant::now(), published, delivered, generator, server })
    }
}

/// Opens a connection without Nagle's delay, on which nothing waits for ever.
fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SERVER_TIMEOUT))?;
    stream.set_write_timeout(Some(SERVER_TIMEOUT))?;
    Ok(stream)
}
