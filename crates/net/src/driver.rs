//! The one loop of every stream connection: read, step, write, wait. It knows no protocol; what
//! the bytes mean is the affair of the machine (`connection`).
//!
//! An idle connection owns no buffer: bytes are read into a buffer of the thread (`pool`) and
//! only half a frame stays with the connection.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use sabir_broker::clock::{Instant, Now};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant as TimerInstant, Sleep};

use crate::bell::Bell;
use crate::connection::{Close, Connection, Step};
use crate::listener::Shared;
use crate::outbox::Outbox;
use crate::pool;
use crate::random::SystemRandom;

/// How long the last bytes of a closed connection may take to leave.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, to listen after the last byte was sent: closing a socket
/// with unread input resets it, and the peer would lose the answer that says why.
const LINGER_MAX: Duration = Duration::from_secs(1);
const DRAIN_LINGER_MAX: Duration = Duration::from_millis(250);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Room made at once for a frame whose length is only claimed; beyond it, room grows with what
/// has really arrived.
const CLAIM_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Half a frame up to this size waits for the rest in memory of its own size.
const SMALL_REST_BYTES: usize = 4 * 1024;
/// Below this room a read is not worth a system call.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// Turns before other connections of the thread get theirs.
const TURNS_MAX: usize = 8;
/// A machine whose deadline stays in the past is called no more often than this.
const DUE_GAP: Duration = Duration::from_millis(1);
/// More than this in one vectored write gains nothing.
const SLICES_MAX: usize = 64;

thread_local! {
    static RANDOM: RefCell<SystemRandom> = RefCell::default();
}

/// Why the loop ended.
#[derive(Debug)]
enum End {
    /// The machine asked for it.
    Closed(Close),
    /// The peer has sent its last byte.
    Gone,
    /// The socket failed.
    Failed(io::Error),
    /// A bug in protocol code.
    Panicked,
    /// The peer does not take its bytes.
    Stalled,
    /// The server stops.
    Drained,
}

/// One connection: socket, machine, and the bytes between them.
pub struct Driver {
    stream: TcpStream,
    machine: Box<dyn Connection>,
    shared: Arc<Shared>,
    bell: Bell,
    input: BytesMut,
    /// `input` holds what `on_bytes` has not seen or has left for its next turn.
    unseen: bool,
    out: Outbox,
    /// When the peer last took bytes, or began to have some to take.
    moved: Instant,
    behind: bool,
    timer: Option<Pin<Box<Sleep>>>,
    armed: Instant,
    /// No call for a passed deadline before this.
    due_again: Instant,
    span: tracing::Span,
}

impl Driver {
    pub fn new(
        stream: TcpStream,
        machine: Box<dyn Connection>,
        shared: Arc<Shared>,
        bell: Bell,
        span: tracing::Span,
    ) -> Driver {
        Driver {
            stream,
            machine,
            shared,
            bell,
            input: BytesMut::new(),
            unseen: false,
            out: Outbox::default(),
            moved: Instant::default(),
            behind: false,
            timer: None,
            armed: Instant::FAR,
            due_again: Instant::default(),
            span,
        }
    }

