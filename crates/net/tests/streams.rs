//! The connection loop over real sockets, with a toy protocol of lines.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use sabir_broker::Broker;
use sabir_broker::clock::{Instant as Moment, Now};
use sabir_net::clock::SystemClock;
use sabir_net::connection::{Close, Connection, Peer, Protocol, Step};
use sabir_net::counters::Counters;
use sabir_net::gate::{Gate, GateSettings};
use sabir_net::listener::{Listener, Parts, bind_all};
use tokio::runtime::{Builder, Runtime};

const GREETING_MAX: Duration = Duration::from_millis(300);

/// Echoes lines. Some lines mean more: see `on_line`.
struct Toy {
    greeted: bool,
    greet_by: Moment,
    frame: usize,
    paused: bool,
    held: bool,
    owed: usize,
    done: Arc<AtomicUsize>,
    lines: Arc<AtomicUsize>,
}

/// Counts the lines of all connections.
#[derive(Default)]
struct Toys(Arc<AtomicUsize>);

impl Protocol for Toys {
    fn accept(&self, _peer: Peer, now: Now) -> Box<dyn Connection> {
        let greet_by = now.mono + GREETING_MAX;
        let done = Arc::default();
        let lines = self.0.clone();
        let (frame, paused, held, owed) = (0, false, false, 0);
        Box::new(Toy { greeted: false, greet_by, frame, paused, held, owed, done, lines })
    }
}

impl Toy {
    fn on_line(&mut self, line: &str, step: &mut Step<'_>) -> Result<(), Close> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("panic", _) => panic!("told to"),
            ("quit", _) => {
                step.out.buffer().extend_from_slice(b"bye\n");
                return Err(Close::because("told to"));
            }
            ("big", count) => {
                let count = count.parse().expect("a count");
                step.out.share(Bytes::from(vec![b'x'; count]));
            }
            // Answers once another thread has woken the connection.
            ("later", millis) => {
                self.owed += 1;
                let done = self.done.clone();
                wake_in(step, millis, move || _ = done.fetch_add(1, Ordering::SeqCst));
            }
            // Takes no input until it is woken.
            ("pause", millis) => {
                self.paused = true;
                wake_in(step, millis, || ());
            }
            // So many bytes follow, of which the sum is answered.
            ("frame", count) => self.frame = count.parse().expect("a count"),
            _ => {
                step.out.buffer().extend_from_slice(line.as_bytes());
                step.out.buffer().extend_from_slice(b"\n");
            }
        }
        Ok(())
    }
}

fn wake_in(step: &Step<'_>, millis: &str, first: impl FnOnce() + Send + 'static) {
    let me = step.me.clone();
    let millis = millis.parse().expect("milliseconds");
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(millis));
        first();
        me.wake();
    });
}

impl Connection for Toy {
    fn on_bytes(&mut self, input: &mut BytesMut, step: &mut Step<'_>) -> Result<(), Close> {
        self.greeted = true;
        while !self.paused && !step.out.is_full() {
            if self.frame > 0 {
                if input.len() < self.frame {
                    return Ok(());
                }
                let sum: u64 = input[..self.frame].iter().map(|byte| u64::from(*byte)).sum();
                input.advance(std::mem::take(&mut self.frame));
                step.out.buffer().extend_from_slice(format!("sum {sum}\n").as_bytes());
                continue;
            }
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
            let line = String::from_utf8_lossy(&input[..end]).into_owned();
            // Stops in front of this line until it is woken.
            if line == "hold" && !std::mem::replace(&mut self.held, true) {
                self.paused = true;
                wake_in(step, "30", || ());
                return Ok(());
            }
            input.advance(end + 1);
            self.lines.fetch_add(1, Ordering::SeqCst);
            self.on_line(&line, step)?;
        }
        Ok(())
    }

