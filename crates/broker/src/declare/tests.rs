//! Declaring, altering, growing and deleting, over a disk in memory and across a restart.

use sabir_storage::disk::sim::{Handle, SimDisk};
use sabir_storage::ticket::Class;

use super::*;
use crate::policy::Identity;
use crate::random::Seeded;

struct House {
    disk: Arc<SimDisk>,
    caller: Caller,
}

fn open(disk: Arc<SimDisk>) -> House {
    let handle = Arc::new(Handle(disk.clone()));
    let broker = Broker::on_disk(handle, Default::default(), &mut Seeded(1), None).unwrap();
    House { disk, caller: Caller::new(broker, Identity::anonymous(), 0) }
}

impl House {
    fn declare(&self, name: &str, partitions: u32) -> Result<Arc<Topic>, Error> {
        let declare = Declare { name: name.into(), partitions, ..Declare::default() };
        let random = &mut Seeded(name.bytes().map(u64::from).sum());
        self.caller.declare(Now::default(), random, declare).map(|(topic, _)| topic)
    }

    fn row(&self, name: &str) -> Row {
        Row::of(&self.caller.topic(name).expect("declared"))
    }

    fn again(self) -> House {
        self.caller.broker.close();
        open(self.disk)
    }

    fn classes(&self, topic: &Topic) -> Vec<Class> {
        let class = |at: &crate::topic::Partition| {
            self.caller.broker.core.lock(at.shard).logs[&at.log].class
        };
        topic.partitions.iter().map(class).collect()
    }
}

fn kind<T>(outcome: Result<T, Error>) -> Option<Kind> {
    outcome.err().map(|error| error.kind)
}

#[test]
fn what_was_altered_and_added_is_there_after_a_restart() {
    let house = open(SimDisk::new());
    let topic = house.declare("a", 2).unwrap();
    house.declare("b", 1).unwrap();
    let policy = Policy { durability: Some(Class::Os), ..Policy::default() };
    let labels = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
    let altered = house.caller.alter(&topic, policy.clone(), labels.clone()).unwrap();
    assert_eq!(house.caller.catalog_ticket(), altered);
    let topic = house.caller.topic("a").unwrap();
    let grown = house.caller.add_partitions(&topic, 5).unwrap();
    assert_eq!(house.caller.catalog_ticket(), grown);
    let topic = house.caller.topic("a").unwrap();
    assert_eq!(house.classes(&topic), [Class::Os; 5]);
    let shards: Vec<_> = topic.partitions.iter().map(|at| at.shard).collect();
    assert!(shards.windows(2).all(|two| two[0] != two[1]), "{shards:?}");
    let before = house.row("a");
    assert_eq!((before.policy.clone(), before.labels.clone()), (policy, labels));
    let house = house.again();
    assert_eq!(house.row("a"), before);
    assert_eq!(house.classes(&house.caller.topic("a").unwrap()), [Class::Os; 5]);
    let mut logs: Vec<_> = before.partitions.iter().map(|at| at.0).collect();
    let next = house.declare("c", 1).unwrap();
    logs.extend([next.id, next.partitions[0].log, house.row("b").partitions[0].0]);
    let count = logs.len();
    logs.sort_unstable();
    logs.dedup();
    assert_eq!(logs.len(), count, "a number was given out twice");
}

#[test]
fn changes_are_refused_for_what_is_wrong_with_them() {
    let house = open(SimDisk::new());
    let caller = &house.caller;
    let topic = house.declare("a", 2).unwrap();
    assert_eq!(kind(house.declare("a", 1)), Some(Kind::Exists));
    assert_eq!(kind(house.declare("", 1)), Some(Kind::Invalid));
    assert_eq!(kind(house.declare("b", 0)), Some(Kind::Invalid));
    assert_eq!(kind(house.declare("b", PARTITIONS_MAX + 1)), Some(Kind::Invalid));
    assert_eq!(kind(caller.add_partitions(&topic, 2)), Some(Kind::Invalid));
    assert_eq!(kind(caller.add_partitions(&topic, PARTITIONS_MAX + 1)), Some(Kind::Invalid));
    caller.add_partitions(&topic, 3).unwrap();
    assert_eq!(kind(caller.add_partitions(&topic, 4)), Some(Kind::Conflict));
    assert_eq!(kind(caller.alter(&topic, Policy::default(), [].into())), Some(Kind::Conflict));
    // An old view of the topic still deletes all of it.
    let grown = caller.topic("a").unwrap();
    caller.delete(&topic).unwrap();
    assert_eq!(kind(caller.add_partitions(&grown, 4)), Some(Kind::NotFound));
    assert_eq!(kind(caller.delete(&topic)), Some(Kind::NotFound));
    assert!(grown.partitions.iter().all(|at| at.view.is_gone()));
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let house = open(SimDisk::new());
    let topic = house.declare("a", 1).unwrap();
    let before = house.caller.catalog_ticket();
    let same = house.caller.alter(&topic, Policy::default(), BTreeMap::new()).unwrap();
    assert_eq!(same, before);
    assert!(Arc::ptr_eq(&house.caller.topic("a").unwrap(), &topic));
}

#[test]
fn prefixes_are_found_in_their_namespace() {
    let house = open(SimDisk::new());
    house.declare("ab.c", 1).unwrap();
    let check = |prefix: &str, any| assert_eq!(house.caller.any_topic(prefix), any, "{prefix:?}");
    check("", true);
    check("ab", true);
    check("ab.c", true);
    check("ab.cd", false);
    check("b", false);
    check("aa", false);
    check("ab_", false);
}
