//! Groups over a whole broker on a simulated disk: restarts, names, rows, deadlines.
#![allow(clippy::disallowed_methods, reason = "the threads of the WAL run on real time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sabir_storage::disk::sim::{Handle, SimDisk};
use sabir_storage::state::Changes;

use super::*;
use crate::broker::Settings;
use crate::caller::Caller;
use crate::clock::WallMs;
use crate::declare::Declare;
use crate::group::OffsetCommit;
use crate::policy::Identity;
use crate::random::Seeded;
use crate::topic::Topic;

const SESSION: Duration = Duration::from_secs(10);

fn at(ms: u64) -> Now {
    Now { mono: Instant(ms * 1_000_000), wall: 1_000_000 + ms as WallMs }
}

fn open(disk: &Arc<SimDisk>) -> Caller {
    let mut settings = Settings::default();
    settings.groups.initial_delay_ms = 0;
    let disk = Arc::new(Handle(disk.clone()));
    let broker = Broker::on_disk(disk, settings, &mut Seeded(7), None).expect("opens");
    Caller::new(broker, Identity::anonymous(), 0)
}

fn kept(caller: &Caller, ticket: Ticket) {
    for _ in 0..5000 {
        if caller.is_kept(ticket) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{ticket:?} is never kept");
}

fn topic(caller: &Caller, name: &str) -> Arc<Topic> {
    let declare = Declare { name: name.to_owned(), partitions: 3, ..Declare::default() };
    let made = caller.declare(at(0), &mut Seeded(name.len() as u64), declare);
    let (topic, ticket) = made.expect("declared");
    kept(caller, ticket);
    topic
}

fn joining<'a>(id: &'a str, new_id: &'a str, waker: &'a Waker) -> Join<'a> {
    Join {
        member_id: id,
        new_member_id: new_id,
        instance_id: None,
        client_id: "c",
        client_host: "/h",
        session_timeout_ms: SESSION.as_millis() as u32,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer",
        protocols: &[("range", b"meta")],
        known_member_only: false,
        may_skip_assignment: false,
        waker,
    }
}

/// Repeats what is throttled, as a protocol does.
fn again<T>(caller: &Caller, mut act: impl FnMut() -> Result<T, Error>) -> T {
    for _ in 0..1000 {
        match act() {
            Ok(value) => return value,
            Err(error) => kept(caller, error.wait.expect("throttled")),
        }
    }
    panic!("throttled for ever");
}

/// Joins as the only member and takes its assignment; returns the generation.
fn become_member(caller: &Caller, now: Now, group: &str, id: &str) -> i32 {
    let me = Waker::none();
    let joined = again(caller, || caller.join(now, group, joining("", id, &me)));
    let Asked::Done(reply) = joined.value else { panic!("{joined:?}") };
    let sync = Sync {
        member_id: id,
        instance_id: None,
        generation: reply.generation,
        protocol_type: None,
        protocol: None,
        assignments: &[(id, b"all")],
        waker: &me,
    };
    let synced = again(caller, || caller.sync(now, group, sync));
    let Asked::Done(assignment) = synced.value else { panic!("{synced:?}") };
    assert_eq!(&assignment.assignment[..], b"all");
    kept(caller, synced.ticket);
    reply.generation
}

fn commit(caller: &Caller, now: Now, group: &str, member: (&str, i32), offsets: &[(TopicId, i64)]) {
    let offsets: Vec<_> = offsets
        .iter()
        .map(|(topic, offset)| OffsetCommit {
            topic: *topic,
            partition: 1,
            offset: *offset,
            leader_epoch: 4,
            metadata: "m",
            expire_ms: None,
        })
        .collect();
    let (member_id, generation) = member;
    let commit = Commit { member_id, instance_id: None, generation, offsets: &offsets };
    let answer = again(caller, || caller.commit_offsets(now, group, commit));
    assert_eq!(answer.value, Ok(vec![Ok(()); offsets.len()]));
    kept(caller, answer.ticket);
}

fn offsets(caller: &Caller, now: Now, group: &str) -> Vec<(TopicId, i64)> {
    let answer = caller.committed_offsets(now, group, None).expect("allowed");
    answer.value.iter().map(|(topic, _, committed)| (*topic, committed.offset)).collect()
}

#[test]
fn members_generation_and_offsets_survive_a_restart() {
    // A checkpoint before each of the steps that are named.
    for checkpoints in ["", "commit", "end", "commit end"] {
        check_restart(checkpoints);
    }
}

