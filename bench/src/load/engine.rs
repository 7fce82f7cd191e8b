//! What every protocol shares: publish flat out, publish at a rate, consume. One blocking thread
//! per connection; a protocol hands in encoded requests and readers of what comes back.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use super::SERVER_TIMEOUT;
use crate::latency::Latencies;

/// Requests in one write, and the bytes from which on no further one is added.
const REQUESTS_PER_WRITE: u64 = 500;
const BYTES_PER_WRITE: usize = 256 << 10;
/// How long a blocked read waits before it looks whether the run has ended.
const LOOK_UP_AFTER: Duration = Duration::from_millis(100);
const INPUT_BYTES: usize = 256 << 10;

/// Requests that differ in their heads only and share one body, which therefore stays in the
/// CPU's cache however many targets they have.
pub struct Plan {
    /// Sent in turn, each followed by the body.
    pub heads: Vec<Vec<u8>>,
    pub body: Vec<u8>,
    /// Messages in each request.
    pub messages: u64,
    pub stamp: Option<Stamp>,
}

/// Where a time stamp of 8 bytes goes in a body, and what must be renewed afterwards.
#[derive(Clone, Copy)]
pub struct Stamp {
    pub at: usize,
    pub seal: fn(&mut [u8]),
}

/// A connection that publishes.
pub struct Publisher {
    pub stream: TcpStream,
    pub plan: Plan,
    /// How many requests of `plan` to send.
    pub requests: u64,
    /// One more, smaller request, where the number of messages is not a multiple.
    pub last: Option<Plan>,
    /// None where the server does not answer.
    pub answers: Option<Box<dyn Answers>>,
}

impl Publisher {
    fn total(&self) -> u64 {
        self.requests.saturating_add(u64::from(self.last.is_some()))
    }

    /// Head and plan of a request.
    fn request(&self, number: u64) -> (&[u8], &Plan) {
        let plan = match &self.last {
            Some(last) if number >= self.requests => last,
            _ => &self.plan,
        };
        let turn = number % plan.heads.len() as u64;
        (&plan.heads[usize::try_from(turn).expect("below a length")], plan)
    }

    fn messages(&self, requests: std::ops::Range<u64>) -> u64 {
        let last = self.last.as_ref().filter(|_| requests.contains(&self.requests));
        let whole = requests.end.min(self.requests) - requests.start.min(self.requests);
        whole * self.plan.messages + last.map_or(0, |last| last.messages)
    }
}

/// Reads what a server sends to a publisher.
pub trait Answers: Send {
    /// Takes whole answers off the front of `input`.
    fn take(&mut self, input: &[u8]) -> Result<Taken>;
}

/// What was taken: bytes of input, and requests answered by them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub bytes: usize,
    pub requests: u64,
}

/// A connection that consumes.
pub struct Consumer {
    pub stream: TcpStream,
    pub deliveries: Box<dyn Deliveries>,
}

/// Reads what a server sends to a consumer.
pub trait Deliveries: Send {
    /// What to send when the run begins.
    fn first(&mut self) -> Vec<u8>;
    /// Takes what it can off the front of `input`; returns the bytes taken.
    fn take(&mut self, input: &[u8], seen: &mut Seen) -> Result<usize>;
}

/// What a consumer found in its input, and what it answers.
#[derive(Default)]
pub struct Seen {
    pub messages: u64,
    pub replies: Vec<u8>,
    /// Whether time stamps are wanted.
    pub timed: bool,
    stamps: Vec<u64>,
}

impl Seen {
    pub fn new(timed: bool) -> Self {
        Self { timed, ..Self::default() }
    }

    pub fn stamp(&mut self, stamp: u64) {
        if self.timed {
            self.stamps.push(stamp);
        }
    }

    #[cfg(test)]
    pub fn stamps(&self) -> &[u64] {
        &self.stamps
    }
}

/// What one thread counts.
#[derive(Default)]
pub struct Meter {
    pub published: AtomicU64,
    pub delivered: AtomicU64,
    pub latencies: Latencies,
}

/// Nanoseconds of the clock that all processes of this machine share and that does not step.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Received bytes that are not read yet.
struct Input {
    buffer: Vec<u8>,
    len: usize,
}

