//! A data directory with namespaces, which came after the one in `level-1.txt`: two in rows of a
//! checkpoint, one of them deleted and one changed behind it, and one made there.
//!
//! Built with `SABIR_GOLDEN_NAMESPACES_OUT=FILE` the second test also writes such a directory.

use std::sync::Arc;

use sabir_broker::caller::Caller;
use sabir_broker::namespace::Usage;
use sabir_broker::quota::Quota;
use sabir_broker::topic::Policy;
use sabir_storage::disk::sim::{Cut, SimDisk};

use super::content::{NOW, declare, enter, kept, open};
use super::{look, text};

const GOLDEN: &str = include_str!("namespaces.txt");

fn make(caller: &Caller, name: &str, quota: Quota) {
    kept(caller, caller.declare_namespace(NOW, name, quota).expect("a new one").1);
}

fn limit(caller: &Caller, name: &str, field: &str, value: Option<u64>) {
    let changed = caller.alter_quota(name, |quota| quota.set(field, value));
    kept(caller, changed.expect("it is there").1);
}

fn build() -> Arc<SimDisk> {
    let disk = SimDisk::new();
    let caller = open(&disk);
    make(&caller, "orders", Quota { bytes_in: Some(1000), ..Quota::default() });
    make(&caller, "gone", Quota::default());
    limit(&caller, "default", "connections", Some(7));
    declare(&enter(&caller, "orders"), "t", 2, Policy::default());
    caller.broker().keeper().checkpoint_now().expect("stored");
    limit(&caller, "orders", "requests", Some(5));
    kept(&caller, caller.delete_namespace("gone").expect("empty"));
    make(&caller, "late", Quota::default());
    declare(&enter(&caller, "late"), "u", 1, Policy::default());
    caller.broker().close();
    disk.cut(Cut::Kept, || 0);
    disk
}

fn check(disk: &Arc<SimDisk>) {
    let caller = open(disk);
    let all = caller.namespaces();
    let known: Vec<_> = all.iter().map(|one| (one.id, &*one.name, one.created_ms)).collect();
    assert_eq!(known, [(0, "default", 0), (3, "late", NOW.wall), (1, "orders", NOW.wall)]);
    let quota = |name: &str| caller.find_namespace(name).expect("there").quota;
    let orders = Quota { bytes_in: Some(1000), requests: Some(5), ..Quota::default() };
    assert_eq!(quota("orders"), orders);
    assert_eq!(quota("/"), Quota { connections: Some(7), ..Quota::default() });
    let usage = |at: usize| caller.usage(&all[at]);
    assert_eq!(usage(2), Usage { topics: 1, partitions: 2, groups: 0 });
    assert_eq!(usage(1), Usage { topics: 1, partitions: 1, groups: 0 });
    assert_eq!(usage(0), Usage::default());
    let next = caller.declare_namespace(NOW, "gone", Quota::default()).expect("a free name").0;
    assert_eq!(next.id, 4, "numbers are not used again");
    caller.broker().close();
}

#[test]
fn namespaces_that_were_written_once_are_read_for_ever() {
    let disk = text::expand(GOLDEN);
    let report = look(&disk);
    assert!(report.is_intact(), "{:?}", report.damages);
    let facts: Vec<&str> =
        report.files.iter().flat_map(|file| file.facts.iter().map(|(name, _)| *name)).collect();
    for name in ["namespace", "namespace gone"] {
        assert!(facts.contains(&name), "{name} in {facts:?}");
    }
    check(&disk);
}

#[test]
fn namespaces_that_are_written_now_are_read() {
    let disk = build();
    let report = look(&disk);
    assert!(report.is_intact(), "{:?}", report.damages);
    let written = text::shorten(&disk);
    if let Some(path) = option_env!("SABIR_GOLDEN_NAMESPACES_OUT") {
        std::fs::write(path, &written).expect("written");
    }
    check(&text::expand(&written));
}
