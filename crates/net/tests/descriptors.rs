//! A process without descriptors: accepting pauses, and goes on once there are some again. Alone
//! in its process, whose limit it lowers.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sabir_broker::Broker;
use sabir_broker::clock::{Instant as Moment, Now};
use sabir_broker::random::Seeded;
use sabir_net::clock::SystemClock;
use sabir_net::connection::{Close, Connection, Peer, Protocol, Step};
use sabir_net::gate::{Gate, GateSettings};
use sabir_net::listener::{Listener, Parts, STALL_MAX, bind_all};
use sabir_storage::disk::sim::{Handle, SimDisk};

struct Echo;

impl Protocol for Echo {
    fn accept(&self, _peer: Peer, _now: Now) -> Box<dyn Connection> {
        Box::new(Echo)
    }
}

impl Connection for Echo {
    fn on_bytes(&mut self, input: &mut BytesMut, step: &mut Step<'_>) -> Result<(), Close> {
        step.out.buffer().extend_from_slice(&input.split());
        Ok(())
    }

    fn on_wake(&mut self, _step: &mut Step<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn deadline(&self) -> Option<Moment> {
        None
    }

    fn on_close(&mut self, _step: &mut Step<'_>) {}
}

#[test]
fn accepting_pauses_without_descriptors_and_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (disk, settings) = (Arc::new(Handle(SimDisk::new())), sabir_broker::Settings::default());
    let all = usize::MAX;
    let gate = GateSettings { connections_max: all, connections_per_address_max: all };
    let parts = Parts {
        name: "echo".into(),
        broker: Broker::on_disk(disk, settings, &mut Seeded(1), None).unwrap(),
        clock: Arc::new(SystemClock::start()),
        gate: Gate::new(gate),
        advertise: None,
        stall_max: STALL_MAX,
    };
    let sockets = bind_all(&[Ipv4Addr::LOCALHOST.into()], 0).unwrap();
    let inside = runtime.enter();
    let listener = Listener::start(sockets, parts, Arc::new(Echo)).unwrap();
    drop(inside);
    let (address, counters) = (listener.addresses()[0], listener.counters().clone());
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));

    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(60), maximum }).unwrap();
    let mut clients: Vec<TcpStream> =
        (0..60).map_while(|_| TcpStream::connect(address).ok()).collect();
    assert!(clients.len() < 60);
    let limit = Instant::now() + Duration::from_secs(10);
    while counters.accept_errors.get() == 0 {
        assert!(Instant::now() < limit, "{counters:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(500));
    let failed = counters.accept_errors.get();
    assert!(failed < 20, "{failed} accepts in half a second: it spins");
    clients.truncate(5);
    let mut next = TcpStream::connect(address).unwrap();
    next.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    next.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    next.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}
