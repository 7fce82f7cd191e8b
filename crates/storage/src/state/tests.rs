//! One check, two stores; then what only the file can suffer.

use std::time::Instant;

use proptest::prelude::*;

use super::mem::{Fault, MemState};
use super::redb::{FILE, RedbState, verify};
use super::*;
use crate::disk::OsDisk;
use crate::test_disk::TestDisk;

fn key(id: u64, sub: u64) -> Key {
    Key::new(3, Kind::Log, id, sub)
}

fn put(rows: &[(Key, usize)]) -> Changes {
    let put = rows.iter().map(|(key, len)| (*key, value(*key, *len))).collect();
    Changes { put, ..Changes::default() }
}

fn value(key: Key, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u64 * 7).wrapping_add(key.id).wrapping_add(key.sub) as u8).collect()
}

fn rows(store: &dyn StateStore) -> Vec<(Key, Vec<u8>)> {
    rows_in(store, Key::everything())
}

fn rows_in(store: &dyn StateStore, (from, to): (Key, Key)) -> Vec<(Key, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key, value: &[u8]| {
        rows.push((key, value.to_vec()));
        Ok(())
    };
    store.scan(from, to, &mut visit).expect("scans");
    rows
}

fn check_store(store: &dyn StateStore) {
    assert_eq!((store.number().expect("known"), rows(store)), (0, vec![]));
    // Lengths around the cut of 3,992 bytes of data per piece.
    let lens = [0, 1, 3991, 3992, 3993, 8192, 40_000];
    let first: Vec<_> = lens.iter().zip(1..).map(|(len, id)| (key(id, 0), *len)).collect();
    store.commit(0, 5, &put(&first)).expect("commits");
    for (key, len) in &first {
        assert_eq!(store.get(*key).expect("gets"), Some(value(*key, *len)));
    }
    // Shorter, longer, and gone.
    let second = [(key(7, 0), 8), (key(6, 0), 5000), (key(1, 0), 9000)];
    let mut changes = put(&second);
    changes.delete = vec![key(5, 0), key(99, 0)];
    store.commit(5, 6, &changes).expect("commits");
    let mut want = vec![second[2]];
    want.extend(&first[1..4]);
    want.extend([second[1], second[0]]);
    let want: Vec<_> = want.iter().map(|(key, len)| (*key, value(*key, *len))).collect();
    assert_eq!(rows(store), want);
    assert_eq!(rows_in(store, (key(2, 0), key(4, 0))), want[1..3]);
    assert_eq!(rows_in(store, Key::all_of(3, Kind::Log, 4)), want[3..4]);
    assert_eq!(rows_in(store, Key::all(3, Kind::Group)), vec![]);
    // A range goes, and a row inside it comes in the same commit.
    let mut changes = put(&[(key(3, 1), 3)]);
    changes.delete_ranges = vec![(key(2, 0), key(7, 0)), (key(9, 0), key(8, 0))];
    store.commit(6, 7, &changes).expect("commits");
    let left: Vec<_> = rows(store).into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, [key(1, 0), key(3, 1), key(7, 0)]);
    refuses(store);
    exports(store);
}

fn refuses(store: &dyn StateStore) {
    let before = rows(store);
    let conflict = store.commit(6, 8, &put(&[(key(1, 1), 1)]));
    assert!(matches!(conflict, Err(StateError::Conflict { expect: 6, found: 7 })), "{conflict:?}");
    let (_, end) = Key::everything();
    for (next, changes) in [(7, Changes::default()), (8, put(&[(end, 1)]))] {
        let invalid = store.commit(7, next, &changes);
        assert!(matches!(invalid, Err(StateError::Invalid(_))), "{invalid:?}");
    }
    let stopped = store.scan(key(0, 0), end, &mut |_, _| Err(StateError::Invalid("so".into())));
    assert!(matches!(stopped, Err(StateError::Invalid(_))));
    assert_eq!((store.number().expect("known"), rows(store)), (7, before));
}

