//! A network of memory: protocol machines fed in pieces, woken in some order, cut off at any
//! moment. It plays the part of the connection loop and of the wire.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use sabir_broker::Broker;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::random::Seeded;
use sabir_broker::wake::Waker;
use sabir_net::connection::{Close, Connection, Peer, Protocol, Step};
use sabir_net::outbox::Outbox;

pub type ConnId = u64;

/// Bytes of the length before each frame.
const PREFIX: usize = 4;

/// The broker's end of a connection.
struct Server {
    machine: Box<dyn Connection>,
    me: Waker,
    /// Arrived, and not taken by the machine.
    input: BytesMut,
    /// The machine has not seen all of `input`, or has left some for its next turn.
    unseen: bool,
    out: Outbox,
}

/// Both ends and the bytes between them.
struct Conn {
    /// None = the broker has closed it, or is gone.
    server: Option<Server>,
    /// On the way to the broker.
    up: BytesMut,
    /// On the way to the client, or there.
    down: BytesMut,
    /// The client has gone; the broker has not noticed yet.
    left: bool,
}

/// What machines are lent when they are called.
pub struct Lent<'a> {
    pub broker: &'a Arc<Broker>,
    pub now: Now,
    pub random: &'a mut Seeded,
}

/// All connections.
#[derive(Default)]
pub struct Net {
    conns: BTreeMap<ConnId, Conn>,
    woken: Arc<Mutex<VecDeque<ConnId>>>,
    next: ConnId,
    /// Why the broker closed connections, last first in line for a report.
    pub closes: Vec<String>,
}

impl Net {
    pub fn connect(&mut self, protocol: &dyn Protocol, now: Now) -> ConnId {
        self.next += 1;
        let id = self.next;
        let woken = self.woken.clone();
        let me = Waker::new(move || woken.lock().push_back(id));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let peer =
            Peer { listener: "sim".into(), remote: address, local: address, advertise: None };
        let machine = protocol.accept(peer, now);
        let server =
            Server { machine, me, input: BytesMut::new(), unseen: false, out: Outbox::default() };
        let conn =
            Conn { server: Some(server), up: BytesMut::new(), down: BytesMut::new(), left: false };
        self.conns.insert(id, conn);
        id
    }