fn check_restart(checkpoints: &str) {
    let disk = SimDisk::new();
    let caller = open(&disk);
    let step = |name: &str| {
        if checkpoints.contains(name) {
            caller.broker.keeper().checkpoint_now().expect("stored");
        }
    };
    let id = topic(&caller, "t").uuid;
    let generation = become_member(&caller, at(10), "g", "c-1");
    commit(&caller, at(20), "g", ("c-1", generation), &[(id, 41)]);
    step("commit");
    commit(&caller, at(20), "g", ("c-1", generation), &[(id, 42)]);
    commit(&caller, at(20), "lonely", ("", -1), &[(id, 7)]);
    step("end");
    caller.broker.close();

    let caller = open(&disk);
    // Its session begins with the opening, not where it stood before.
    caller.broker.tick(at(50_000));
    assert_eq!(offsets(&caller, at(50_000), "g"), [(id, 42)]);
    assert_eq!(offsets(&caller, at(50_000), "lonely"), [(id, 7)]);
    let beat = caller.heartbeat(at(50_001), "g", "c-1", None, generation).expect("allowed");
    assert_eq!(beat.value, Ok(()));
    let group = caller.describe_group(at(50_001), "g").expect("allowed").expect("is there");
    assert_eq!(group.value.state, State::Stable);
    assert_eq!(group.value.members[0].assignment, "all");
    let names: Vec<_> = caller.list_groups(at(50_001)).value.into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["g".into(), "lonely".into()]);
    // The numbers of groups are not given again.
    let (g, lonely) = (caller.find_group("g"), caller.find_group("lonely"));
    become_member(&caller, at(50_002), "new", "c-2");
    let new = caller.find_group("new").expect("made").id;
    assert!([g, lonely].iter().all(|known| known.expect("known").id < new));
}

#[test]
fn the_ticking_party_is_woken_and_told_when_to_come() {
    let disk = SimDisk::new();
    let caller = open(&disk);
    let rung = Arc::new(AtomicBool::new(false));
    let waker = Waker::new({
        let rung = rung.clone();
        move || rung.store(true, Ordering::Relaxed)
    });
    caller.broker.wake_for_tick(&waker);
    assert_eq!(caller.broker.tick(at(0)), None);
    become_member(&caller, at(10), "g", "c-1");
    assert!(rung.load(Ordering::Relaxed), "a session is earlier than never");
    let due = caller.broker.tick(at(11)).expect("a session");
    assert!(due <= at(10).mono + SESSION, "{due:?}");
    let state = |now| caller.describe_group(now, "g").unwrap().map(|group| group.value.state);
    caller.broker.tick(at(10_009));
    assert_eq!(state(at(10_009)), Some(State::Stable));
    caller.broker.tick(at(10_011));
    assert_eq!(state(at(10_011)), Some(State::Empty));
}

#[test]
fn a_group_without_use_ends_and_its_name_is_free() {
    let disk = SimDisk::new();
    let caller = open(&disk);
    become_member(&caller, at(10), "g", "c-1");
    let first = caller.find_group("g").expect("made");
    let later = at(10 * 60 * 1000 + 30_000);
    caller.broker.tick(at(11_000));
    caller.broker.tick(later);
    assert!(caller.find_group("g").is_none());
    assert!(caller.describe_group(later, "g").unwrap().is_none());
    become_member(&caller, later, "g", "c-2");
    let second = caller.find_group("g").expect("made again");
    assert!(first.id < second.id);
    caller.broker.close();

    let caller = open(&disk);
    assert_eq!(caller.find_group("g"), Some(second));
    let held: usize = (0..caller.broker.core.count())
        .map(|shard| caller.broker.core.lock(shard).groups.map.len())
        .sum();
    assert_eq!(held, 1);
}

#[test]
fn offsets_of_a_deleted_topic_go_at_the_next_tick_or_opening() {
    let disk = SimDisk::new();
    let caller = open(&disk);
    let (a, b, c) = (topic(&caller, "a"), topic(&caller, "bb"), topic(&caller, "ccc"));
    commit(&caller, at(10), "g", ("", -1), &[(a.uuid, 1), (b.uuid, 2), (c.uuid, 3)]);
    let left = |caller: &Caller, now| {
        let mut left: Vec<i64> = offsets(caller, now, "g").iter().map(|o| o.1).collect();
        left.sort_unstable();
        left
    };
    kept(&caller, caller.delete(&a).expect("deleted"));
    caller.broker.tick(at(20));
    assert_eq!(left(&caller, at(20)), [2, 3]);
    // The process ends before the tick.
    kept(&caller, caller.delete(&b).expect("deleted"));
    caller.broker.close();

    let caller = open(&disk);
    caller.broker.tick(at(30));
    assert_eq!(left(&caller, at(30)), [3]);
}

