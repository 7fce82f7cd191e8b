//! Listening sockets: bound, accepted from, limited, drained. What happens on a connection is in
//! `driver` for streams and in `http` for requests.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sabir_broker::Broker;
use sabir_broker::clock::{Clock, Instant, Now};
use sabir_broker::wake::Waker;
use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::bell::Bell;
use crate::connection::{Peer, Protocol};
use crate::counters::Counters;
use crate::driver::Driver;
use crate::gate::{Gate, Pass, Refusal};

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: i32 = 1024;
/// Rest after a failed accept, most often for want of descriptors: trying on would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a draining listener looks whether all have left.
const DRAIN_LOOK: Duration = Duration::from_millis(2);
/// A peer that takes none of its bytes for this long is cut off.
pub const STALL_MAX: Duration = Duration::from_secs(30);
/// Ports tried when all addresses of a listener shall share a free one.
const FREE_PORT_TRIES: usize = 16;

/// What connections of one listener have in common.
pub struct Shared {
    pub name: Arc<str>,
    pub broker: Arc<Broker>,
    pub clock: Arc<dyn Clock>,
    pub counters: Arc<Counters>,
    pub advertise: Option<Arc<str>>,
    pub stall_max: Duration,
    members: Mutex<Slab<Waker>>,
    /// Nanoseconds as in `Instant`; FAR = not draining.
    drain_until: AtomicU64,
}

impl Shared {
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    pub fn drains(&self) -> bool {
        self.drain_until().is_some()
    }

    /// When the last connection is cut, once the listener drains.
    pub fn drain_until(&self) -> Option<Instant> {
        let until = Instant(self.drain_until.load(Ordering::Acquire));
        (until != Instant::FAR).then_some(until)
    }

    /// Begins to drain and tells every connection.
    pub fn drain(&self, until: Instant) {
        self.drain_until.store(until.0, Ordering::Release);
        let members = self.members.lock();
        members.iter().for_each(|(_, waker)| waker.wake());
    }
}

/// What a listener is made of besides its sockets.
pub struct Parts {
    /// Name in the settings.
    pub name: Arc<str>,
    pub broker: Arc<Broker>,
    pub clock: Arc<dyn Clock>,
    pub gate: Arc<Gate>,
    /// HOST:PORT to advertise instead of the address that the client reached.
    pub advertise: Option<Arc<str>>,
    /// A peer that takes none of its bytes for this long is cut off; `STALL_MAX` but for tests.
    pub stall_max: Duration,
}

/// A running listener.
pub struct Listener {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    accepts: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Accepts connections of a stream protocol. Must be called within the runtime.
    pub fn start(
        sockets: Vec<Socket>,
        parts: Parts,
        protocol: Arc<dyn Protocol>,
    ) -> io::Result<Listener> {
        Listener::spawn(sockets, parts, move |stream, peer, shared, pass| {
            let bell = Bell::new();
            let now = shared.now();
            let span = tracing::debug_span!("connection", peer = %peer.remote);
            let machine = protocol.accept(peer, now);
            let place = Member::enter(&shared, bell.waker());
            let driver = Driver::new(stream, machine, shared, bell, span);
            tokio::spawn(async move {
                driver.run().await;
                drop((place, pass));
            });
        })
    }