    /// The client sends.
    pub fn send(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.up.extend_from_slice(bytes);
        }
    }

    /// The next whole frame that has reached the client, without its length.
    pub fn receive(&mut self, id: ConnId) -> Option<Bytes> {
        let down = &mut self.conns.get_mut(&id)?.down;
        let len = u32::from_be_bytes(*down.first_chunk::<PREFIX>()?) as usize;
        if down.len() < PREFIX + len {
            return None;
        }
        down.advance(PREFIX);
        Some(down.split_to(len).freeze())
    }

    /// True if the connection is gone and nothing more can be received.
    pub fn is_over(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_none_or(|conn| conn.server.is_none())
    }

    /// The client goes away. What it sent may still reach the broker, which notices later.
    pub fn leave(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.left = true;
            conn.down.clear();
        }
    }

    /// The process is gone. What had left it still reaches the clients.
    pub fn crash(&mut self) {
        self.woken.lock().clear();
        self.conns.retain(|_, conn| !conn.left);
        for conn in self.conns.values_mut() {
            conn.server = None;
            conn.up.clear();
        }
    }

    /// Forgets connections whose client knows that they are over.
    pub fn forget(&mut self, id: ConnId) {
        if self.is_over(id) {
            self.conns.remove(&id);
        } else {
            self.leave(id);
        }
    }

    /// True if the client has gone and the broker does not know yet.
    pub fn is_left(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| conn.left)
    }

    /// Connections of which the broker holds an end.
    pub fn open(&self) -> Vec<ConnId> {
        let open = self.conns.iter().filter(|(_, conn)| conn.server.is_some());
        open.map(|(id, _)| *id).collect()
    }

    /// The connection that was woken first, or one by its number.
    pub fn next_woken(&mut self, at: usize) -> Option<ConnId> {
        let mut woken = self.woken.lock();
        let len = woken.len();
        if len == 0 { None } else { woken.remove(at % len) }
    }

    pub fn has_woken(&self) -> bool {
        !self.woken.lock().is_empty()
    }

    /// Lets up to `count` bytes arrive, as the connection loop would read them. False if nothing
    /// could move.
    pub fn deliver(&mut self, id: ConnId, count: usize, lent: &mut Lent<'_>) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let Some(server) = &mut conn.server else { return false };
        if !server.machine.reads() || server.out.is_full() {
            return false;
        }
        if !server.unseen {
            if conn.up.is_empty() {
                if conn.left {
                    self.close(id, lent);
                    return true;
                }
                return false;
            }
            let count = count.clamp(1, conn.up.len());
            server.input.extend_from_slice(&conn.up.split_to(count));
        }
        let before = server.input.len();
        let done = server.step(lent, |machine, input, step| machine.on_bytes(input, step));
        let took = server.input.len() < before;
        server.unseen = !server.input.is_empty() && (took || !server.machine.reads());
        self.after(id, done, lent);
        true
    }

    /// Calls a machine that somebody woke.
    pub fn wake(&mut self, id: ConnId, lent: &mut Lent<'_>) {
        let Some(server) = self.conns.get_mut(&id).and_then(|conn| conn.server.as_mut()) else {
            return;
        };
        server.me.take();
        let done = server.step(lent, |machine, _, step| machine.on_wake(step));
        self.after(id, done, lent);
    }

    /// Calls the machines whose deadline has passed.
    pub fn wake_due(&mut self, lent: &mut Lent<'_>) {
        for id in self.open() {
            let due = |conn: &Conn| conn.server.as_ref()?.machine.deadline();
            let deadline = self.conns.get(&id).and_then(due).unwrap_or(Instant::FAR);
            if deadline <= lent.now.mono {
                self.wake(id, lent);
            }
        }
    }

    /// Moves up to `count` bytes from the outbox to the client.
    pub fn flush(&mut self, id: ConnId, count: usize) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let Some(server) = &mut conn.server else { return false };
        move_out(&mut server.out, &mut conn.down, count)
    }

    fn after(&mut self, id: ConnId, done: Result<(), Close>, lent: &mut Lent<'_>) {
        if let Err(close) = done {
            self.closes.push(close.reason.unwrap_or_else(|| "orderly".into()));
            self.close(id, lent);
        }
    }

    /// The broker closes: what it had to say still leaves.
    fn close(&mut self, id: ConnId, lent: &mut Lent<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(mut server) = conn.server.take() else { return };
        let closed = server.step(lent, |machine, _, step| {
            machine.on_close(step);
            Ok(())
        });
        assert!(closed.is_ok(), "the closure gives no error");
        move_out(&mut server.out, &mut conn.down, usize::MAX);
        conn.up.clear();
        if conn.left {
            self.conns.remove(&id);
        }
    }
}

impl Server {
    fn step(
        &mut self,
        lent: &mut Lent<'_>,
        work: impl FnOnce(&mut dyn Connection, &mut BytesMut, &mut Step<'_>) -> Result<(), Close>,
    ) -> Result<(), Close> {
        let mut step = Step {
            broker: lent.broker,
            now: lent.now,
            random: lent.random,
            out: &mut self.out,
            me: &self.me,
        };
        work(&mut *self.machine, &mut self.input, &mut step)
    }
}

fn move_out(out: &mut Outbox, down: &mut BytesMut, count: usize) -> bool {
    let mut left = count.min(out.len());
    let moved = left > 0;
    while left > 0 {
        let mut slices = [IoSlice::new(&[]); 1];
        out.fill(&mut slices);
        let taken = slices[0].len().min(left);
        down.extend_from_slice(&slices[0][..taken]);
        out.advance(taken);
        left -= taken;
    }
    moved
}
