//! Random members against one group, and bytes against its decoders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

/// A group from its rows, not open yet.
pub(super) fn load(rows: &Rows, settings: Arc<GroupSettings>) -> Group {
    let mut group = Group::blank(7, settings);
    group.load_head(rows.head.as_ref().unwrap()).unwrap();
    for (page, row) in &rows.pages {
        group.load_page(*page, row.as_ref().unwrap()).unwrap();
    }
    group
}

#[derive(Clone, Debug)]
enum Op {
    Join { who: usize, anew: bool, protocols: u8, known: bool, skip: bool },
    Sync { who: usize, stale: bool },
    Beat { who: usize },
    Leave { who: usize },
    Commit { who: usize, topic: u8, partition: i32 },
    Remove { topic: u8, partition: i32 },
    Forget { topic: u8 },
    Gone { who: usize },
    Pass { ms: u64 },
    Restart,
}

const CLIENTS: usize = 6;

fn op() -> impl Strategy<Value = Op> {
    let who = 0..CLIENTS;
    let any_bool = any::<bool>;
    prop_oneof![
        8 => (who.clone(), prop::bool::weighted(0.2), 0..4u8, any_bool(), any_bool()).prop_map(
            |(who, anew, protocols, known, skip)| Op::Join { who, anew, protocols, known, skip }
        ),
        8 => (who.clone(), prop::bool::weighted(0.1))
            .prop_map(|(who, stale)| Op::Sync { who, stale }),
        4 => who.clone().prop_map(|who| Op::Beat { who }),
        1 => who.clone().prop_map(|who| Op::Leave { who }),
        3 => (who.clone(), 0..3u8, 0..200i32)
            .prop_map(|(who, topic, partition)| Op::Commit { who, topic, partition }),
        3 => (0..3u8, 0..200i32).prop_map(|(topic, partition)| Op::Remove { topic, partition }),
        1 => (0..3u8).prop_map(|topic| Op::Forget { topic }),
        1 => who.prop_map(|who| Op::Gone { who }),
        5 => prop_oneof![0..5_000u64, 0..70_000u64].prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Restart),
    ]
}

/// A client that does as it is told; odd ones have an instance id.
struct Client {
    member_id: String,
    instance_id: Option<String>,
    generation: i32,
    /// Filled for a leader: what it gives to whom.
    gives: Vec<(String, String)>,
    woken: Arc<AtomicBool>,
    waker: Waker,
    join: Option<WaitId>,
    sync: Option<WaitId>,
    /// Under which name it asked for its assignment; it may have got another id since.
    synced_as: String,
}

struct World {
    group: Group,
    /// The same group, by replay of its effects.
    shadow: Group,
    /// Its rows, by applying what changed.
    rows: BTreeMap<OffsetPage, Vec<u8>>,
    head: Vec<u8>,
    now: Now,
    clients: Vec<Client>,
    ids: usize,
    highest: i32,
    /// Generation → its leaders' names, and who was given what.
    leaders: BTreeMap<i32, String>,
    given: BTreeMap<i32, BTreeMap<String, String>>,
}

fn settings() -> Arc<GroupSettings> {
    Arc::new(GroupSettings { members_max: 4, unused_ms: u64::MAX, ..GroupSettings::default() })
}

fn client(n: usize) -> Client {
    let woken = Arc::new(AtomicBool::new(false));
    let flag = woken.clone();
    Client {
        member_id: String::new(),
        instance_id: (n % 2 == 1).then(|| format!("i{n}")),
        generation: -1,
        gives: Vec::new(),
        woken,
        waker: Waker::new(move || flag.store(true, Ordering::Relaxed)),
        join: None,
        sync: None,
        synced_as: String::new(),
    }
}

