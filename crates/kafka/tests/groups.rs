//! Group requests as conversations: clients without sockets talk to a broker on a simulated disk,
//! in every version that is served, and over restarts.
#![allow(clippy::disallowed_methods, reason = "the threads of the WAL run on real time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use sabir_broker::Broker;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::random::Seeded;
use sabir_broker::wake::Waker;
use sabir_kafka::Kafka;
use sabir_kafka::api::ApiKey;
use sabir_kafka::codec::{Message, Reader, ResponseHeader, decode_body, frame_request};
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::describe_groups::*;
use sabir_kafka::generated::find_coordinator::*;
use sabir_kafka::generated::heartbeat::*;
use sabir_kafka::generated::join_group::*;
use sabir_kafka::generated::leave_group::*;
use sabir_kafka::generated::list_groups::*;
use sabir_kafka::generated::metadata::*;
use sabir_kafka::generated::offset_commit::*;
use sabir_kafka::generated::offset_fetch::*;
use sabir_kafka::generated::sync_group::*;
use sabir_net::connection::{Connection, Peer, Protocol, Step};
use sabir_net::outbox::Outbox;
use sabir_storage::disk::sim::{Handle, SimDisk};

/// How long an answer may take.
const PATIENCE_MS: u32 = 10_000;
/// The highest version of any of these requests.
const VERSION_MAX: i16 = 10;

/// A broker on a disk that survives it.
struct House {
    disk: Arc<SimDisk>,
    broker: Arc<Broker>,
    kafka: Kafka,
    now: Now,
}

impl House {
    fn new() -> House {
        House::on(SimDisk::new())
    }

    fn on(disk: Arc<SimDisk>) -> House {
        let mut settings = sabir_broker::Settings::default();
        settings.groups.initial_delay_ms = 0;
        let handle = Arc::new(Handle(disk.clone()));
        let broker = Broker::on_disk(handle, settings, &mut Seeded(1), None).expect("opens");
        let kafka = Kafka::new(broker.clone(), sabir_kafka::Settings::default());
        let now = Now { mono: Instant(1_000_000_000), wall: 1_000_000 };
        broker.tick(now);
        House { disk, broker, kafka, now }
    }

    fn restart(self) -> House {
        self.broker.close();
        House::on(self.disk)
    }

    /// Lets time pass.
    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Duration::from_millis(ms);
        self.now.wall += ms as i64;
        self.broker.tick(self.now);
    }

    fn client(&self, seed: u64) -> Client {
        let address = "127.0.0.1:9092".parse().expect("an address");
        let peer =
            Peer { listener: "kafka".into(), remote: address, local: address, advertise: None };
        let rung = Arc::new(AtomicBool::new(false));
        let waker = Waker::new({
            let rung = rung.clone();
            move || rung.store(true, Ordering::Release)
        });
        Client {
            broker: self.broker.clone(),
            connection: self.kafka.accept(peer, self.now),
            random: Seeded(seed),
            out: Outbox::default(),
            heard: BytesMut::new(),
            waker,
            rung,
        }
    }

    /// The id of a topic, which is made with one partition if it is not there.
    fn topic(&self, name: &str) -> [u8; 16] {
        let asked = MetadataRequestTopic { name: Some(name), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![asked]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let body = self.client(77).ask(self.now, 12, &request);
        decode::<MetadataResponse<'_>>(&body, 12).topics[0].topic_id
    }
}

/// One connection.
struct Client {
    broker: Arc<Broker>,
    connection: Box<dyn Connection>,
    random: Seeded,
    out: Outbox,
    heard: BytesMut,
    waker: Waker,
    rung: Arc<AtomicBool>,
}

impl Client {
    /// Sends a request; returns the body of its response.
    fn ask<'a, M: Message<'a>>(&mut self, now: Now, version: i16, request: &M) -> Vec<u8> {
        self.say(now, version, request);
        self.hear(now, version, M::KEY).expect("an answer within seconds")
    }

    fn say<'a, M: Message<'a>>(&mut self, now: Now, version: i16, request: &M) {
        let mut input = BytesMut::new();
        for part in frame_request(5, Some("me"), version, request).expect("encodes") {
            input.extend_from_slice(&part);
        }
        self.step(now, |connection, step| connection.on_bytes(&mut input, step));
        assert!(input.is_empty(), "the whole request is taken");
    }