fn exports(store: &dyn StateStore) {
    let mut bytes = Vec::new();
    let mut sink = |part: Bytes| {
        bytes.extend_from_slice(&part);
        Ok(())
    };
    store.export(&mut sink).expect("exports");
    let mut found = Vec::new();
    let mut visit = |key, value: &[u8]| {
        found.push((key, value.to_vec()));
        Ok(())
    };
    assert_eq!(export::read_export(&bytes, &mut visit).expect("reads"), 7);
    assert_eq!(found, rows(store));
    for len in 0..bytes.len() {
        assert!(export::read_export(&bytes[..len], &mut |_, _| Ok(())).is_err(), "cut at {len}");
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(export::read_export(&bytes, &mut |_, _| Ok(())).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn rows_in_memory() {
    check_store(&MemState::default());
}

#[test]
fn rows_in_a_file() {
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let disk = OsDisk::new(dir.path()).expect("opens");
    assert!(matches!(RedbState::open(&disk, false), Err(StateError::Io { .. })));
    let store = RedbState::open(&disk, true).expect("makes");
    check_store(&store);
    let before = rows(&store);
    drop(store);
    assert_eq!(verify(&disk).expect("whole"), 7);
    let store = RedbState::open(&disk, false).expect("opens");
    assert_eq!((store.number().expect("known"), rows(&store)), (7, before));
}

#[test]
fn keys_sort_as_their_bytes_and_keep_their_form() {
    let key = Key::new(0x0102, Kind::Catalog, 0x0304_0506_0708_090a, 0x0b0c_0d0e_0f10_1112);
    let bytes = [1, 2, 7, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];
    assert_eq!((key.encode(), Key::decode(&bytes)), (bytes, Some(key)));
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, number);
    }
    let mut unknown = bytes;
    unknown[2] = 8;
    assert_eq!(Key::decode(&unknown), None);
}

proptest! {
    #[test]
    fn keys_sort_as_their_bytes(
        a: (u16, u8, u64, u64), b: (u16, u8, u64, u64)
    ) {
        let key = |k: (u16, u8, u64, u64)| Key::new(k.0, Kind::ALL[usize::from(k.1 % 8)], k.2, k.3);
        let (a, b) = (key(a), key(b));
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        prop_assert_eq!(Key::decode(&a.encode()), Some(a));
    }
}

#[test]
fn a_commit_in_memory_fails_as_told() {
    for (fault, number) in [(Fault::Before, 0), (Fault::After, 1)] {
        let store = MemState::default();
        store.fail_next_commit(fault);
        assert!(store.commit(0, 1, &put(&[(key(1, 1), 9)])).is_err());
        assert_eq!(store.number().expect("known"), number);
        assert_eq!((rows(&store).len() as u64, store.commits()), (number, number));
    }
}

/// The store after the commits that a disk lets through, and after a power cut on top: always as
/// of one whole commit, and at least the last that was acknowledged.
#[test]
fn a_failing_disk_leaves_a_whole_commit() {
    let commits: Vec<Changes> = (1..=3)
        .map(|n| {
            let mut changes =
                put(&[(key(n, 0), 9000), (key(1, n), 10), (key(50, 0), 100 * n as usize)]);
            changes.delete = vec![key(n - 1, 0)];
            changes
        })
        .collect();
    let mut states = vec![Vec::new()];
    let model = MemState::default();
    for (number, changes) in (0..).zip(&commits) {
        model.commit(number, number + 1, changes).expect("commits");
        states.push(rows(&model));
    }
    let mut chance = 1_u64;
    let mut keep = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chance >> 62 == 0
    };
    for budget in 0.. {
        let disk = TestDisk::default();
        disk.fail_after(budget);
        let mut acknowledged = None;
        if let Ok(store) = RedbState::open(&disk, true) {
            acknowledged = Some(0);
            for (number, changes) in (0..).zip(&commits) {
                match store.commit(number, number + 1, changes) {
                    Ok(()) => acknowledged = Some(number + 1),
                    Err(error) => {
                        assert!(matches!(error, StateError::Io { .. }), "{error}");
                        assert!(store.number().is_err());
                        break;
                    }
                }
            }
        }
        for left in [disk.copy(), disk.after_power_cut(|| false), disk.after_power_cut(&mut keep)] {
            let create = acknowledged.is_none();
            let store = RedbState::open(&left, create).expect("opens");
            let number = store.number().expect("known");
            assert!(acknowledged.unwrap_or(0) <= number, "budget {budget}");
            assert_eq!(rows(&store), states[number as usize], "budget {budget}");
            store.commit(number, number + 1, &Changes::default()).expect("goes on");
            drop(store);
            assert_eq!(verify(&left).expect("whole"), number + 1);
        }
        if acknowledged == Some(3) && disk.operations() <= budget {
            assert!(budget > 20, "the faults were met");
            return;
        }
    }
}