    fn on_wake(&mut self, step: &mut Step<'_>) -> Result<(), Close> {
        if !self.greeted && self.greet_by <= step.now.mono {
            step.out.buffer().extend_from_slice(b"too late\n");
            return Err(Close::because("silent"));
        }
        if step.me.take() {
            panic!("the loop takes the wake before it calls");
        }
        self.paused = false;
        // A wake says "look", not "it is there".
        for _ in 0..self.done.swap(0, Ordering::SeqCst) {
            self.owed -= 1;
            step.out.buffer().extend_from_slice(b"now\n");
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Moment> {
        (!self.greeted).then_some(self.greet_by)
    }

    fn reads(&self) -> bool {
        !self.paused
    }

    fn expects(&self) -> usize {
        self.frame
    }

    fn is_idle(&self) -> bool {
        self.owed == 0
    }

    fn on_close(&mut self, _step: &mut Step<'_>) {}
}

struct House {
    runtime: Runtime,
    listener: Listener,
    counters: Arc<Counters>,
    lines: Arc<AtomicUsize>,
    address: SocketAddr,
}

fn house(connections_max: usize, per_address: usize, stall_max: Duration) -> House {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let gate =
        Gate::new(GateSettings { connections_max, connections_per_address_max: per_address });
    let parts = Parts {
        name: "toy".into(),
        broker: broker(),
        clock: Arc::new(SystemClock::start()),
        gate,
        advertise: None,
        stall_max,
    };
    let sockets = bind_all(&[Ipv4Addr::LOCALHOST.into()], 0).unwrap();
    let toys = Toys::default();
    let lines = toys.0.clone();
    let _in = runtime.enter();
    let listener = Listener::start(sockets, parts, Arc::new(toys)).unwrap();
    drop(_in);
    let (address, counters) = (listener.addresses()[0], listener.counters().clone());
    House { runtime, listener, counters, lines, address }
}

fn open_house() -> House {
    house(100, 100, Duration::from_secs(30))
}

impl House {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn until(&self, what: &str, met: impl Fn(&Counters) -> bool) {
        let limit = Instant::now() + Duration::from_secs(10);
        while !met(&self.counters) {
            assert!(Instant::now() < limit, "waited for {what}: {:?}", self.counters);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn hear(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Says all of it and hears all of the answer, to the end of the connection if `ends`.
fn talk(house: &House, say: &[&str], want: &str) {
    let mut stream = house.connect();
    for part in say {
        stream.write_all(part.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let heard = hear(&mut stream, want.len());
    assert_eq!(String::from_utf8_lossy(&heard), want, "said {say:?}");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "", "after {say:?}");
}

#[test]
fn conversations() {
    let house = open_house();
    talk(&house, &["a\n"], "a\n");
    talk(&house, &["a", "b\nc", "d\n"], "ab\ncd\n");
    talk(&house, &["1\n2\n3\n4\n"], "1\n2\n3\n4\n");
    talk(&house, &["later 30\nmeanwhile\n"], "meanwhile\nnow\n");
    talk(&house, &["pause 30\nafter\n", "more\n"], "after\nmore\n");
    talk(&house, &["hold\nafter\n", "more\n"], "hold\nafter\nmore\n");
    talk(&house, &["hold\nafter\n"], "hold\nafter\n");
    talk(&house, &["quit\nnever\n"], "bye\n");
    talk(&house, &["frame 3\n\x01\x02\x03x\n"], "sum 6\nx\n");
    talk(&house, &["frame 3\n\x01", "\x02", "\x03x\n"], "sum 6\nx\n");
    house.until("all to leave", |counters| counters.open.get() == 0);
    assert_eq!((house.counters.accepted.get(), house.counters.panics.get()), (10, 0));
}

#[test]
fn many_requests_and_large_frames_come_through_whole() {
    let house = open_house();
    let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let frame = vec![1_u8; 5 * 1024 * 1024];
    let mut stream = house.connect();
    let mut sender = stream.try_clone().unwrap();
    let said = lines.clone();
    let saying = std::thread::spawn(move || {
        sender.write_all(said.as_bytes()).unwrap();
        sender.write_all(format!("frame {}\n", frame.len()).as_bytes()).unwrap();
        sender.write_all(&frame).unwrap();
        sender.write_all(b"end\n").unwrap();
    });
    assert!(hear(&mut stream, lines.len()) == lines.as_bytes());
    assert_eq!(hear(&mut stream, 16), b"sum 5242880\nend\n");
    saying.join().unwrap();
}

#[test]
fn a_panic_ends_its_connection_only() {
    let house = open_house();
    let mut other = house.connect();
    other.write_all(b"before\n").unwrap();
    assert_eq!(hear(&mut other, 7), b"before\n");
    let mut victim = house.connect();
    victim.write_all(b"panic\n").unwrap();
    assert!(matches!(victim.read(&mut [0; 1]), Ok(0) | Err(_)));
    other.write_all(b"after\n").unwrap();
    assert_eq!(hear(&mut other, 6), b"after\n");
    assert_eq!(house.counters.panics.get(), 1);
}

#[test]
fn a_silent_connection_is_told_and_closed_at_its_deadline() {
    let house = open_house();
    let began = Instant::now();
    let mut stream = house.connect();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "too late\n");
    let took = began.elapsed();
    assert!((GREETING_MAX..GREETING_MAX * 4).contains(&took), "{took:?}");
}

#[test]
fn a_full_outbox_stops_the_next_request_until_the_peer_reads() {
    let house = open_house();
    let mut stream = house.connect();
    // Far more than socket buffers hold: most requests must wait unread.
    let count = 64;
    let mut sender = stream.try_clone().unwrap();
    for _ in 0..count {
        sender.write_all(b"big 4000000\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let taken = house.lines.load(Ordering::SeqCst);
    assert!(taken < 16, "{taken} requests taken for a peer that reads nothing");
    let heard = hear(&mut stream, count * 4_000_000);
    assert!(heard.iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off() {
    let house = house(100, 100, Duration::from_millis(300));
    let mut stream = house.connect();
    stream.write_all(b"big 50000000\n").unwrap();
    house.until("the stall", |counters| counters.stalled.get() == 1);
    house.until("the end", |counters| counters.open.get() == 0);
}

#[test]
fn limits_per_address_and_in_all() {
    for (total, per_address, let_in) in [(100, 3, 3), (2, 100, 2)] {
        let house = house(total, per_address, Duration::from_secs(30));
        let mut inside: Vec<TcpStream> = Vec::new();
        for _ in 0..let_in {
            let mut stream = house.connect();
            stream.write_all(b"in\n").unwrap();
            assert_eq!(hear(&mut stream, 3), b"in\n");
            inside.push(stream);
        }
        let mut refused = house.connect();
        let answer = refused.read(&mut [0; 1]);
        let reset = ErrorKind::ConnectionReset;
        assert!(matches!(&answer, Ok(0)) || answer.is_err_and(|error| error.kind() == reset));
        assert_eq!(house.counters.refused.get(), 1);
        inside.pop();
        house.until("one to leave", |counters| counters.open.get() == let_in as u64 - 1);
        talk(&house, &["next\n"], "next\n");
    }
}

#[test]
fn a_drain_answers_what_is_owed_and_takes_nothing_new() {
    let house = open_house();
    let mut idle = house.connect();
    idle.write_all(b"hello\n").unwrap();
    assert_eq!(hear(&mut idle, 6), b"hello\n");
    let mut busy = house.connect();
    busy.write_all(b"later 200\n").unwrap();
    house.until("both", |counters| counters.bytes_in.get() == 6 + 10);
    let began = Instant::now();
    let draining = house.runtime.spawn(house.listener.drain(Duration::from_secs(4)));
    let mut heard = String::new();
    idle.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "");
    assert!(began.elapsed() < Duration::from_millis(150), "the idle one waited");
    busy.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "now\n");
    drop((idle, busy));
    assert!(house.runtime.block_on(draining).unwrap());
    assert!(TcpStream::connect(house.address).is_err());
}

#[test]
fn a_drain_cuts_who_does_not_finish() {
    let house = open_house();
    let mut stuck = house.connect();
    stuck.write_all(b"later 60000\n").unwrap();
    house.until("the request", |counters| counters.bytes_in.get() == 12);
    let left = house.runtime.block_on(house.listener.drain(Duration::from_millis(200)));
    assert!(!left);
    let mut heard = String::new();
    stuck.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "");
}

/// A broker on a disk in memory.
fn broker() -> Arc<Broker> {
    let disk = sabir_storage::disk::sim::Handle(sabir_storage::disk::sim::SimDisk::new());
    let mut random = sabir_broker::random::Seeded(1);
    let settings = sabir_broker::Settings::default();
    Broker::on_disk(Arc::new(disk), settings, &mut random, None).expect("opens")
}
