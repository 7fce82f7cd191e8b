//! A broker in memory, and clients that talk to it: `say` sends a request, `hear` waits for the
//! next response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use sabir_broker::Broker;
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::namespace::DEFAULT_NAME;
use sabir_broker::policy::Identity;
use sabir_broker::quota::Quota;
use sabir_broker::random::Seeded;
use sabir_broker::wake::Waker;
use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{Message, Reader, ResponseHeader, decode_body, frame_request};
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use sabir_kafka::{Kafka, Settings};
use sabir_net::connection::{Close, Connection, Peer, Protocol, Step};
use sabir_net::outbox::Outbox;
use sabir_storage::disk::sim::SimDisk;

use crate::held::{Gate, HeldDisk};

/// A test that waits longer than this has hung.
const PATIENCE: Duration = Duration::from_secs(20);
/// The wall-clock time at which every house is opened.
pub const NOON_MS: i64 = 1_800_000_000_000;

/// A broker with its disk and its settings.
pub struct House {
    pub broker: Arc<Broker>,
    pub settings: Settings,
    disk: Arc<SimDisk>,
    gate: Arc<Gate>,
    /// Clients so far: each has a chance of its own.
    clients: AtomicU64,
}

impl House {
    pub fn new() -> House {
        House::with(Settings::default())
    }

    pub fn with(settings: Settings) -> House {
        House::after(SimDisk::new(), settings, 0)
    }

    fn after(disk: Arc<SimDisk>, settings: Settings, clients: u64) -> House {
        let gate = Arc::new(Gate::default());
        let held = Arc::new(HeldDisk::new(disk.clone(), gate.clone()));
        let broker = Broker::on_disk(held, Default::default(), &mut Seeded(7), None);
        let broker = broker.expect("the disk opens");
        House { broker, settings, disk, gate, clients: clients.into() }
    }

    /// The same house after a restart.
    pub fn again(self) -> House {
        self.broker.close();
        let clients = self.clients.load(Ordering::Relaxed);
        House::after(self.disk.clone(), self.settings.clone(), clients)
    }

    /// While held, nothing becomes durable.
    pub fn hold(&self, held: bool) {
        self.gate.set(held);
    }

    pub fn talk(&self) -> Talk {
        self.talk_to(None)
    }

    /// A client of a listener that advertises another address.
    pub fn talk_to(&self, advertise: Option<&str>) -> Talk {
        self.connect(advertise, DEFAULT_NAME)
    }

    /// A client of a listener of another namespace.
    pub fn talk_in(&self, namespace: &str) -> Talk {
        self.connect(None, namespace)
    }

    /// Makes a namespace, or changes its quota.
    pub fn namespace(&self, name: &str, quota: Quota) {
        let (caller, now) = (self.caller(), Now { mono: Instant(1), wall: NOON_MS });
        let known = caller.alter_quota(name, |known| {
            *known = quota;
            Ok(())
        });
        known.or_else(|_| caller.declare_namespace(now, name, quota)).expect("a name and a quota");
    }

    fn connect(&self, advertise: Option<&str>, namespace: &str) -> Talk {
        let peer = Peer {
            listener: "kafka".into(),
            remote: ([127, 0, 0, 1], 50_000).into(),
            local: ([127, 0, 0, 1], 9092).into(),
            advertise: advertise.map(Into::into),
        };
        let now = Now { mono: Instant(1), wall: NOON_MS };
        let (sender, wakes) = sync_channel(1);
        let kafka = Kafka::new(self.broker.clone(), self.settings.clone()).in_namespace(namespace);
        Talk {
            broker: self.broker.clone(),
            connection: kafka.accept(peer, now),
            now,
            random: Seeded(self.clients.fetch_add(1, Ordering::Relaxed)),
            outbox: Outbox::default(),
            input: BytesMut::new(),
            heard: BytesMut::new(),
            me: Waker::new(move || {
                let _ = sender.try_send(());
            }),
            wakes,
            asked: Default::default(),
            correlation: 0,
            closed: None,
        }
    }

    /// Makes a topic with these configs; its id.
    pub fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> [u8; 16] {
        self.topic_in(DEFAULT_NAME, name, partitions, configs)
    }

    pub fn topic_in(
        &self,
        namespace: &str,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> [u8; 16] {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name, value: Some(value) })
            .collect();
        let topics = vec![CreatableTopic {
            name,
            num_partitions: partitions,
            replication_factor: -1,
            assignments: Vec::new(),
            configs,
        }];
        let request = CreateTopicsRequest { topics, ..CreateTopicsRequest::default() };
        let heard = self.talk_in(namespace).ask(7, &request);
        let response: CreateTopicsResponse<'_> = heard.read();
        expect(response.topics[0].error_code, ErrorCode::None);
        response.topics[0].topic_id
    }

    /// Under which opening of the broker it runs.
    pub fn epoch(&self) -> i32 {
        self.caller().epoch()
    }

    /// Where partition 0 of a topic ends.
    pub fn end(&self, topic: &str) -> i64 {
        self.caller().topic(topic).expect("declared").partitions[0].view.visible()
    }

    fn caller(&self) -> Caller {
        Caller::new(self.broker.clone(), Identity::anonymous(), 0)
    }

    /// How many partitions a topic has, if it is there.
    pub fn partitions(&self, name: &str) -> Option<usize> {
        let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]);
        let request = MetadataRequest { topics, ..MetadataRequest::default() };
        let request = MetadataRequest { allow_auto_topic_creation: false, ..request };
        let heard = self.talk().ask(9, &request);
        let response: MetadataResponse<'_> = heard.read();
        let topic = &response.topics[0];
        (topic.error_code == 0).then_some(topic.partitions.len())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.gate.set(false);
        self.broker.close();
    }
}