    /// The next response, once what it waits for has happened.
    fn hear(&mut self, now: Now, version: i16, key: ApiKey) -> Option<Vec<u8>> {
        for _ in 0..PATIENCE_MS {
            if let Some(body) = self.heard(version, key) {
                return Some(body);
            }
            if !self.wake(now) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        None
    }

    /// Looks at what happened if it was woken.
    fn wake(&mut self, now: Now) -> bool {
        let rung = self.rung.swap(false, Ordering::AcqRel);
        if rung {
            self.waker.take();
            self.step(now, |connection, step| connection.on_wake(step));
        }
        rung
    }

    fn heard(&mut self, version: i16, key: ApiKey) -> Option<Vec<u8>> {
        let len = u32::from_be_bytes(*self.heard.first_chunk()?) as usize;
        let frame = self.heard.get(4..4 + len)?.to_vec();
        let _done = self.heard.split_to(4 + len);
        let mut reader = Reader::new(&frame);
        let header = ResponseHeader::read(&mut reader, key.response_header_version(version));
        assert_eq!(header.expect("a header").correlation_id, 5);
        Some(reader.rest().to_vec())
    }

    fn step(
        &mut self,
        now: Now,
        work: impl FnOnce(
            &mut dyn Connection,
            &mut Step<'_>,
        ) -> Result<(), sabir_net::connection::Close>,
    ) {
        let mut step = Step {
            broker: &self.broker,
            now,
            random: &mut self.random,
            out: &mut self.out,
            me: &self.waker,
        };
        work(&mut *self.connection, &mut step).expect("the connection stays");
        while !self.out.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[])];
            self.out.fill(&mut slices);
            self.heard.extend_from_slice(&slices[0]);
            let len = slices[0].len();
            self.out.advance(len);
        }
    }

    fn hang_up(mut self, now: Now) {
        self.step(now, |connection, step| {
            connection.on_close(step);
            Ok(())
        });
    }

    fn join(&mut self, now: Now, version: i16, group: &str, member_id: &str) -> Joined {
        self.say(now, version, &join(group, member_id));
        let body = self.hear(now, version, ApiKey::JoinGroup).expect("an answer");
        Joined::of(&body, version)
    }

    fn sync(&mut self, now: Now, version: i16, group: &str, joined: &Joined) -> (i16, Vec<u8>) {
        let all: Vec<_> = joined.members.iter().map(|id| (id.clone(), b"work".to_vec())).collect();
        let assignments = all
            .iter()
            .map(|(id, work)| SyncGroupRequestAssignment { member_id: id, assignment: work });
        let request = SyncGroupRequest {
            group_id: group,
            generation_id: joined.generation,
            member_id: &joined.id,
            protocol_type: Some("consumer").filter(|_| version >= 5),
            protocol_name: Some("range").filter(|_| version >= 5),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let body = self.ask(now, version, &request);
        let response: SyncGroupResponse<'_> = decode(&body, version);
        (response.error_code, response.assignment.to_vec())
    }

    fn beat(&mut self, now: Now, version: i16, group: &str, joined: &Joined) -> i16 {
        let request = HeartbeatRequest {
            group_id: group,
            generation_id: joined.generation,
            member_id: &joined.id,
            ..HeartbeatRequest::default()
        };
        let body = self.ask(now, version, &request);
        decode::<HeartbeatResponse>(&body, version).error_code
    }
}

/// A JoinGroup response that outlives its bytes.
#[derive(Debug)]
struct Joined {
    code: i16,
    generation: i32,
    id: String,
    leader: String,
    members: Vec<String>,
}

impl Joined {
    fn of(body: &[u8], version: i16) -> Joined {
        let response: JoinGroupResponse<'_> = decode(body, version);
        Joined {
            code: response.error_code,
            generation: response.generation_id,
            id: response.member_id.to_owned(),
            leader: response.leader.to_owned(),
            members: response.members.iter().map(|member| member.member_id.to_owned()).collect(),
        }
    }
}