impl World {
    fn new() -> World {
        let now = Now { mono: Instant(1), wall: 1_000_000 };
        World {
            group: Group::create(7, "g", settings(), now),
            shadow: Group::blank(7, settings()),
            rows: BTreeMap::new(),
            head: Vec::new(),
            now,
            clients: (0..CLIENTS).map(client).collect(),
            ids: 0,
            highest: 0,
            leaders: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Join { who, anew, protocols, known, skip } => {
                self.join(who, anew, protocols, known, skip);
            }
            Op::Sync { who, stale } => self.sync(who, stale),
            Op::Beat { who } => {
                let client = &self.clients[who];
                let instance_id = client.instance_id.as_deref();
                let generation = client.generation;
                let _ = self.group.heartbeat(self.now, &client.member_id, instance_id, generation);
            }
            Op::Leave { who } => {
                let client = &self.clients[who];
                let instance_id = client.instance_id.as_deref();
                let leaving = LeaveMember { member_id: &client.member_id, instance_id };
                self.group.leave(self.now, &[leaving]);
            }
            Op::Commit { who, topic, partition } => self.commit(who, topic, partition),
            Op::Remove { topic, partition } => {
                let keys: Vec<_> = (partition..partition + 40).map(|p| ([topic; 16], p)).collect();
                let reads = |_: &str, _: &[u8], _: &TopicId| Some(false);
                self.group.remove_offsets(self.now, &keys, &reads).unwrap();
            }
            Op::Forget { topic } => self.group.forget_topic(self.now, &[topic; 16]),
            Op::Gone { who } => {
                let waker = self.clients[who].waker.clone();
                self.group.gone(&waker);
                self.clients[who].join = None;
                self.clients[who].sync = None;
            }
            Op::Pass { ms } => self.pass(ms),
            Op::Restart => {
                self.group = load(&self.group.image(), settings());
                self.group.opened(self.now);
                for client in &mut self.clients {
                    (client.join, client.sync) = (None, None);
                }
            }
        }
        self.after();
    }

    /// Replay, rows, wakes and invariants.
    fn after(&mut self) {
        for effect in self.group.take_effects() {
            let mut bytes = Vec::new();
            effect.encode(&mut bytes);
            let decoded = GroupEffect::decode(&bytes).unwrap();
            assert_eq!(decoded, effect);
            self.shadow.apply(&decoded);
        }
        assert_eq!(self.shadow.image(), self.group.image(), "replay gives the same");
        let changed = self.shadow.take_changed_rows();
        self.head = changed.head.unwrap_or(std::mem::take(&mut self.head));
        for (page, row) in changed.pages {
            match row {
                Some(row) => self.rows.insert(page, row),
                None => self.rows.remove(&page),
            };
        }
        let rows = Rows {
            head: Some(self.head.clone()),
            pages: self.rows.iter().map(|(page, row)| (*page, Some(row.clone()))).collect(),
            deleted: false,
        };
        assert_eq!(rows, self.group.image(), "changed rows add up");

        let group = &self.group;
        assert!(group.generation_last >= self.highest, "generations never fall");
        self.highest = group.generation_last;
        assert!(group.generation() <= group.generation_last);
        assert_eq!(group.members_len() == 0, group.leader().is_none());
        if let Some(leader) = group.leader() {
            assert!(group.members.get(leader).is_some(), "the leader is a member");
        }
        let joining = group.members.iter().filter(|m| m.joining().is_some()).count();
        assert_eq!(joining, group.members.joining());
        if group.state() != State::Completing {
            assert!(group.members.iter().all(|m| m.syncing.is_none()));
        }
        if group.state() != State::Preparing {
            assert_eq!(joining, 0);
        }
        if group.state() == State::Stable {
            assert!(group.members().eq(group.saved.members.iter()), "stable members are durable");
        }
        let sessions = group.members.iter().filter_map(|m| m.expires());
        let rounds = [group.join_due, group.sync_due].into_iter().flatten();
        let due = sessions.chain(group.pending.values().copied()).chain(rounds).min();
        assert!(group.wake_at <= due.unwrap_or(Instant::FAR), "no deadline is forgotten");

        for waker in self.group.take_wakes() {
            waker.wake();
        }
        for who in 0..CLIENTS {
            if self.clients[who].woken.swap(false, Ordering::Relaxed) {
                self.clients[who].waker.take();
                self.poll(who);
            }
        }
    }

    fn poll(&mut self, who: usize) {
        if let Some(wait) = self.clients[who].join {
            let outcome = self.group.poll_join(wait);
            self.joined(who, outcome);
        }
        if let Some(wait) = self.clients[who].sync {
            let outcome = self.group.poll_sync(wait);
            self.synced(who, outcome);
        }
    }

