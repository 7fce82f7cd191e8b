//! Namespaces over a broker on a disk in memory: names, restarts, what they keep apart, quotas.

use std::time::Duration;

use sabir_storage::disk::sim::{Handle, SimDisk};

use super::*;
use crate::clock::Instant;
use crate::declare::Declare;
use crate::group::Commit;
use crate::policy::Identity;
use crate::random::Seeded;
use crate::topic::Topic;

struct House {
    disk: Arc<SimDisk>,
    admin: Caller,
}

fn open(disk: Arc<SimDisk>) -> House {
    let handle = Arc::new(Handle(disk.clone()));
    let broker = Broker::on_disk(handle, Default::default(), &mut Seeded(1), None).unwrap();
    House { disk, admin: Caller::new(broker, Identity::anonymous(), DEFAULT) }
}

impl House {
    fn new() -> House {
        open(SimDisk::new())
    }

    fn again(self) -> House {
        self.admin.broker.close();
        open(self.disk)
    }

    fn make(&self, name: &str) -> Result<NamespaceId, Error> {
        let made = self.admin.declare_namespace(at(5), name, Quota::default());
        made.map(|(namespace, ticket)| {
            assert_eq!(self.admin.catalog_ticket(), ticket, "what tells of it rests on it");
            namespace.id
        })
    }

    fn caller(&self, id: NamespaceId) -> Caller {
        Caller::new(self.admin.broker.clone(), Identity::anonymous(), id)
    }

    fn limit(&self, name: &str, quota: Quota) {
        let set = |known: &mut Quota| {
            *known = quota;
            Ok(())
        };
        self.admin.alter_quota(name, set).expect("changed");
    }

    fn names(&self) -> Vec<(NamespaceId, String)> {
        let all = self.admin.namespaces();
        all.iter().map(|one| (one.id, one.name.to_string())).collect()
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Instant(ms * 1_000_000), wall: ms as WallMs }
}

fn declare(caller: &Caller, name: &str, partitions: u32) -> Result<Arc<Topic>, Error> {
    let declare = Declare { name: name.into(), partitions, ..Declare::default() };
    let sum: u64 = name.bytes().map(u64::from).sum();
    let mut random = Seeded(u64::from(caller.namespace()) << 32 | sum);
    caller.declare(at(1), &mut random, declare).map(|(topic, _)| topic)
}

/// Makes a group of that name.
fn commit(caller: &Caller, group: &str) -> Result<(), Error> {
    let commit = Commit { member_id: "", instance_id: None, generation: -1, offsets: &[] };
    loop {
        match caller.commit_offsets(at(1), group, commit) {
            Err(Error { kind: Kind::Throttled, .. }) => std::thread::yield_now(),
            done => return done.map(drop),
        }
    }
}

fn kind<T>(outcome: Result<T, Error>) -> Option<Kind> {
    outcome.err().map(|error| error.kind)
}

