//! What a repair saves of a damaged directory: every record that it does not name as lost, under
//! the offset it had, and a directory that opens and is found intact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::admission::LinePlace;
use sabir_broker::batch::build::{Builder, Record};
use sabir_broker::batch::records::records;
use sabir_broker::batch::validate;
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Clock, Instant, Now};
use sabir_broker::declare::Declare;
use sabir_broker::fetch::Found;
use sabir_broker::policy::Identity;
use sabir_broker::publish::Outcomes;
use sabir_broker::random::Seeded;
use sabir_broker::repair::{self, Repair};
use sabir_broker::shard::AppendOp;
use sabir_broker::wake::Waker;
use sabir_broker::{Broker, Settings, inspect};
use sabir_storage::disk::sim::{Cut, Fault, Handle, SimDisk};
use sabir_storage::disk::{Disk, Mode, read_exact};

const NOW: Now = Now { mono: Instant(1), wall: 1_700_000_000_000 };
const TIME_MS: i64 = NOW.wall + 60_000;

/// Topic, partition and offset of a record.
type Place = (String, usize, i64);

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Now {
        NOW
    }
}

fn try_open(disk: &Arc<SimDisk>) -> Result<Caller, String> {
    let handle = Arc::new(Handle(disk.clone()));
    let broker = Broker::on_disk(handle, Settings::default(), &mut Seeded(3), None);
    let broker = broker.map_err(|error| error.to_string())?;
    broker.start(Arc::new(Stopped)).expect("threads start");
    Ok(Caller::new(broker, Identity::anonymous(), 0))
}

fn open(disk: &Arc<SimDisk>) -> Caller {
    try_open(disk).expect("opens")
}

fn append(caller: &Caller, topic: &str, partition: usize, count: usize, size: usize) {
    let place = caller.topic(topic).expect("declared").partitions[partition].clone();
    let next = place.view.visible();
    let mut builder = Builder::default();
    for n in 0..count {
        let mut value = format!("{topic}/{partition}/{}", next + n as i64).into_bytes();
        value.resize(value.len().max(size), b' ');
        builder.push(&Record { timestamp: NOW.wall, value: Some(&value), ..Record::default() });
    }
    let batch = Bytes::from(builder.seal());
    let header = validate(&batch).expect("well made");
    let op = (place.shard, AppendOp { log: place.log, batch, header });
    let (mut room, mut outcomes) = (LinePlace::default(), Outcomes::new());
    let done = caller.append(NOW, &[op], &Waker::none(), &mut room, &mut outcomes);
    done.expect("room");
    let placed = outcomes.pop().expect("one outcome").expect("appended");
    while !caller.is_kept(placed.ticket) {
        std::thread::yield_now();
    }
}

fn declare(caller: &Caller, name: &str, partitions: u32) {
    let declare = Declare { name: name.into(), partitions, ..Declare::default() };
    let (_, ticket) =
        caller.declare(NOW, &mut Seeded(name.as_bytes()[0].into()), declare).expect("new");
    while !caller.is_kept(ticket) {
        std::thread::yield_now();
    }
}

/// Reads everything; each record has to say where it lies.
fn read(caller: &Caller) -> BTreeSet<Place> {
    let mut found = BTreeSet::new();
    for topic in caller.topics() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            let mut from = partition.view.start();
            loop {
                match caller.fetch(partition, from, 1 << 20, true, &Waker::none()).found {
                    Found::Batches(bytes) => {
                        for batch in bytes.iter().flat_map(sabir_broker::batch::split) {
                            let (header, bytes) = batch.expect("whole");
                            for record in records(&bytes).expect("readable").iter() {
                                let record = record.expect("whole");
                                let value = record.value.expect("has one").trim_ascii();
                                let value = std::str::from_utf8(value).expect("text");
                                let mut parts = value.split('/');
                                let mut part = || parts.next().expect("three parts").to_owned();
                                let (name, of) = (part(), part());
                                assert_eq!(part(), record.offset.to_string(), "of {}", topic.name);
                                found.insert((name, of.parse().expect("a number"), record.offset));
                            }
                            from = header.next_offset();
                        }
                    }
                    Found::Pending => std::thread::yield_now(),
                    Found::AtEnd => break,
                    other => panic!("{} {number} at {from}: {other:?}", topic.name),
                }
            }
        }
    }
    found
}

/// What a file of the directory is in the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Ident,
    Wal,
    State,
    Mark,
    Bundle,
    Segment,
    Index,
}