    fn join(&mut self, who: usize, anew: bool, protocols: u8, known: bool, skip: bool) {
        if self.clients[who].join.is_some() {
            return;
        }
        self.ids += 1;
        let new_member_id = format!("m{:04}", self.ids);
        let mut client_id = self.clients[who].member_id.clone();
        if anew {
            client_id.clear();
        }
        let lists: [&[(&str, &[u8])]; 4] = [
            &[("x", b"1"), ("y", b"2")],
            &[("y", b"1"), ("x", b"2")],
            &[("x", b"3")],
            &[("y", b"4"), ("z", b"5")],
        ];
        let client = &self.clients[who];
        let join = Join {
            member_id: &client_id,
            new_member_id: &new_member_id,
            instance_id: client.instance_id.as_deref(),
            client_id: "c",
            client_host: "h",
            session_timeout_ms: if protocols == 0 { 40_000 } else { 10_000 },
            rebalance_timeout_ms: 30_000,
            protocol_type: "t",
            protocols: lists[usize::from(protocols)],
            known_member_only: known,
            may_skip_assignment: skip,
            waker: &client.waker,
        };
        let outcome = self.group.join(self.now, join);
        if outcome == Outcome::Refused(GroupError::MemberIdRequired) {
            self.clients[who].member_id = new_member_id;
        }
        self.joined(who, outcome);
    }

    fn joined(&mut self, who: usize, outcome: JoinOutcome) {
        let client = &mut self.clients[who];
        client.join = None;
        match outcome {
            Outcome::Wait(wait) => client.join = Some(wait),
            Outcome::Refused(GroupError::UnknownMember | GroupError::FencedInstance) => {
                client.member_id.clear();
            }
            Outcome::Refused(_) => {}
            Outcome::Done(reply) => {
                client.member_id = reply.member_id.to_string();
                client.generation = reply.generation;
                let name = |id: &Text, instance: &Option<Text>| {
                    instance.as_ref().unwrap_or(id).to_string()
                };
                let gives = reply.members.iter().map(|member| {
                    let name = name(&member.id, &member.instance_id);
                    (member.id.to_string(), format!("{}:{name}", reply.generation))
                });
                client.gives = if reply.skip_assignment { Vec::new() } else { gives.collect() };
                if reply.members.is_empty() {
                    return;
                }
                assert_eq!(reply.leader, reply.member_id);
                let own = client.instance_id.clone().unwrap_or(client.member_id.clone());
                let leader = self.leaders.entry(reply.generation).or_insert(own.clone());
                assert_eq!(*leader, own, "one leader in a generation");
            }
        }
    }

    fn sync(&mut self, who: usize, stale: bool) {
        if self.clients[who].sync.is_some() {
            return;
        }
        let client = &self.clients[who];
        let gives: Vec<_> =
            client.gives.iter().map(|(id, bytes)| (id.as_str(), bytes.as_bytes())).collect();
        let before = self.group.state();
        let sync = Sync {
            member_id: &client.member_id,
            instance_id: client.instance_id.as_deref(),
            generation: client.generation - i32::from(stale),
            protocol_type: None,
            protocol: None,
            assignments: &gives,
            waker: &client.waker,
        };
        let outcome = self.group.sync(self.now, sync);
        if before == State::Completing && self.group.state() == State::Stable {
            let values = client
                .gives
                .iter()
                .map(|(_, value)| (value.split_once(':').unwrap().1.to_owned(), value.clone()));
            self.given.insert(client.generation, values.collect());
        }
        let client = &mut self.clients[who];
        client.synced_as = client.instance_id.as_ref().unwrap_or(&client.member_id).clone();
        self.synced(who, outcome);
    }

    fn synced(&mut self, who: usize, outcome: SyncOutcome) {
        let client = &mut self.clients[who];
        client.sync = None;
        match outcome {
            Outcome::Wait(wait) => client.sync = Some(wait),
            Outcome::Refused(_) => {}
            Outcome::Done(reply) => {
                let own = &client.synced_as;
                let generation = self.group.generation();
                let given = self.given.get(&generation).expect("a leader has spoken");
                let expected = given.get(own).cloned().unwrap_or_default();
                assert_eq!(reply.assignment, expected.as_bytes(), "what the leader gave");
            }
        }
    }