fn all(numbered: &[(NamespaceId, &str)]) -> Vec<(NamespaceId, String)> {
    numbered.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

#[test]
fn names_follow_the_rules_and_the_default_has_two() {
    let house = House::new();
    let check = |name: &str, refused| assert_eq!(kind(house.make(name)), refused, "{name:?}");
    check("orders", None);
    check("Bestellungen/ü 1", None);
    check(&"x".repeat(255), None);
    check("orders", Some(Kind::Exists));
    check("default", Some(Kind::Exists));
    check("/", Some(Kind::Exists));
    check("", Some(Kind::Invalid));
    check(&"x".repeat(256), Some(Kind::Invalid));
    check("a\nb", Some(Kind::Invalid));
    check("sabir.a", Some(Kind::Invalid));
    check("amq.a", Some(Kind::Invalid));
    let id = |name| house.admin.find_namespace(name).map(|one| one.id).ok();
    assert_eq!(
        (id("/"), id("default"), id("orders"), id("none")),
        (Some(0), Some(0), Some(1), None)
    );
}

#[test]
fn a_row_reads_back_and_its_bytes_stay() {
    let quota = Quota { bytes_in: Some(9), connections: Some(3), ..Quota::default() };
    let row = NamespaceRow { id: 5, name: "ab".into(), created_ms: 7, quota };
    let bytes = row.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = "01 05000000 02000000 6162 0700000000000000 \
                  02 00 0900000000000000 05 0300000000000000";
    assert_eq!(hex, golden.replace(' ', ""));
    assert_eq!(NamespaceRow::decode(&bytes), Ok(row.clone()));
    for len in 0..bytes.len() {
        assert!(NamespaceRow::decode(&bytes[..len]).is_err(), "cut at {len}");
    }
    for (id, name) in [(0, "ab"), (5, "default"), (5, "/"), (5, "")] {
        let wrong = NamespaceRow { id, name: name.into(), ..row.clone() };
        assert!(NamespaceRow::decode(&wrong.encode()).is_err(), "{id} {name:?}");
    }
}

#[test]
fn namespaces_and_quotas_outlive_restarts_and_numbers_are_not_reused() {
    for checkpoint in [false, true] {
        let store = |house: &House| {
            if checkpoint {
                house.admin.broker.keeper().checkpoint_now().expect("stored");
            }
        };
        let house = House::new();
        assert_eq!([house.make("a"), house.make("b"), house.make("c")], [Ok(1), Ok(2), Ok(3)]);
        let quota = Quota { topics: Some(7), requests: Some(10), ..Quota::default() };
        house.limit("b", quota);
        house.limit("/", Quota { topics: Some(1), ..Quota::default() });
        store(&house);
        house.admin.delete_namespace("c").expect("empty");
        let house = house.again();
        assert_eq!(house.names(), all(&[(1, "a"), (2, "b"), (0, "default")]));
        let known = house.admin.find_namespace("b").expect("there");
        assert_eq!((known.quota, known.created_ms), (quota, 5));
        assert_eq!(house.admin.find_namespace("default").expect("there").quota.topics, Some(1));
        store(&house);
        let house = house.again();
        assert_eq!(house.make("c"), Ok(4), "with a checkpoint: {checkpoint}");
        store(&house);
        house.admin.delete_namespace("a").expect("empty");
        let house = house.again();
        assert_eq!(house.names(), all(&[(2, "b"), (4, "c"), (0, "default")]));
        // What was read back is enforced.
        let caller = house.caller(2);
        (0..10).for_each(|_| caller.request(at(0)));
        assert_eq!(caller.hold(at(0)), Duration::ZERO);
        caller.request(at(0));
        assert_eq!(caller.hold(at(0)).as_millis(), 100);
    }
}

#[test]
fn equal_names_in_two_namespaces_are_two_things() {
    let house = House::new();
    let other = house.make("other").expect("new");
    let (here, there) = (house.caller(DEFAULT), house.caller(other));
    let mine = declare(&here, "t", 1).expect("new");
    assert!(there.topic("t").is_none());
    assert!(there.topic_by_uuid(&mine.uuid).is_none());
    assert!(!there.any_topic(""));
    let theirs = declare(&there, "t", 2).expect("another one");
    assert_ne!((theirs.uuid, theirs.id), (mine.uuid, mine.id));
    commit(&here, "g").expect("made");
    assert_eq!(there.list_groups(at(2)).value, []);
    assert!(there.describe_group(at(2), "g").expect("allowed").is_none());
    assert_eq!(kind(there.delete_group(at(2), "g")), Some(Kind::NotFound));
    commit(&there, "g").expect("made");
    there.delete_group(at(3), "g").expect("allowed").value.expect("empty");
    assert_eq!(here.list_groups(at(4)).value.len(), 1);
    here.delete(&mine).expect("deleted");
    let house = house.again();
    assert!(house.caller(DEFAULT).topic("t").is_none());
    assert_eq!(house.caller(other).topic("t").expect("still there").uuid, theirs.uuid);
    let usage = house.admin.usage(&house.admin.find_namespace("other").expect("there"));
    assert_eq!(usage, Usage { topics: 1, partitions: 2, groups: 0 });
}

#[test]
fn only_an_empty_namespace_is_deleted_and_nothing_is_made_in_it_afterwards() {
    let house = House::new();
    let caller = house.caller(house.make("a").expect("new"));
    let delete = || house.admin.delete_namespace("a");
    let topic = declare(&caller, "t", 1).expect("new");
    let refused = delete().expect_err("a topic is in it");
    let want = "the namespace \"a\" still has 1 topics and 0 groups: delete them first";
    assert_eq!((refused.kind, &*refused.message), (Kind::Conflict, want));
    commit(&caller, "g").expect("made");
    caller.delete(&topic).expect("deleted");
    assert_eq!(kind(delete()), Some(Kind::Conflict));
    caller.delete_group(at(2), "g").expect("allowed").value.expect("empty");
    let ticket = delete().expect("empty");
    assert_eq!(house.admin.catalog_ticket(), ticket, "what tells of it rests on it");
    assert_eq!(kind(delete()), Some(Kind::NotFound));
    assert_eq!(kind(house.admin.delete_namespace("/")), Some(Kind::Invalid));
    assert_eq!(kind(declare(&caller, "t", 1)), Some(Kind::NotFound));
    assert_eq!(kind(commit(&caller, "g")), Some(Kind::NotFound));
    assert_eq!(kind(house.caller(caller.namespace()).sit_down()), Some(Kind::NotFound));
    // The name is free again, for another namespace.
    assert_eq!(house.make("a"), Ok(2));
    assert_eq!(house.again().names(), all(&[(2, "a"), (0, "default")]));
}

#[test]
fn caps_hold_in_their_namespace_only() {
    let house = House::new();
    let id = house.make("a").expect("new");
    let most =
        Quota { topics: Some(2), partitions: Some(5), connections: Some(1), ..Quota::default() };
    house.limit("a", most);
    let (caller, free) = (house.caller(id), house.caller(DEFAULT));
    let topic = declare(&caller, "t", 3).expect("within");
    assert_eq!(kind(declare(&caller, "u", 3)), Some(Kind::TooLarge));
    declare(&caller, "u", 1).expect("within");
    let refused = declare(&caller, "v", 1).err().expect("a third one");
    assert_eq!(refused.message, "the quota of the namespace allows 2 topics");
    assert_eq!(kind(caller.add_partitions(&topic, 5)), Some(Kind::TooLarge));
    caller.add_partitions(&topic, 4).expect("within");
    for name in ["x", "y", "z"] {
        declare(&free, name, 9).expect("no quota there");
    }
    // Less than there is: what is there stays, and nothing comes.
    house.limit("a", Quota { topics: Some(0), ..most });
    assert_eq!(kind(declare(&caller, "v", 1)), Some(Kind::TooLarge));
    assert_eq!(caller.topics().len(), 2);

    let (mut first, mut second) = (house.caller(id), house.caller(id));
    first.sit_down().expect("a seat");
    assert_eq!(kind(second.sit_down()), Some(Kind::Full));
    drop(first);
    second.sit_down().expect("it is free again");
    house.caller(DEFAULT).sit_down().expect("no quota there");
}

#[test]
fn rates_hold_all_callers_of_a_namespace_back_and_nobody_else() {
    let house = House::new();
    let id = house.make("a").expect("new");
    let (one, two, free) = (house.caller(id), house.caller(id), house.caller(DEFAULT));
    let hold = |caller: &Caller, ms| caller.hold(at(ms)).as_millis();
    one.hand_out(at(0), 1 << 30);
    assert_eq!(hold(&one, 0), 0, "there is no quota yet");
    // Live callers keep to a quota that comes later.
    house.limit("a", Quota { bytes_out: Some(1000), ..Quota::default() });
    one.hand_out(at(0), 1500);
    assert_eq!([hold(&one, 0), hold(&two, 0)], [500, 0], "only who has caused it waits");
    two.hand_out(at(0), 500);
    assert_eq!([hold(&one, 0), hold(&two, 0)], [500, 1000]);
    assert_eq!([hold(&one, 400), hold(&one, 500), hold(&two, 999)], [100, 0, 1]);
    two.request(at(0));
    assert_eq!(hold(&two, 0), 1000, "requests are free");
    free.hand_out(at(0), 1 << 30);
    assert_eq!(hold(&free, 0), 0);
    house.limit("a", Quota::default());
    one.hand_out(at(600), 1 << 30);
    assert_eq!(hold(&one, 600), 0);
}