fn damaged_store() -> (TestDisk, Vec<(Key, Vec<u8>)>) {
    let disk = TestDisk::default();
    let store = RedbState::open(&disk, true).expect("makes");
    for number in 0..4 {
        let many: Vec<_> = (0..40).map(|id| (key(id * 4 + number, 0), 700)).collect();
        store.commit(number, number + 1, &put(&many)).expect("commits");
    }
    let rows = rows(&store);
    drop(store);
    (disk, rows)
}

/// Either refused, or served as it was.
fn check_damage(disk: &TestDisk, want: &[(Key, Vec<u8>)], what: &str) -> bool {
    match verify(disk) {
        Err(StateError::Damaged { .. }) => {
            check_unverified(disk, want, what);
            return true;
        }
        Err(error) => panic!("{what}: {error}"),
        Ok(number) => assert_eq!(number, 4, "{what}"),
    }
    let store = match RedbState::open(disk, false) {
        Err(StateError::Damaged { .. }) => return true,
        opened => opened.expect("opens"),
    };
    assert_eq!(store.number().expect("known"), 4, "{what}");
    assert_eq!(rows(&store), want, "{what}");
    false
}

/// Without the look at every page a row may go missing, but none is served wrong.
fn check_unverified(disk: &TestDisk, want: &[(Key, Vec<u8>)], what: &str) {
    let Ok(store) = RedbState::open(disk, false) else { return };
    let (from, to) = Key::everything();
    let mut visit = |key, value: &[u8]| {
        assert!(want.contains(&(key, value.to_vec())), "{what}: a wrong row at {key:?}");
        Ok(())
    };
    let scanned = store.scan(from, to, &mut visit);
    assert!(matches!(scanned, Ok(()) | Err(StateError::Damaged { .. })), "{what}: {scanned:?}");
}

#[test]
fn a_flipped_bit_or_a_cut_is_refused_or_without_effect() {
    let (disk, want) = damaged_store();
    let len = disk.len_of(FILE);
    let before = disk.copy();
    let mut refused = 0;
    // Every byte of the head, then a sample over the whole file.
    let places = (0..320).chain((0..3000).map(|n| (n * 7919) % len));
    for (n, at) in places.enumerate() {
        let disk = before.copy();
        disk.edit(FILE, |data| data[at] ^= 1 << (n % 8));
        refused += u32::from(check_damage(&disk, &want, &format!("byte {at}, bit {}", n % 8)));
    }
    assert!(refused > 100, "only {refused} flips had an effect");
    for cut in (0..len).step_by(len / 50) {
        let disk = before.copy();
        disk.edit(FILE, |data| data.truncate(cut));
        let verified = verify(&disk);
        assert!(verified.is_err(), "cut at {cut}: {verified:?}");
        if cut > 0 {
            assert!(RedbState::open(&disk, true).is_err(), "cut at {cut} opens");
        }
    }
}

#[test]
fn a_store_behind_its_mark_is_refused() {
    let disk = TestDisk::default();
    let store = RedbState::open(&disk, true).expect("makes");
    store.commit(0, 1, &Changes::default()).expect("commits");
    drop(store);
    let old = disk.copy();
    let store = RedbState::open(&disk, false).expect("opens");
    store.commit(1, 2, &Changes::default()).expect("commits");
    drop(store);
    let mut newer = Vec::new();
    disk.edit("state.mark", |mark| newer = mark.clone());
    old.edit("state.mark", |mark| *mark = newer);
    for result in [verify(&old).map(drop), RedbState::open(&old, true).map(drop)] {
        assert!(matches!(&result, Err(StateError::Damaged { file, .. }) if file == FILE));
    }
}

#[test]
fn a_new_store_opens_quickly() {
    let times = (0..5).map(|_| {
        let dir = tempfile::tempdir_in(".").expect("a directory");
        let disk = OsDisk::new(dir.path()).expect("opens");
        let start = Instant::now();
        let store = RedbState::open(&disk, true).expect("makes");
        let made = start.elapsed();
        drop(store);
        let start = Instant::now();
        let _store = RedbState::open(&disk, false).expect("opens");
        (made, start.elapsed())
    });
    let times: Vec<_> = times.collect();
    // Far above what it takes, so that a slow disk does not fail it.
    let fastest = times.iter().map(|(made, _)| made.as_millis()).min().expect("some");
    assert!(fastest < 100, "{times:?}");
    println!("made and opened in {times:?}");
}