fn join<'a>(group_id: &'a str, member_id: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: b"me" }],
        ..JoinGroupRequest::default()
    }
}

fn decode<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> M {
    decode_body(body, version).expect("a response of this version")
}

fn at_most(version: i16, key: ApiKey) -> i16 {
    version.clamp(key.info().version_min, key.info().version_max)
}

fn code(code: ErrorCode) -> i16 {
    code.number()
}

#[test]
fn a_member_lives_its_life_in_every_version() {
    let house = House::new();
    let id = house.topic("t");
    for version in 0..=VERSION_MAX {
        let group = format!("g{version}");
        let mut client = house.client(u64::from(version.unsigned_abs()));
        let joined = joins(&house, &mut client, version, &group);
        let sync_version = at_most(version, ApiKey::SyncGroup);
        let synced = client.sync(house.now, sync_version, &group, &joined);
        assert_eq!(synced, (0, b"work".to_vec()), "version {version}");
        let beat = at_most(version, ApiKey::Heartbeat);
        assert_eq!(client.beat(house.now, beat, &group, &joined), 0, "version {version}");
        commits(&house, &mut client, version, &group, &joined, id);
        is_seen(&house, &mut client, version, &group, &joined);
        leaves(&house, &mut client, version, &group, &joined);
    }
}

fn joins(house: &House, client: &mut Client, version: i16, group: &str) -> Joined {
    let join_version = at_most(version, ApiKey::JoinGroup);
    let mut joined = client.join(house.now, join_version, group, "");
    if join_version >= 4 {
        assert_eq!(joined.code, code(ErrorCode::MemberIdRequired));
        joined = client.join(house.now, join_version, group, &joined.id);
    }
    assert_eq!((joined.code, joined.generation), (0, 1), "version {version}");
    assert!(joined.id.starts_with("me-") && joined.id.len() == "me-".len() + 36, "{}", joined.id);
    assert_eq!((&joined.leader, &joined.members), (&joined.id, &vec![joined.id.clone()]));
    joined
}

/// Partition 0 is there, partition 1 is not.
fn commits(
    house: &House,
    client: &mut Client,
    version: i16,
    group: &str,
    joined: &Joined,
    id: [u8; 16],
) {
    let commit_version = at_most(version, ApiKey::OffsetCommit);
    let by_name = commit_version < 10;
    let (name, topic_id) = if by_name { ("t", [0; 16]) } else { ("", id) };
    let one = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 11,
        committed_metadata: Some("note"),
        ..OffsetCommitRequestPartition::default()
    };
    // Version 0 knows no members.
    let member = commit_version > 0;
    let plain = format!("{group}-plain");
    let request = OffsetCommitRequest {
        group_id: if member { group } else { &plain },
        generation_id_or_member_epoch: if member { joined.generation } else { -1 },
        member_id: if member { &joined.id } else { "" },
        topics: vec![OffsetCommitRequestTopic { name, topic_id, partitions: vec![one(0), one(1)] }],
        ..OffsetCommitRequest::default()
    };
    let body = client.ask(house.now, commit_version, &request);
    let response: OffsetCommitResponse<'_> = decode(&body, commit_version);
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, code(ErrorCode::UnknownTopicOrPartition)], "version {version}");
    let group = request.group_id;
    for all in [false, true] {
        let fetch_version = at_most(version, ApiKey::OffsetFetch);
        if all && fetch_version < 2 {
            continue;
        }
        let fetched = fetch(house, client, fetch_version, group, id, all);
        assert_eq!(fetched[0], (0, 11, "note".to_owned(), 0), "version {version} all {all}");
        let more: &[_] = if all { &[] } else { &[(5, -1, String::new(), 0)] };
        assert_eq!(&fetched[1..], more, "version {version}");
    }
}