#[test]
fn a_group_is_made_in_one_frame_or_not_yet() {
    let disk = SimDisk::new();
    let caller = open(&disk);
    let core = &caller.broker.core;
    // The group will be number 2 and live in shard 2.
    core.lock(0).registry.next_id = 2;
    let before = core.lock(0).open;
    let barrier = core.lock(1);
    // The cut of a frame gets past shard 0, and stops here.
    caller.producer_id();
    while core.lock(0).open == before {
        std::thread::sleep(Duration::from_millis(1));
    }
    let me = Waker::none();
    let early = caller.join(at(10), "g", joining("", "c-1", &me));
    let found = caller.find_group("g");
    drop(barrier);
    assert_eq!(early.expect_err("in the midst of a cut").kind, Kind::Throttled);
    assert_eq!(found, None);
    become_member(&caller, at(10), "g", "c-1");
    assert_eq!(caller.find_group("g"), Some(GroupRef { id: 2, shard: 2 }));
}

#[test]
fn rows_bring_a_group_back_and_replay_over_them_changes_nothing() {
    let disk = SimDisk::new();
    let caller = open(&disk);
    let id = topic(&caller, "t").uuid;
    let generation = become_member(&caller, at(10), "g", "c-1");
    commit(&caller, at(20), "g", ("c-1", generation), &[(id, 42)]);
    let at_g = caller.find_group("g").expect("made");
    let Broker { core, catalog, group_settings, .. } = &*caller.broker;
    let mut changes = Changes::default();
    let applied = {
        let mut home = core.lock(at_g.shard);
        home.begin_group_rows();
        let applied = home.open - 1;
        assert!(home.group_rows(applied, 10, &mut changes));
        applied
    };
    let image = |core: &crate::core::Core| core.lock(at_g.shard).groups.map[&at_g.id].group.image();

    let (fresh, names) =
        (crate::core::Core::new(core.count(), Arc::default(), |_| {}), GroupNames::default());
    let restore = Restore { core: &fresh, names: &names, settings: group_settings };
    let mut rows = changes.put.clone();
    rows.sort();
    for (key, row) in &rows {
        restore.load_row(*key, row).expect("readable");
    }
    restore.finish(catalog);
    assert_eq!(names.find(0, "g"), Some(at_g));
    assert_eq!(image(&fresh), image(core));
    assert!(fresh.lock(0).registry.next_id > at_g.id);
    // What the rows have already does not happen again; what they lack does.
    let mut change = Vec::new();
    crate::group::GroupEffect::TopicForgotten(id).encode(&mut change);
    let effect = Effect::Group { id: at_g.id, change: change.into() };
    restore.apply(applied, at_g.shard, &effect).expect("readable");
    assert_eq!(image(&fresh), image(core));
    restore.apply(applied + 1, at_g.shard, &effect).expect("readable");
    assert_ne!(image(&fresh), image(core));
    // Nothing changed since: no rows. An end takes all rows along.
    let mut changes = Changes::default();
    core.lock(at_g.shard).begin_group_rows();
    assert!(core.lock(at_g.shard).group_rows(applied, 10, &mut changes));
    assert!(changes.is_empty());
    restore.apply(applied + 1, at_g.shard, &Effect::GroupGone { id: at_g.id }).expect("readable");
    fresh.lock(at_g.shard).open = applied + 2;
    fresh.lock(at_g.shard).begin_group_rows();
    assert!(fresh.lock(at_g.shard).group_rows(applied, 10, &mut changes));
    assert_eq!((changes.put.len(), changes.delete_ranges.len()), (0, 2));
    assert_eq!(names.find(0, "g"), None);
}

#[test]
fn a_group_is_deleted_only_without_members_and_stays_deleted() {
    for checkpoint in [false, true] {
        let disk = SimDisk::new();
        let caller = open(&disk);
        let id = topic(&caller, "t").uuid;
        let generation = become_member(&caller, at(10), "g", "c-1");
        commit(&caller, at(20), "g", ("c-1", generation), &[(id, 41)]);
        let delete = |now| again(&caller, || caller.delete_group(now, "g"));
        assert_eq!(delete(at(30)).value, Err(GroupError::NonEmptyGroup));
        assert_eq!(caller.stats().expect("allowed").groups.stable, 1);
        caller.broker.tick(at(30_000));
        assert_eq!(caller.stats().expect("allowed").groups.empty, 1);
        if checkpoint {
            caller.broker.keeper().checkpoint_now().expect("stored");
        }
        let deleted = delete(at(30_001));
        assert_eq!(deleted.value, Ok(()));
        assert_ne!(deleted.ticket, Ticket::DONE, "it is not yet gone for good");
        kept(&caller, deleted.ticket);
        let gone = caller.delete_group(at(30_002), "g").expect_err("it is gone");
        assert_eq!(gone.kind, Kind::NotFound);
        caller.broker.close();

        let caller = open(&disk);
        assert!(caller.find_group("g").is_none(), "with a checkpoint: {checkpoint}");
        assert_eq!(offsets(&caller, at(1), "g"), []);
        assert_eq!(caller.stats().expect("allowed").groups, Default::default());
    }
}