    fn commit(&mut self, who: usize, topic: u8, partition: i32) {
        let client = &self.clients[who];
        let offsets = [OffsetCommit {
            topic: [topic; 16],
            partition,
            offset: i64::from(partition) * 3,
            leader_epoch: 1,
            metadata: "m",
            expire_ms: None,
        }];
        let commit = Commit {
            member_id: &client.member_id,
            instance_id: client.instance_id.as_deref(),
            generation: client.generation,
            offsets: &offsets,
        };
        let _ = self.group.commit(self.now, commit);
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now.mono + std::time::Duration::from_millis(ms);
        let mut turns = 0;
        while let Some(due) = self.group.tick(self.now).filter(|due| *due <= end) {
            assert!(due > self.now.mono, "a tick leaves nothing due");
            self.go_to(due);
            turns += 1;
            assert!(turns < 1_000, "deadlines move on");
        }
        self.go_to(end);
        self.group.tick(self.now);
    }

    fn go_to(&mut self, mono: Instant) {
        self.now.wall += i64::try_from(mono.since(self.now.mono).as_millis()).unwrap();
        self.now.mono = mono;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn members_at_random_keep_every_promise(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        world.after();
        for op in &ops {
            world.run(op);
        }
        // Nobody does anything any more: every round ends, everybody is answered.
        for _ in 0..20 {
            world.run(&Op::Pass { ms: 60_000 });
        }
        prop_assert_eq!(world.group.waiting(), 0);
        prop_assert_eq!(world.group.state(), State::Empty);
        for client in &world.clients {
            prop_assert!(client.join.is_none() && client.sync.is_none(), "woken and answered");
        }
    }

    #[test]
    fn damaged_effects_are_refused_or_read(
        at in 0..400usize,
        bits in 1..=255u8,
        cut in 0..400usize,
    ) {
        for effect in samples() {
            let mut bytes = Vec::new();
            effect.encode(&mut bytes);
            let len = bytes.len();
            prop_assert!(GroupEffect::decode(&bytes[..cut % len]).is_err());
            bytes[at % len] ^= bits;
            if let Ok(GroupEffect::Members(membership)) = GroupEffect::decode(&bytes) {
                let mut group = Group::blank(7, settings());
                group.apply(&GroupEffect::Members(membership));
                group.opened(Now::default());
            }
        }
    }

    #[test]
    fn damaged_rows_are_refused_or_read(at in 0..400usize, bits in 1..=255u8, cut in 0..400usize) {
        let mut group = Group::blank(7, settings());
        samples().iter().filter(|e| **e != GroupEffect::Deleted).for_each(|e| group.apply(e));
        group.apply(&samples()[3]);
        let rows = group.image();
        let (mut head, page) = (rows.head.unwrap(), &rows.pages[0]);
        let mut row = page.1.clone().unwrap();
        let (head_cut, row_cut) = (cut % head.len(), cut % row.len());
        prop_assert!(Group::blank(7, settings()).load_head(&head[..head_cut]).is_err());
        prop_assert!(Group::blank(7, settings()).load_page(page.0, &row[..row_cut]).is_err());
        let (head_at, row_at) = (at % head.len(), at % row.len());
        head[head_at] ^= bits;
        row[row_at] ^= bits;
        let mut group = Group::blank(7, settings());
        let _ = (group.load_head(&head), group.load_page(page.0, &row));
        group.opened(Now::default());
        group.image();
    }
}

fn samples() -> Vec<GroupEffect> {
    let member = |id: &str, instance: Option<&str>| MemberRecord {
        id: id.into(),
        instance_id: instance.map(Text::from),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocols: [Protocol { name: "range".into(), metadata: "meta".into() }].into(),
        assignment: "part".into(),
    };
    let membership = Membership {
        generation: 3,
        since_ms: 1_000,
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        leader: Some("a".into()),
        members: vec![member("a", None), member("b", Some("B"))],
    };
    let committed = Committed {
        offset: 42,
        leader_epoch: 5,
        commit_ms: 2_000,
        expire_ms: Some(9_000),
        metadata: "note".into(),
    };
    let entry = |partition| OffsetEntry { topic: [9; 16], partition, committed: committed.clone() };
    vec![
        GroupEffect::Created { name: "g".into(), created_ms: 1 },
        GroupEffect::Members(Arc::new(membership)),
        GroupEffect::Generation(4),
        GroupEffect::Offsets(vec![entry(0), entry(70)]),
        GroupEffect::OffsetsRemoved(vec![([9; 16], 70)]),
        GroupEffect::TopicForgotten([9; 16]),
        GroupEffect::Deleted,
    ]
}

#[test]
fn encodings_are_frozen() {
    let check = |what: &str, bytes: &[u8], expected: &str| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{what}");
    };
    let expected = [
        "010101000000670100000000000000",
        "\
         010203000000e8030000000000000108000000636f6e73756d6572010500000072616e6765010100\
         0000610200000001000000610006000000636c69656e740a0000002f3132372e302e302e31c8af00\
         00e0930400010000000500000072616e6765040000006d6574610400000070617274010000006201\
         010000004206000000636c69656e740a0000002f3132372e302e302e31c8af0000e0930400010000\
         000500000072616e6765040000006d6574610400000070617274\
        ",
        "010304000000",
        "\
         01040200000009090909090909090909090909090909000000002a0000000000000005000000d007\
         000000000000012823000000000000040000006e6f74650909090909090909090909090909090946\
         0000002a0000000000000005000000d007000000000000012823000000000000040000006e6f7465\
        ",
        "0105010000000909090909090909090909090909090946000000",
        "010609090909090909090909090909090909",
        "0107",
    ];
    for (effect, expected) in samples().iter().zip(expected) {
        let mut bytes = Vec::new();
        effect.encode(&mut bytes);
        check(&format!("{effect:?}"), &bytes, expected);
    }
    let mut group = Group::blank(7, settings());
    samples()[..4].iter().for_each(|effect| group.apply(effect));
    let rows = group.image();
    let head = "\
         01010000006701000000000000000400000003000000e8030000000000000108000000636f6e7375\
         6d6572010500000072616e67650101000000610200000001000000610006000000636c69656e740a\
         0000002f3132372e302e302e31c8af0000e0930400010000000500000072616e6765040000006d65\
         74610400000070617274010000006201010000004206000000636c69656e740a0000002f3132372e\
         302e302e31c8af0000e0930400010000000500000072616e6765040000006d657461040000007061\
         7274\
        ";
    check("head", &rows.head.unwrap(), head);
    let page = "\
         010909090909090909090909090909090901000000000000002a0000000000000005000000d00700\
         0000000000012823000000000000040000006e6f7465\
        ";
    check("page", rows.pages[0].1.as_ref().unwrap(), page);
}