/// Partition, offset, metadata and code of what is committed for the topic `t`.
fn fetch(
    house: &House,
    client: &mut Client,
    version: i16,
    group_id: &str,
    id: [u8; 16],
    all: bool,
) -> Vec<(i32, i64, String, i16)> {
    let mut request = OffsetFetchRequest::default();
    let partition_indexes = vec![0, 5];
    if version < 8 {
        request.group_id = group_id;
        let topic = OffsetFetchRequestTopic { name: "t", partition_indexes };
        request.topics = (!all).then(|| vec![topic]);
    } else {
        let (name, topic_id) = if version < 10 { ("t", [0; 16]) } else { ("", id) };
        let topic = OffsetFetchRequestTopics { name, topic_id, partition_indexes };
        let topics = (!all).then(|| vec![topic]);
        request.groups = vec![OffsetFetchRequestGroup { group_id, topics, ..Default::default() }];
    }
    let body = client.ask(house.now, version, &request);
    let response: OffsetFetchResponse<'_> = decode(&body, version);
    let text = |metadata: Option<&str>| metadata.unwrap_or("null").to_owned();
    if version < 8 {
        assert_eq!(response.error_code, 0);
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        return partitions
            .map(|p| (p.partition_index, p.committed_offset, text(p.metadata), p.error_code))
            .collect();
    }
    assert_eq!((response.groups[0].group_id, response.groups[0].error_code), (group_id, 0));
    let partitions = response.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|p| (p.partition_index, p.committed_offset, text(p.metadata), p.error_code))
        .collect()
}

fn is_seen(house: &House, client: &mut Client, version: i16, group: &str, joined: &Joined) {
    let describe_version = at_most(version, ApiKey::DescribeGroups);
    let request = DescribeGroupsRequest {
        groups: vec![group, "nowhere"],
        include_authorized_operations: describe_version >= 3,
    };
    let body = client.ask(house.now, describe_version, &request);
    let response: DescribeGroupsResponse<'_> = decode(&body, describe_version);
    let here = &response.groups[0];
    let seen = (here.error_code, here.group_state, here.protocol_type, here.protocol_data);
    assert_eq!(seen, (0, "Stable", "consumer", "range"), "version {version}");
    let member = &here.members[0];
    assert_eq!((member.member_id, member.client_id), (&*joined.id, "me"));
    assert_eq!((member.client_host, member.member_metadata), ("/127.0.0.1", &b"me"[..]));
    assert_eq!(member.member_assignment, b"work");
    let operations = if describe_version >= 3 { 1 << 3 | 1 << 8 } else { i32::MIN };
    assert_eq!(here.authorized_operations, operations);
    let missing = if describe_version >= 6 { code(ErrorCode::GroupIdNotFound) } else { 0 };
    let nowhere = &response.groups[1];
    assert_eq!((nowhere.error_code, nowhere.group_state), (missing, "Dead"));

    let list_version = at_most(version, ApiKey::ListGroups);
    let mut cases = vec![(vec![], vec![], true)];
    if list_version >= 4 {
        cases.push((vec!["stable", "Empty"], vec![], true));
        cases.push((vec!["Empty"], vec![], false));
    }
    if list_version >= 5 {
        cases.push((vec![], vec!["Classic"], true));
        cases.push((vec![], vec!["consumer"], false));
    }
    for (states_filter, types_filter, listed) in cases {
        let request = ListGroupsRequest { states_filter, types_filter };
        let body = client.ask(house.now, list_version, &request);
        let response: ListGroupsResponse<'_> = decode(&body, list_version);
        let found = response.groups.iter().find(|one| one.group_id == group);
        assert_eq!(found.is_some(), listed, "version {version}: {request:?}");
    }
}

fn leaves(house: &House, client: &mut Client, version: i16, group: &str, joined: &Joined) {
    let leave_version = at_most(version, ApiKey::LeaveGroup);
    let gone = code(ErrorCode::UnknownMemberId);
    for expected in [0, gone] {
        let mut request = LeaveGroupRequest { group_id: group, ..LeaveGroupRequest::default() };
        if leave_version < 3 {
            request.member_id = &joined.id;
        } else {
            let member_id = &joined.id;
            request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
        }
        let body = client.ask(house.now, leave_version, &request);
        let response: LeaveGroupResponse<'_> = decode(&body, leave_version);
        let told = match leave_version {
            0..3 => response.error_code,
            _ => response.members[0].error_code,
        };
        assert_eq!(told, expected, "version {version}");
    }
    let beat = at_most(version, ApiKey::Heartbeat);
    assert_eq!(client.beat(house.now, beat, group, joined), gone);
}