    /// Runs the connection to its end.
    pub async fn run(mut self) {
        let end = match poll_fn(|cx| self.poll_turns(cx)).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.timer = None;
        let now = self.shared.now();
        let closed = self.step(now, |machine, _, step| {
            machine.on_close(step);
            Ok(())
        });
        pool::give(std::mem::take(&mut self.input));
        self.report(&end);
        if let Err(end) = closed {
            self.report(&end);
            return;
        }
        let linger = match end {
            End::Closed(_) => LINGER_MAX,
            End::Drained => DRAIN_LINGER_MAX,
            End::Gone => Duration::ZERO,
            End::Failed(_) | End::Panicked | End::Stalled => return,
        };
        // Whatever goes wrong now, the connection is over.
        let _ = tokio::time::timeout(FLUSH_MAX, self.part(linger)).await;
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<Result<std::convert::Infallible, End>> {
        for _ in 0..TURNS_MAX {
            let now = self.shared.now();
            let mut moved = self.wake_if_due(now, cx)?;
            moved |= self.feed(now, cx)?;
            moved |= self.write(now, cx)?;
            self.check_end(now)?;
            if !moved {
                self.rest();
                if !self.arm(now, cx) {
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Calls the machine if somebody woke it or its deadline has passed.
    fn wake_if_due(&mut self, now: Now, cx: &Context<'_>) -> Result<bool, End> {
        let woken = self.bell.poll(cx);
        let due = now.mono >= self.due_again
            && self.machine.deadline().is_some_and(|deadline| deadline <= now.mono);
        if !woken && !due {
            return Ok(false);
        }
        self.step(now, |machine, _, step| machine.on_wake(step))?;
        if due {
            self.due_again = now.mono + DUE_GAP;
        }
        Ok(true)
    }

    /// Gives the machine input: what is left of the last turn, else what the socket has.
    fn feed(&mut self, now: Now, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.machine.reads() || self.out.is_full() || self.shared.drains() {
            return Ok(false);
        }
        if !self.unseen {
            match self.poll_read(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => return Err(End::Gone),
                Poll::Ready(Ok(count)) => self.shared.counters.bytes_in.add(count as u64),
                Poll::Ready(Err(error)) => return Err(End::Failed(error)),
            }
        }
        let before = self.input.len();
        self.step(now, |machine, input, step| machine.on_bytes(input, step))?;
        let took = self.input.len() < before;
        // Without progress only half a frame is left, unless the machine had to stop.
        let stopped = !self.machine.reads() || self.out.is_full();
        self.unseen = !self.input.is_empty() && (took || stopped);
        Ok(true)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Readiness first: an idle connection must not take a buffer to learn that it is idle.
        ready!(self.stream.poll_read_ready(cx))?;
        self.make_room();
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    fn make_room(&mut self) {
        let have = self.input.len();
        let claimed = self.machine.expects().min(CLAIM_BYTES_MAX.max(have.saturating_mul(4)));
        let need = match claimed.saturating_sub(have) {
            0 => ROOM_BYTES_MIN,
            rest => rest,
        };
        if self.input.capacity() - have >= need {
            return;
        }
        let mut roomy = pool::take(have + need);
        roomy.extend_from_slice(&self.input);
        pool::give(std::mem::replace(&mut self.input, roomy));
    }

    /// Sends what the socket takes. True if it has to be called again.
    fn write(&mut self, now: Now, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.out.is_empty() {
            return Ok(false);
        }
        if !self.behind {
            self.moved = now.mono;
        }
        self.behind = true;
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.out.fill(&mut slices);
            match self.stream.try_write_vectored(&slices[..filled]) {
                Ok(0) => return Err(End::Gone),
                Ok(count) => {
                    self.shared.counters.bytes_out.add(count as u64);
                    self.out.advance(count);
                    self.moved = now.mono;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return match self.stream.poll_write_ready(cx) {
                        Poll::Pending => Ok(false),
                        Poll::Ready(Ok(())) => Ok(true),
                        Poll::Ready(Err(error)) => Err(End::Failed(error)),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Failed(error)),
            }
            if self.out.is_empty() {
                self.behind = false;
                // A full outbox may have kept the machine from its input.
                return Ok(true);
            }
        }
    }

    fn check_end(&self, now: Now) -> Result<(), End> {
        if self.behind && now.mono.since(self.moved) >= self.shared.stall_max {
            self.shared.counters.stalled.add(1);
            return Err(End::Stalled);
        }
        let done = self.out.is_empty() && self.machine.is_idle();
        match self.shared.drain_until() {
            Some(until) if done || now.mono >= until => Err(End::Drained),
            _ => Ok(()),
        }
    }

    /// Gives memory back before a wait.
    fn rest(&mut self) {
        self.out.release();
        let rest = self.input.len();
        if rest > SMALL_REST_BYTES || self.input.capacity() <= rest.max(64) * 2 {
            return;
        }
        let small = BytesMut::from(&self.input[..]);
        pool::give(std::mem::replace(&mut self.input, small));
    }

    /// Sets the timer for the next thing that has to happen. True if that is now. A timer that
    /// is set too early is left as it is: most deadlines move before they are reached.
    fn arm(&mut self, now: Now, cx: &mut Context<'_>) -> bool {
        let mut next = self.machine.deadline().unwrap_or(Instant::FAR).max(self.due_again);
        if self.behind {
            next = next.min(self.moved + self.shared.stall_max);
        }
        next = next.min(self.shared.drain_until().unwrap_or(Instant::FAR));
        if self.timer.as_ref().is_some_and(|timer| timer.is_elapsed()) {
            self.armed = Instant::FAR;
        }
        if next >= self.armed {
            return false;
        }
        self.armed = next;
        let at = TimerInstant::now() + next.since(now.mono).max(DUE_GAP);
        let timer = match &mut self.timer {
            Some(timer) => {
                timer.as_mut().reset(at);
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        timer.as_mut().poll(cx).is_ready()
    }

    fn step(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut dyn Connection, &mut BytesMut, &mut Step<'_>) -> Result<(), Close>,
    ) -> Result<(), End> {
        let _in = self.span.enter();
        let done = RANDOM.with_borrow_mut(|random| {
            let mut step = Step {
                broker: &self.shared.broker,
                now,
                random,
                out: &mut self.out,
                me: self.bell.waker(),
            };
            let (machine, input) = (&mut *self.machine, &mut self.input);
            // What a panic leaves half done is the machine and its buffers: nobody uses them
            // again. The core aborts the process rather than unwind with a lock held.
            catch_unwind(AssertUnwindSafe(|| work(machine, input, &mut step)))
        });
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(close)) => Err(End::Closed(close)),
            Err(_) => {
                self.shared.counters.panics.add(1);
                Err(End::Panicked)
            }
        }
    }

    /// Sends the rest, says that nothing follows, and waits for the peer to have read it.
    async fn part(&mut self, linger: Duration) -> io::Result<()> {
        while !self.out.is_empty() {
            self.stream.writable().await?;
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.out.fill(&mut slices);
            match self.stream.try_write_vectored(&slices[..filled]) {
                Ok(count) => {
                    self.shared.counters.bytes_out.add(count as u64);
                    self.out.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.shutdown().await?;
        let mut heard = 0;
        let listen = async {
            while heard < LINGER_BYTES_MAX {
                self.stream.readable().await?;
                let mut scratch = pool::take(0);
                let read = self.stream.try_read_buf(&mut scratch);
                pool::give(scratch);
                match read {
                    Ok(0) => break,
                    Ok(count) => heard += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        tokio::time::timeout(linger, listen).await.unwrap_or(Ok(()))
    }

    fn report(&self, end: &End) {
        let _in = self.span.enter();
        let listener = &*self.shared.name;
        let peer = self.stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        match end {
            End::Closed(Close { reason: Some(reason) }) => {
                tracing::info!(listener, peer, reason, "connection closed");
            }
            End::Closed(_) | End::Gone | End::Drained => {
                tracing::debug!(listener, peer, "connection closed");
            }
            End::Failed(error) => tracing::debug!(listener, peer, %error, "connection lost"),
            End::Stalled => {
                let reason = "the peer takes none of its bytes";
                tracing::info!(listener, peer, reason, "connection closed");
            }
            // What it said, and where, the process's panic hook has told.
            End::Panicked => {
                let reason = "a bug in protocol code";
                tracing::info!(listener, peer, reason, "connection closed");
            }
        }
    }
}