/// One client's connection.
pub struct Talk {
    broker: Arc<Broker>,
    connection: Box<dyn Connection>,
    now: Now,
    random: Seeded,
    outbox: Outbox,
    input: BytesMut,
    heard: BytesMut,
    me: Waker,
    wakes: Receiver<()>,
    /// What was asked and not answered yet, with its correlation id.
    asked: std::collections::VecDeque<(ApiKey, i16, i32)>,
    correlation: i32,
    closed: Option<Close>,
}

/// A response with the version it was asked in.
pub struct Heard {
    body: Bytes,
    version: i16,
}

impl Heard {
    pub fn read<'a, M: Message<'a>>(&'a self) -> M {
        decode_body(&self.body, self.version).expect("a response of that version")
    }
}

impl Talk {
    /// Sends a request.
    pub fn say<'m, M: Message<'m>>(&mut self, version: i16, request: &M) -> &mut Talk {
        self.correlation += 1;
        self.asked.push_back((M::KEY, version, self.correlation));
        let frame = frame_request(self.correlation, Some("talk"), version, request);
        for chunk in frame.expect("it has a form in that version") {
            self.input.extend_from_slice(&chunk);
        }
        self.step(true);
        self
    }

    /// Sends bytes as they are.
    pub fn say_bytes(&mut self, bytes: &[u8]) -> &mut Talk {
        self.input.extend_from_slice(bytes);
        self.step(true);
        self
    }

    /// Sends the end of a request made by hand, whose answer comes in this version.
    pub fn raw(&mut self, key: ApiKey, version: i16, bytes: &[u8]) -> &mut Talk {
        self.correlation += 1;
        self.asked.push_back((key, version, self.correlation));
        self.say_bytes(bytes)
    }

    /// Sends a request that no answer is expected to.
    pub fn tell<'m, M: Message<'m>>(&mut self, version: i16, request: &M) -> &mut Talk {
        self.say(version, request);
        self.asked.pop_back();
        self
    }

    /// Waits for the next response.
    pub fn hear(&mut self) -> Heard {
        let (key, version, correlation) = self.asked.pop_front().expect("something was asked");
        let mut frame = loop {
            if let Some(frame) = self.frame() {
                break frame;
            }
            assert_eq!(self.closed, None, "the connection was closed instead of an answer");
            self.wakes.recv_timeout(PATIENCE).expect("an answer in time");
            self.step(false);
        };
        let mut reader = Reader::new(&frame);
        let header = ResponseHeader::read(&mut reader, key.response_header_version(version));
        assert_eq!(header.expect("a header").correlation_id, correlation, "out of order");
        let body = reader.rest().len();
        frame.advance(frame.len() - body);
        Heard { body: frame, version }
    }

    pub fn ask<'m, M: Message<'m>>(&mut self, version: i16, request: &M) -> Heard {
        self.say(version, request).hear()
    }

    /// True if the next answer is there already.
    pub fn has_answer(&mut self) -> bool {
        self.step(false);
        self.heard.len() >= 4
    }

    /// Lets time go by.
    pub fn pass(&mut self, time: Duration) -> &mut Talk {
        self.now.mono = self.now.mono + time;
        self.now.wall += time.as_millis() as i64;
        self.step(false);
        self
    }

    /// Why the connection was closed, waiting for it.
    pub fn end(&mut self) -> String {
        let close = self.closed.clone().expect("the connection was closed");
        close.reason.expect("for a reason")
    }

    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    fn frame(&mut self) -> Option<Bytes> {
        let len = i32::from_be_bytes(*self.heard.first_chunk()?) as usize;
        if self.heard.len() < 4 + len {
            return None;
        }
        let mut frame = self.heard.split_to(4 + len).freeze();
        frame.advance(4);
        Some(frame)
    }

    /// Does what the loop of a real connection does.
    fn step(&mut self, bytes: bool) {
        if self.closed.is_some() {
            return;
        }
        self.me.take();
        let mut step = Step {
            broker: &self.broker,
            now: self.now,
            random: &mut self.random,
            out: &mut self.outbox,
            me: &self.me,
        };
        let mut outcome = if bytes { Ok(()) } else { self.connection.on_wake(&mut step) };
        while outcome.is_ok() && self.connection.reads() && !self.input.is_empty() {
            let before = self.input.len();
            outcome = self.connection.on_bytes(&mut self.input, &mut step);
            if self.input.len() == before {
                break;
            }
        }
        if let Err(close) = outcome {
            self.closed = Some(close);
            self.connection.on_close(&mut step);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while !self.outbox.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 16];
            let filled = self.outbox.fill(&mut slices);
            let parts: Vec<u8> = slices[..filled].iter().flat_map(|part| part.to_vec()).collect();
            self.heard.extend_from_slice(&parts);
            self.outbox.advance(parts.len());
        }
    }
}

/// The lowest and the highest version of an API, as far as they serve what is tested.
pub fn versions(key: ApiKey) -> impl Iterator<Item = i16> {
    let info = key.info();
    [info.version_min, info.version_max].into_iter()
}

#[track_caller]
pub fn expect(number: i16, code: ErrorCode) {
    let found = ErrorCode::from_number(number).expect("a code of Kafka's");
    assert_eq!(found, code);
}