impl File {
    fn has(self, path: &str) -> bool {
        match self {
            File::Ident => path == "IDENT",
            File::Wal => path.starts_with("wal/0"),
            File::State => path == "state.redb",
            File::Mark => path == "state.mark",
            File::Bundle => path.starts_with("blob/") && path.contains("/b/"),
            File::Segment => path.ends_with(".log"),
            File::Index => path.ends_with(".ix"),
        }
    }
}

/// Two topics with records in bundles, in segments and in the write-ahead log; with an export that
/// is older than some of them, or without.
fn build(export: bool) -> (Arc<SimDisk>, BTreeSet<Place>) {
    build_of(export, 500_000)
}

/// The same with records of another size in one topic.
fn build_of(export: bool, size: usize) -> (Arc<SimDisk>, BTreeSet<Place>) {
    let disk = SimDisk::new();
    let caller = open(&disk);
    declare(&caller, "small", 3);
    declare(&caller, "large", 1);
    for _ in 0..6 {
        append(&caller, "large", 0, 2, size);
        append(&caller, "small", 0, 3, 30);
        append(&caller, "small", 2, 1, 30);
    }
    let keeper = caller.broker().keeper();
    keeper.checkpoint_now().expect("stored");
    if export {
        caller.export(NOW).expect("exported").expect("there are rows");
    }
    for _ in 0..3 {
        append(&caller, "small", 0, 2, 9000);
        append(&caller, "small", 1, 2, 30);
    }
    keeper.checkpoint_now().expect("stored");
    for _ in 0..8 {
        append(&caller, "small", 0, 2, 3000);
        append(&caller, "large", 0, 1, 20_000);
    }
    let all = read(&caller);
    assert_eq!(all.len(), 18 + 6 + 12 + 6 + 6 + 16 + 8);
    caller.broker().close();
    disk.cut(Cut::Kept, || 0);
    (disk, all)
}

fn copy(disk: &Arc<SimDisk>) -> Arc<SimDisk> {
    let (from, to) = (Handle(disk.clone()), SimDisk::new());
    for (path, len) in disk.files() {
        let bytes = read_exact(&*from.open(&path, Mode::Read).expect("opens"), 0, len as usize);
        let handle = Handle(to.clone());
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        handle.create_dir(dir).expect("made");
        let file = handle.open(&path, Mode::Write).expect("opens");
        file.write_at(&bytes.expect("reads"), 0).expect("writes");
        file.sync().expect("syncs");
        let mut dir = dir;
        while !dir.is_empty() {
            handle.sync_dir(dir).expect("syncs");
            dir = dir.rsplit_once('/').map_or("", |(dir, _)| dir);
        }
        handle.sync_dir("").expect("syncs");
    }
    to
}

fn repair(disk: &Arc<SimDisk>, time_ms: Option<i64>) -> Repair {
    repair::on_disk(Arc::new(Handle(disk.clone())), time_ms).expect("possible")
}

fn contents(disk: &Arc<SimDisk>) -> BTreeMap<String, Bytes> {
    let handle = Handle(disk.clone());
    let read = |path: &str, len: u64| {
        read_exact(&*handle.open(path, Mode::Read).expect("opens"), 0, len as usize).expect("reads")
    };
    disk.files().into_iter().map(|(path, len)| (path.clone(), read(&path, len))).collect()
}

fn named_as_lost(plan: &Repair) -> BTreeSet<Place> {
    plan.lost
        .iter()
        .flat_map(|lost| {
            let place = |offset| (lost.topic.clone(), lost.partition, offset);
            lost.offsets.clone().map(place).collect::<Vec<_>>()
        })
        .collect()
}

/// Repairs a damaged copy: exactly what the plan names is lost, and then nothing is left to do.
fn check(disk: &Arc<SimDisk>, all: &BTreeSet<Place>, about: &str) -> Repair {
    check_after(disk, all, &BTreeSet::new(), about)
}