    /// Accepts connections and hands each to `begin`, which must not block.
    pub(crate) fn spawn(
        sockets: Vec<Socket>,
        parts: Parts,
        begin: impl Fn(TcpStream, Peer, Arc<Shared>, Pass) + Clone + Send + 'static,
    ) -> io::Result<Listener> {
        let shared = Arc::new(Shared {
            name: parts.name,
            broker: parts.broker,
            clock: parts.clock,
            counters: Arc::default(),
            advertise: parts.advertise,
            stall_max: parts.stall_max,
            members: Mutex::default(),
            drain_until: AtomicU64::new(Instant::FAR.0),
        });
        let mut listener = Listener { addresses: Vec::new(), shared, accepts: Vec::new() };
        for socket in sockets {
            listener.addresses.push(socket.local_addr()?);
            let socket = TcpListener::from_std(socket)?;
            let (shared, gate) = (listener.shared.clone(), parts.gate.clone());
            let begin = begin.clone();
            listener.accepts.push(tokio::spawn(accept(socket, shared, gate, begin)));
        }
        Ok(listener)
    }

    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Stops accepting, lets connections finish what they owe, and cuts the last after `grace`.
    /// True if all have left by themselves.
    pub async fn drain(self, grace: Duration) -> bool {
        self.accepts.iter().for_each(JoinHandle::abort);
        self.shared.drain(self.shared.now().mono + grace);
        let all_left = async {
            while self.shared.counters.open.get() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        tokio::time::timeout(grace, all_left).await.is_ok()
    }
}

/// An open connection: counted, and told of a drain.
pub(crate) struct Member {
    shared: Arc<Shared>,
    key: usize,
}

impl Member {
    pub fn enter(shared: &Arc<Shared>, waker: &Waker) -> Member {
        shared.counters.open.add(1);
        let key = shared.members.lock().insert(waker.clone());
        Member { shared: shared.clone(), key }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.members.lock().remove(self.key);
        self.shared.counters.open.sub(1);
    }
}

async fn accept(
    socket: TcpListener,
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    begin: impl Fn(TcpStream, Peer, Arc<Shared>, Pass),
) {
    let mut failing = false;
    loop {
        let (stream, remote) = match socket.accept().await {
            Ok(accepted) => accepted,
            // The peer gave up before its turn: nothing to rest for.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                shared.counters.accept_errors.add(1);
                if !failing {
                    tracing::warn!(listener = &*shared.name, %error, "cannot accept, pausing");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        match gate.enter(remote.ip()) {
            Ok(pass) => admit(stream, remote, &shared, pass, &begin),
            Err(refusal) => {
                shared.counters.refused.add(1);
                let listener = &*shared.name;
                let reason = match refusal {
                    Refusal::Address => "too many connections of this address",
                    Refusal::Total => "too many connections",
                };
                tracing::debug!(listener, peer = %remote, reason, "connection refused");
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    remote: SocketAddr,
    shared: &Arc<Shared>,
    pass: Pass,
    begin: &impl Fn(TcpStream, Peer, Arc<Shared>, Pass),
) {
    // A peer that is gone already has no addresses; there is nothing to talk about.
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    shared.counters.accepted.add(1);
    let peer =
        Peer { listener: shared.name.clone(), remote, local, advertise: shared.advertise.clone() };
    begin(stream, peer, shared.clone(), pass);
}

/// A socket that listens on `address`. Port 0 = a free one.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections of its predecessor.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listens on every address of `ips`, all with the same port; port 0 = one that is free on all.
/// Fails with the address that could not be had.
pub fn bind_all(ips: &[IpAddr], port: u16) -> Result<Vec<Socket>, (SocketAddr, io::Error)> {
    let mut tries = FREE_PORT_TRIES;
    loop {
        match bind_once(ips, port) {
            Err((_, error))
                if port == 0 && tries > 0 && error.kind() == io::ErrorKind::AddrInUse =>
            {
                tries -= 1;
            }
            done => return done,
        }
    }
}

fn bind_once(ips: &[IpAddr], port: u16) -> Result<Vec<Socket>, (SocketAddr, io::Error)> {
    let mut sockets = Vec::with_capacity(ips.len());
    let mut port = port;
    for ip in ips {
        let address = SocketAddr::new(*ip, port);
        let socket = bind(address).map_err(|error| (address, error))?;
        port = socket.local_addr().map_err(|error| (address, error))?.port();
        sockets.push(socket);
    }
    Ok(sockets)
}

/// True if this machine has the address.
pub fn exists(ip: IpAddr) -> bool {
    Socket::bind(SocketAddr::new(ip, 0)).is_ok()
}