#[test]
fn everybody_finds_the_coordinator() {
    let house = House::new();
    for version in 0..=6 {
        for (key_type, expected) in [
            (0, 0),
            (1, code(ErrorCode::TransactionalIdAuthorizationFailed)),
            (2, code(ErrorCode::InvalidRequest)),
        ] {
            if version == 0 && key_type != 0 {
                continue;
            }
            let mut request = FindCoordinatorRequest { key_type, ..Default::default() };
            if version < 4 {
                request.key = "g";
            } else {
                request.coordinator_keys = vec!["g", "h"];
            }
            let body = house.client(1).ask(house.now, version, &request);
            let response: FindCoordinatorResponse<'_> = decode(&body, version);
            let node = if expected == 0 { (1, "127.0.0.1", 9092) } else { (-1, "", -1) };
            if version < 4 {
                let told = (response.node_id, response.host, response.port);
                assert_eq!((response.error_code, told), (expected, node), "version {version}");
                continue;
            }
            let keys: Vec<_> = response.coordinators.iter().map(|one| one.key).collect();
            assert_eq!(keys, ["g", "h"]);
            for one in &response.coordinators {
                assert_eq!((one.error_code, (one.node_id, one.host, one.port)), (expected, node));
            }
        }
    }
}

#[test]
fn members_wait_for_one_another_and_the_leader_assigns() {
    let mut house = House::new();
    let (mut one, mut two) = (house.client(1), house.client(2));
    let first = one.join(house.now, 3, "g", "");
    assert_eq!(one.sync(house.now, 3, "g", &first).0, 0);
    // The second waits for the first to join again.
    two.say(house.now, 3, &join("g", ""));
    assert!(two.heard(3, ApiKey::JoinGroup).is_none());
    let again = code(ErrorCode::RebalanceInProgress);
    assert_eq!(one.beat(house.now, 3, "g", &first), again);
    let leader = one.join(house.now, 3, "g", &first.id);
    let body = two.hear(house.now, 3, ApiKey::JoinGroup).expect("woken by the first");
    let second = Joined::of(&body, 3);
    assert_eq!((leader.generation, second.generation), (2, 2));
    assert_eq!((leader.members.len(), second.members.len()), (2, 0));
    assert_eq!(second.leader, leader.id);
    // The second asks first, and waits for the leader.
    let request = SyncGroupRequest {
        group_id: "g",
        generation_id: 2,
        member_id: &second.id,
        ..SyncGroupRequest::default()
    };
    two.say(house.now, 3, &request);
    assert!(two.heard(3, ApiKey::SyncGroup).is_none());
    assert_eq!(one.sync(house.now, 3, "g", &leader), (0, b"work".to_vec()));
    let body = two.hear(house.now, 3, ApiKey::SyncGroup).expect("woken by the leader");
    assert_eq!(decode::<SyncGroupResponse<'_>>(&body, 3).assignment, b"work");
    // A member that is no longer heard of is replaced by nobody.
    house.pass(6_000);
    assert_eq!(one.beat(house.now, 3, "g", &leader), 0);
    house.pass(6_000);
    assert_eq!(one.beat(house.now, 3, "g", &leader), again);
    let alone = one.join(house.now, 3, "g", &leader.id);
    assert_eq!((alone.generation, alone.members.len()), (3, 1));
}

#[test]
fn who_hangs_up_while_waiting_is_not_woken_but_stays_a_member() {
    let house = House::new();
    let (mut one, mut two) = (house.client(1), house.client(2));
    let first = one.join(house.now, 3, "g", "");
    assert_eq!(one.sync(house.now, 3, "g", &first).0, 0);
    two.say(house.now, 3, &join("g", ""));
    let rung = two.rung.clone();
    two.hang_up(house.now);
    rung.store(false, Ordering::Release);
    let leader = one.join(house.now, 3, "g", &first.id);
    assert_eq!(leader.members.len(), 2);
    assert!(!rung.load(Ordering::Acquire));
}

#[test]
fn generation_members_and_offsets_survive_a_restart() {
    let house = House::new();
    let id = house.topic("t");
    let mut client = house.client(1);
    let joined = client.join(house.now, 3, "g", "");
    assert_eq!(client.sync(house.now, 3, "g", &joined).0, 0);
    commits(&house, &mut client, 7, "g", &joined, id);
    drop(client);
    let house = house.restart();
    let mut client = house.client(2);
    assert_eq!(client.beat(house.now, 3, "g", &joined), 0);
    is_seen(&house, &mut client, 5, "g", &joined);
    let kept = fetch(&house, &mut client, 8, "g", id, true);
    assert_eq!(kept, [(0, 11, "note".to_owned(), 0)]);
}

#[test]
fn what_cannot_be_is_refused() {
    let house = House::new();
    let id = house.topic("t");
    let mut client = house.client(1);
    let mut joins = |change: fn(&mut JoinGroupRequest<'_>), expected: ErrorCode| {
        let mut request = join("g", "");
        change(&mut request);
        let body = client.ask(house.now, 3, &request);
        let joined = Joined::of(&body, 3);
        assert_eq!((joined.code, joined.generation), (code(expected), -1), "{request:?}");
    };
    joins(|join| join.group_id = "", ErrorCode::InvalidGroupId);
    joins(|join| join.group_id = "a\nb", ErrorCode::InvalidGroupId);
    joins(|join| join.session_timeout_ms = 5_999, ErrorCode::InvalidSessionTimeout);
    joins(|join| join.session_timeout_ms = -1, ErrorCode::InvalidSessionTimeout);
    joins(|join| join.member_id = "stranger", ErrorCode::UnknownMemberId);
    joins(|join| join.protocols.clear(), ErrorCode::InconsistentGroupProtocol);
    joins(|join| join.protocol_type = "", ErrorCode::InconsistentGroupProtocol);
    // None of them has left a group behind.
    let body = client.ask(house.now, 5, &ListGroupsRequest::default());
    assert_eq!(decode::<ListGroupsResponse<'_>>(&body, 5).groups, []);

    let joined = client.join(house.now, 3, "g", "");
    assert_eq!(client.sync(house.now, 3, "g", &joined).0, 0);
    let unnamed = SyncGroupRequest {
        group_id: "g",
        generation_id: joined.generation,
        member_id: &joined.id,
        ..SyncGroupRequest::default()
    };
    let body = client.ask(house.now, 5, &unnamed);
    let refused = decode::<SyncGroupResponse<'_>>(&body, 5).error_code;
    assert_eq!(refused, code(ErrorCode::InconsistentGroupProtocol));

    let long = "x".repeat(4097);
    let mut commits = |version: i16, group: &str, generation: i32, metadata: &str, topic_id| {
        let partition = OffsetCommitRequestPartition {
            committed_metadata: Some(metadata),
            ..OffsetCommitRequestPartition::default()
        };
        let name = if version < 10 { "t" } else { "" };
        let partitions = vec![partition];
        let request = OffsetCommitRequest {
            group_id: group,
            generation_id_or_member_epoch: generation,
            member_id: if generation < 0 { "" } else { &joined.id },
            topics: vec![OffsetCommitRequestTopic { name, topic_id, partitions }],
            ..OffsetCommitRequest::default()
        };
        let body = client.ask(house.now, version, &request);
        let response: OffsetCommitResponse<'_> = decode(&body, version);
        let told = response.topics[0].partitions[0].error_code;
        ErrorCode::from_number(told).expect("a code that is known")
    };
    assert_eq!(commits(8, "", -1, "", [0; 16]), ErrorCode::InvalidGroupId);
    assert_eq!(commits(8, "other", 1, "", [0; 16]), ErrorCode::IllegalGeneration);
    assert_eq!(commits(9, "other", 1, "", [0; 16]), ErrorCode::GroupIdNotFound);
    assert_eq!(commits(8, "g", 7, "", [0; 16]), ErrorCode::IllegalGeneration);
    assert_eq!(commits(8, "g", -1, "", [0; 16]), ErrorCode::UnknownMemberId);
    assert_eq!(commits(8, "g", 1, &long, [0; 16]), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(commits(10, "g", 1, "", [9; 16]), ErrorCode::UnknownTopicId);
    assert_eq!(commits(10, "g", 1, "", id), ErrorCode::None);
}