/// The same after a repair that did not come to its end and had named these as lost.
fn check_after(
    disk: &Arc<SimDisk>,
    all: &BTreeSet<Place>,
    named: &BTreeSet<Place>,
    about: &str,
) -> Repair {
    let before = contents(disk);
    let plan = repair(disk, None);
    assert_eq!(contents(disk), before, "{about}: a plan changes nothing");
    assert_eq!(plan.refused, None, "{about}");
    let done = repair(disk, Some(TIME_MS));
    if plan.is_healthy() {
        assert_eq!(contents(disk), before, "{about}: a repair of what is healthy");
    } else if !plan.actions[0].contains("IDENT") {
        assert_eq!(done.lost, plan.lost, "{about}");
        assert_eq!((&done.damages, &done.actions), (&plan.damages, &plan.actions), "{about}");
    }
    let after = contents(disk);
    let again = repair(disk, Some(TIME_MS));
    assert!(again.is_healthy(), "{about}: {again}");
    assert_eq!(contents(disk), after, "{about}: repaired twice");
    let report = inspect::on_disk(Arc::new(Handle(disk.clone())), &[]).expect("readable");
    assert!(report.is_intact(), "{about}: {:?}", report.damages);
    for (path, bytes) in &before {
        let kept = after.get(path) == Some(bytes);
        let moved = || after.iter().any(|(to, there)| to.ends_with(path) && there == bytes);
        // Rows go on in their file, and what an earlier try has left is its own.
        let own = path.starts_with("REPAIR")
            || [".new", ".txt", ".tmp"].iter().any(|end| path.ends_with(end));
        let rewritten = ["state.redb", "state.mark"].contains(&path.as_str());
        assert!(kept || moved() || rewritten || own, "{about}: {path} is nowhere");
    }
    let caller = open(disk);
    let found = read(&caller);
    let lost = named_as_lost(&done);
    // The end of the write-ahead log may be gone without a trace of what was in it.
    let end_is_gone = done.doubts.iter().any(|doubt| doubt.contains("nothing follows"));
    let follows =
        |place: &Place| found.range(place.clone()..).any(|b| (&b.0, b.1) == (&place.0, place.1));
    let missing: Vec<_> = all
        .difference(&found)
        .filter(|place| !lost.contains(place) && !named.contains(place))
        .filter(|place| !end_is_gone || follows(place))
        .collect();
    assert!(missing.is_empty(), "{about}: not named as lost: {missing:?}\n{done}");
    let back: Vec<_> = found.intersection(&lost).collect();
    assert!(back.is_empty(), "{about}: named as lost: {back:?}\n{done}");
    assert!(found.is_subset(all), "{about}: never written");
    // It goes on: with new offsets behind all that were given out.
    if let Some(topic) = caller.topic("small") {
        let end = topic.partitions[0].view.visible();
        let last = all.iter().rfind(|place| place.0 == "small" && place.1 == 0);
        let expected = last.map_or(0, |place| place.2 + 1);
        assert!(end == expected || end_is_gone, "{about}: goes on at {end}, not {expected}");
        append(&caller, "small", 0, 1, 30);
    }
    caller.broker().close();
    done
}

fn paths(disk: &Arc<SimDisk>, kind: File) -> Vec<(String, u64)> {
    disk.files().into_iter().filter(|file| kind.has(&file.0) && file.1 > 0).collect()
}

/// Places in a file where a flipped bit is tried.
fn places(len: u64, tries: u64) -> Vec<u64> {
    let mut all: Vec<u64> = (0..tries).map(|n| n * (len - 1) / tries).collect();
    all.extend([9, len.saturating_sub(30)]);
    all.retain(|place| *place < len);
    all
}