#[test]
fn offsets_share_a_row_with_their_neighbours_and_free_it() {
    let mut group = Group::create(7, "g", settings(), Now::default());
    let commit = |group: &mut Group, topic: u8, partition| {
        let offsets = [OffsetCommit {
            topic: [topic; 16],
            partition,
            offset: 1,
            leader_epoch: -1,
            metadata: "",
            expire_ms: None,
        }];
        let commit = Commit { member_id: "", instance_id: None, generation: -1, offsets: &offsets };
        group.commit(Now::default(), commit).unwrap().remove(0).unwrap();
    };
    let changed = |group: &mut Group| -> Vec<(u32, u32, bool)> {
        let pages = group.take_changed_rows().pages;
        pages.iter().map(|(page, row)| (page.slot, page.page, row.is_some())).collect()
    };
    commit(&mut group, 1, 0);
    commit(&mut group, 1, 63);
    commit(&mut group, 1, 64);
    commit(&mut group, 2, 0);
    assert_eq!(changed(&mut group), [(0, 0, true), (0, 1, true), (1, 0, true)]);
    assert_eq!(changed(&mut group), []);
    commit(&mut group, 1, i32::MAX);
    assert_eq!(changed(&mut group), [(0, (1 << 25) - 1, true)]);
    group.forget_topic(Now::default(), &[1; 16]);
    commit(&mut group, 3, 5);
    // The slot is given again: one page has a new owner, the others go.
    assert_eq!(changed(&mut group), [(0, 0, true), (0, 1, false), (0, (1 << 25) - 1, false)]);
    assert!(group.offset(&[1; 16], 0).is_none());
    assert_eq!(group.offset(&[3; 16], 5).map(|committed| committed.offset), Some(1));
}