impl Input {
    fn new() -> Self {
        Self { buffer: vec![0; INPUT_BYTES], len: 0 }
    }

    /// Receives once; false if nothing came in time.
    fn receive(&mut self, stream: &mut TcpStream) -> Result<bool> {
        ensure!(self.len < self.buffer.len(), "an answer does not fit into {INPUT_BYTES} bytes");
        match stream.read(&mut self.buffer[self.len..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => {
                self.len += count;
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(false)
            }
            Err(e) => Err(e).context("reading from the server"),
        }
    }

    fn received(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    fn drop_front(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.len, 0);
        self.len -= bytes;
    }
}

/// Reads answers that have come and returns how many requests they answer.
fn answered(input: &mut Input, answers: &mut dyn Answers, in_flight: u64) -> Result<u64> {
    let taken = answers.take(input.received())?;
    input.drop_front(taken.bytes);
    ensure!(taken.requests <= in_flight, "the server answers more than it was asked");
    Ok(taken.requests)
}

/// Writes all of `slices`.
fn write_all(stream: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
    while !slices.is_empty() {
        match stream.write_vectored(slices) {
            Ok(0) => bail!("the server takes nothing more"),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("writing to the server"),
        }
    }
    Ok(())
}

/// Publishes as fast as a window of `window` requests allows, until all is answered or `stop` is
/// set. Latency counts from the write.
pub fn flat_out(
    mut publisher: Publisher,
    window: u64,
    meter: &Meter,
    stop: &AtomicBool,
) -> Result<()> {
    publisher.stream.set_read_timeout(Some(LOOK_UP_AFTER))?;
    let mut answers = publisher.answers.take();
    let mut input = Input::new();
    let mut writes = VecDeque::new(); // the end of each, and when it was
    let (mut sent, mut acked) = (0, 0);
    let mut heard = Instant::now();
    while acked < publisher.total() && !stop.load(Acquire) {
        let room = (window - (sent - acked)).min(publisher.total() - sent);
        if room > 0 {
            let now = Instant::now();
            if sent == acked {
                heard = now;
            }
            let count = write_some(&publisher, sent, room)?;
            sent += count;
            if answers.is_some() {
                writes.push_back((sent, now));
            } else {
                meter.published.fetch_add(publisher.messages(acked..sent), Relaxed);
                acked = sent;
            }
            continue;
        }
        let Some(answers) = answers.as_deref_mut() else { continue };
        if !input.receive(&mut publisher.stream)? {
            ensure!(heard.elapsed() < SERVER_TIMEOUT, "no answer for {SERVER_TIMEOUT:?}");
            continue;
        }
        heard = Instant::now();
        let until = acked + answered(&mut input, answers, sent - acked)?;
        meter.published.fetch_add(publisher.messages(acked..until), Relaxed);
        let mut latencies = meter.latencies.ack.lock();
        while acked < until {
            let (end, written) = *writes.front().context("an answer without a write")?;
            let covered = until.min(end);
            latencies.record((heard - written).as_nanos() as u64, covered - acked);
            acked = covered;
            if acked == end {
                writes.pop_front();
            }
        }
    }
    Ok(())
}

/// Writes up to `room` requests from number `first` on; returns how many.
fn write_some(publisher: &Publisher, first: u64, room: u64) -> Result<u64> {
    let mut slices = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    while count < room.min(REQUESTS_PER_WRITE) && (count == 0 || bytes < BYTES_PER_WRITE) {
        let (head, plan) = publisher.request(first + count);
        slices.push(IoSlice::new(head));
        slices.push(IoSlice::new(&plan.body));
        bytes += head.len() + plan.body.len();
        count += 1;
    }
    write_all(&mut &publisher.stream, &mut slices)?;
    Ok(count)
}

/// When the requests of a publisher are due.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// By `now_ns`.
    pub first_ns: u64,
    pub interval_ns: f64,
    /// Wait busily.
    pub spin: bool,
}

impl Schedule {
    fn due_ns(self, request: u64) -> u64 {
        self.first_ns + (request as f64 * self.interval_ns) as u64
    }
}