#[test]
fn a_healthy_directory_is_left_as_it_is() {
    for export in [false, true] {
        let (disk, all) = build(export);
        assert!(check(&disk, &all, "healthy").is_healthy());
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_what_the_plan_says_and_no_more() {
    let (built, all) = build(true);
    for kind in [File::Ident, File::Bundle, File::Segment, File::Index, File::State, File::Mark] {
        for (path, len) in paths(&built, kind) {
            for place in places(len, 2) {
                let disk = copy(&built);
                disk.flip(&path, place, 5);
                let about = format!("byte {place} of {path}");
                let done = check(&disk, &all, &about);
                let lost = named_as_lost(&done).len();
                assert!(lost <= 4, "{about}: {done}");
            }
        }
    }
}

#[test]
fn a_damaged_frame_costs_what_is_in_it_and_nothing_behind_it() {
    let (built, all) = build(false);
    let (path, len) = paths(&built, File::Wal).pop().expect("one");
    let used = contents(&built)[&path].iter().rposition(|byte| *byte != 0).expect("written");
    let mut refused = 0;
    let used = used as u64;
    // All over the file; and its end, the last frames with records, their headers too.
    let ends = [13, 4096 + 9, 8192 + 40, 3 * 4096 + 700].map(|back| used.saturating_sub(back));
    let late = (used - used / 10..used).step_by(11_003);
    for place in (0..used).step_by(used as usize / 6).chain(late).chain(ends) {
        let disk = copy(&built);
        disk.flip(&path, place.min(len - 1), 2);
        let about = format!("byte {place} of {path}");
        let opened = try_open(&disk).map(|caller| caller.broker().close());
        refused += usize::from(opened.is_err());
        let done = check(&disk, &all, &about);
        assert!(named_as_lost(&done).len() <= 2, "{about}: {done}");
        let error = opened.err().unwrap_or_default();
        assert!(error.is_empty() || error.contains(&path), "{about}: {error}");
    }
    assert!(refused > 10, "{refused} starts were refused");
}

#[test]
fn files_that_are_cut_off_or_gone_cost_what_was_in_them() {
    for export in [true, false] {
        let (built, all) = build(export);
        let kinds = [File::Wal, File::State, File::Mark, File::Bundle, File::Segment, File::Index];
        for kind in kinds {
            for (path, len) in paths(&built, kind) {
                let cuts = if export { vec![None, Some(len / 2)] } else { vec![None] };
                for keep in cuts {
                    let disk = copy(&built);
                    let handle = Handle(disk.clone());
                    match keep {
                        None => handle.remove(&path).expect("there"),
                        Some(keep) => {
                            let file = handle.open(&path, Mode::Write).expect("opens");
                            file.set_len(keep).expect("cut");
                        }
                    }
                    let about = format!("{path} of {len} bytes, {keep:?} kept, export {export}");
                    check(&disk, &all, &about);
                }
            }
        }
    }
}

#[test]
fn lost_rows_cost_no_record_and_with_an_export_no_name() {
    for (export, names) in [(true, true), (false, false)] {
        let (disk, all) = build(export);
        let handle = Handle(disk.clone());
        handle.remove("state.redb").expect("there");
        handle.remove("state.mark").expect("there");
        let done = check(&disk, &all, "no rows");
        assert_eq!(done.lost, []);
        let caller = open(&disk);
        assert_eq!(caller.topic("small").is_some(), names, "{done}");
        caller.broker().close();
    }
}

#[test]
fn a_lost_identity_comes_back_from_an_export_or_is_refused() {
    let (disk, all) = build(true);
    Handle(disk.clone()).remove("IDENT").expect("there");
    check(&disk, &all, "no identity");
    let (disk, _) = build(false);
    Handle(disk.clone()).remove("IDENT").expect("there");
    let plan = repair(&disk, Some(TIME_MS));
    assert!(plan.refused.expect("refused").contains("put back IDENT"));
}

#[test]
fn a_repair_that_is_cut_short_anywhere_is_repeated() {
    let (built, all) = build_of(true, 1000);
    type Damage = fn(&Arc<SimDisk>);
    let damage: [Damage; 3] = [
        |disk| disk.flip(&paths(disk, File::Wal)[0].0, 3 * 4096 + 100, 1),
        |disk| disk.flip(&paths(disk, File::Bundle)[0].0, 70, 1),
        |disk| disk.flip("state.redb", 4096 * 3 + 50, 1),
    ];
    for (which, damage) in damage.iter().enumerate() {
        let disk = copy(&built);
        damage(&disk);
        let lost = named_as_lost(&repair(&disk, None));
        for after in (0..).step_by(7) {
            let disk = copy(&built);
            damage(&disk);
            disk.fail(Fault { after, kind: std::io::ErrorKind::Other, syncs_only: false });
            let handle = Arc::new(Handle(disk.clone()));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                repair::on_disk(handle, Some(TIME_MS))
            }));
            let finished = disk.is_failing() && matches!(done, Ok(Ok(_)));
            disk.cut(if after % 2 == 0 { Cut::Lost } else { Cut::Kept }, || 0);
            let about = format!("damage {which}, cut short at {after}");
            // What was lost may be committed already: then the report of the first try names it.
            check_after(&disk, &all, &lost, &about);
            if finished {
                break;
            }
        }
    }
}

#[test]
fn the_scrubber_finds_a_flipped_bit_and_tells_it_once() {
    for kind in [File::Bundle, File::Segment, File::Index] {
        let (disk, _) = build(false);
        let caller = open(&disk);
        let upkeep = caller.broker().upkeep();
        assert_eq!(upkeep.scrub(&mut |_| true), 0, "{kind:?}");
        let before = upkeep.stats();
        assert!(before.scrubbed_bytes > 6_000_000, "{before:?}");
        let (path, len) = paths(&disk, kind).remove(0);
        disk.flip(&path, len / 3, 4);
        assert_eq!(upkeep.scrub(&mut |_| true), 1, "{path}");
        assert_eq!(upkeep.scrub(&mut |_| true), 0, "{path}: told once");
        let after = upkeep.stats();
        assert_eq!((after.findings, after.scrubs, before.scrubs), (1, 3, 1), "{path}");
        // Told to stop, it reads no further.
        let mut reads = 0;
        upkeep.scrub(&mut |_| {
            reads += 1;
            reads < 3
        });
        assert!(reads <= 4 && upkeep.stats().scrubs == 3, "{reads} reads");
        caller.broker().close();
    }
}