/// Publishes requests when they are due, whatever the server does. Latency counts from the moment
/// at which a request was due, so that a stall is charged in full.
pub fn at_rate(
    mut publisher: Publisher,
    window: u64,
    schedule: Schedule,
    meter: &Meter,
    stop: &AtomicBool,
) -> Result<()> {
    let mut answers = publisher.answers.take();
    let mut input = Input::new();
    let mut gathered = Vec::new();
    let (mut sent, mut acked) = (0, 0);
    while acked < publisher.total() && !stop.load(Acquire) {
        let now = now_ns();
        let room = (window - (sent - acked)).min(publisher.total() - sent);
        let wait = match room {
            0 => LOOK_UP_AFTER,
            _ => Duration::from_nanos(schedule.due_ns(sent).saturating_sub(now)).min(LOOK_UP_AFTER),
        };
        if wait.is_zero() {
            let until = gather(&publisher, sent, room, schedule, now, &mut gathered, meter);
            publisher.stream.write_all(&gathered).context("writing to the server")?;
            if answers.is_none() {
                meter.published.fetch_add(publisher.messages(acked..until), Relaxed);
                acked = until;
            }
            sent = until;
        }
        let wait = if schedule.spin { Duration::ZERO } else { wait };
        if !readable(&publisher.stream, wait)? {
            continue;
        }
        input.receive(&mut publisher.stream)?;
        let Some(answers) = answers.as_deref_mut() else { continue };
        let now = now_ns();
        let until = acked + answered(&mut input, answers, sent - acked)?;
        meter.published.fetch_add(publisher.messages(acked..until), Relaxed);
        let mut latencies = meter.latencies.ack.lock();
        for request in acked..until {
            latencies.record(now.saturating_sub(schedule.due_ns(request)), 1);
        }
        acked = until;
    }
    Ok(())
}

/// Puts all requests from `first` on that are due at `now`, at most `room`, into `out`, each with
/// its due time in it; returns the number of the next one.
fn gather(
    publisher: &Publisher,
    first: u64,
    room: u64,
    schedule: Schedule,
    now: u64,
    out: &mut Vec<u8>,
    meter: &Meter,
) -> u64 {
    out.clear();
    let mut next = first;
    let mut lags = meter.latencies.lag.lock();
    while next < first + room.min(REQUESTS_PER_WRITE) && schedule.due_ns(next) <= now {
        let (head, plan) = publisher.request(next);
        out.extend_from_slice(head);
        let body = out.len();
        out.extend_from_slice(&plan.body);
        if let Some(stamp) = plan.stamp {
            let due = schedule.due_ns(next).to_be_bytes();
            out[body + stamp.at..][..8].copy_from_slice(&due);
            (stamp.seal)(&mut out[body..]);
        }
        lags.record(now - schedule.due_ns(next), 1);
        next += 1;
    }
    next
}

/// Waits until there is something to read; false if nothing came within `wait`.
fn readable(stream: &TcpStream, wait: Duration) -> Result<bool> {
    let wait = Timespec::try_from(wait).context("a wait of hours")?;
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    match poll(&mut fds, Some(&wait)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e).context("waiting for the server"),
    }
}

/// Consumes until `stop` is set. Time stamps from before `began_ns` are of earlier runs.
pub fn consume(
    mut consumer: Consumer,
    timed: bool,
    began_ns: u64,
    meter: &Meter,
    stop: &AtomicBool,
) -> Result<()> {
    consumer.stream.set_read_timeout(Some(LOOK_UP_AFTER))?;
    let mut input = Input::new();
    let mut seen = Seen::new(timed);
    let first = consumer.deliveries.first();
    consumer.stream.write_all(&first)?;
    while !stop.load(Acquire) {
        if !input.receive(&mut consumer.stream)? {
            continue;
        }
        let now = now_ns();
        let used = consumer.deliveries.take(input.received(), &mut seen)?;
        input.drop_front(used);
        if !seen.replies.is_empty() {
            consumer.stream.write_all(&seen.replies)?;
            seen.replies.clear();
        }
        meter.delivered.fetch_add(std::mem::take(&mut seen.messages), Relaxed);
        if !seen.stamps.is_empty() {
            let mut latencies = meter.latencies.delivery.lock();
            for stamp in seen.stamps.drain(..).filter(|stamp| (began_ns..=now).contains(stamp)) {
                latencies.record(now - stamp, 1);
            }
        }
    }
    Ok(())
}
