//! One check, two stores; then what only files can suffer.

use std::sync::Arc;

use super::fs::{FsBlobs, Settings};
use super::mem::{Fault, MemBlobs};
use super::*;
use crate::disk::{Disk, Mode, OsDisk};
use crate::test_disk::TestDisk;

const BUNDLE: BlobId = BlobId::Bundle { shard: 3, number: 0xa1 };
const LOG: BlobId = BlobId::Segment { shard: 3, log: 12, rewrite: 0, base: 42, part: Part::Log };
const INDEX: BlobId =
    BlobId::Segment { shard: 3, log: 12, rewrite: 0, base: 42, part: Part::Index };
const ELSEWHERE: BlobId = BlobId::Bundle { shard: 1000, number: 0x1234_5678 };

fn content(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (((at + seed) * 2_654_435_761) >> 7) as u8).collect()
}

/// The content in parts of odd sizes.
fn parts(content: &[u8]) -> Vec<Bytes> {
    let mut parts = vec![Bytes::new()];
    parts.extend(content.chunks(70_001).map(Bytes::copy_from_slice));
    parts
}

fn check_store(blobs: &dyn BlobStore) {
    assert_eq!(blobs.list(None).expect("lists"), vec![]);
    let lens = [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, (2 << 20) + 4099];
    for (number, len) in (0..).zip(lens) {
        let id = BlobId::Bundle { shard: 0, number };
        let content = content(len, 1);
        assert_eq!(blobs.put_new(id, &parts(&content)).expect("puts"), PutOutcome::Created);
        assert_eq!(blobs.len(id).expect("is there"), len as u64);
        let whole = blobs.get(id, 0..len as u64).expect("gets");
        assert!(whole == content, "{len} bytes come back");
        for (from, to) in [(len / 2, len), (len / 3, len / 2), (len, len)] {
            let got = blobs.get(id, from as u64..to as u64).expect("gets");
            assert!(got == content[from..to], "{from}..{to} of {len}");
        }
        for range in [0..len as u64 + 1, len as u64 + 1..len as u64 + 1, 0..u64::MAX] {
            let got = blobs.get(id, range.clone());
            assert!(matches!(got, Err(BlobError::Damaged { .. })), "{range:?} of {len}");
        }
    }
    let puts: Vec<Put> = [(INDEX, 5), (LOG, 9000), (BUNDLE, 70), (ELSEWHERE, 3)]
        .map(|(id, len)| Put { id, parts: parts(&content(len, 2)) })
        .into();
    assert_eq!(blobs.put_all(&puts).expect("puts"), [PutOutcome::Created; 4]);
    assert_eq!(blobs.put_all(&puts).expect("puts"), [PutOutcome::AlreadyMine; 4]);
    for other in [content(5, 3), content(6, 2), vec![]] {
        assert_eq!(blobs.put_new(INDEX, &parts(&other)).expect("puts"), PutOutcome::Conflict);
    }
    assert!(blobs.get(INDEX, 0..5).expect("gets") == content(5, 2));
    let listed = |shard| {
        let metas = blobs.list(shard).expect("lists");
        metas.into_iter().map(|meta| (meta.id, meta.len)).collect::<Vec<_>>()
    };
    let mine = [(BUNDLE, 70), (INDEX, 5), (LOG, 9000)];
    assert_eq!(listed(Some(3)), mine);
    assert_eq!(listed(Some(1000)), [(ELSEWHERE, 3)]);
    assert_eq!(listed(Some(4)), []);
    assert_eq!(listed(None).len(), lens.len() + 4);
    blobs.delete(&[LOG, LOG, BlobId::Bundle { shard: 77, number: 1 }]).expect("deletes");
    assert!(matches!(blobs.get(LOG, 0..1), Err(BlobError::Missing { blob: LOG })));
    assert!(matches!(blobs.len(LOG), Err(BlobError::Missing { .. })));
    assert_eq!(listed(Some(3)), mine[..2]);
    assert_eq!(blobs.put_all(&puts[1..2]).expect("puts"), [PutOutcome::Created]);
}

#[test]
fn blobs_in_memory() {
    check_store(&MemBlobs::default());
}

#[test]
fn blobs_in_files() {
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let disk = Arc::new(OsDisk::new(dir.path()).expect("opens"));
    // Fewer open files than blobs, so that some are opened again.
    let settings = Settings { open_files_max: 3 };
    let (blobs, found) = FsBlobs::open(disk.clone(), settings).expect("opens");
    assert_eq!(found, vec![]);
    check_store(&blobs);
    let listed = blobs.list(None).expect("lists");
    // Left by a put that never ended, and something that is not ours.
    for name in ["blob/003/b/0000a2.tmp", "blob/003/b/notes.txt"] {
        disk.open(name, Mode::Write).expect("opens").write_at(b"x", 0).expect("writes");
    }
    let (_, found) = FsBlobs::open(disk.clone(), settings).expect("opens");
    assert_eq!(found, listed);
    let names: Vec<_> =
        disk.list("blob/003/b").expect("lists").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["0000a1", "notes.txt"]);
}

#[test]
fn names_are_as_drawn_and_read_back() {
    let names = [
        (BUNDLE, "blob/003/b/0000a1"),
        (ELSEWHERE, "blob/1000/b/12345678"),
        (LOG, "blob/003/s/12/0/00000000000000000042.log"),
        (INDEX, "blob/003/s/12/0/00000000000000000042.ix"),
    ];
    for (id, path) in names {
        assert_eq!((id.path().as_str(), BlobId::parse(path)), (path, Some(id)));
        assert!(path.starts_with(&id.dir()) && id.to_string() == path);
    }
    assert_eq!((LOG.index(), INDEX.index(), BUNDLE.index()), (Some(INDEX), Some(INDEX), None));
    let not_ours = [
        "",
        "blob",
        "blob/3/b/0000a1",
        "blob/003/b/a1",
        "blob/003/b/0000A1",
        "blob/003/b/0000a1.tmp",
        "blob/003/s/12/0/42.log",
        "blob/003/s/012/0/00000000000000000042.log",
        "blob/003/b/0000a1/x",
        "blob/003/s/12/0/00000000000000000042.txt",
        "blob/70000/b/0000a1",
        "state.redb",
    ];
    for path in not_ours {
        assert_eq!(BlobId::parse(path), None, "{path}");
    }
}

#[test]
fn blobs_in_memory_fail_as_told() {
    let blobs = MemBlobs::default();
    blobs.delay_each(5);
    for (fault, then) in
        [(Fault::Before, PutOutcome::Created), (Fault::After, PutOutcome::AlreadyMine)]
    {
        let id = BlobId::Bundle { shard: 1, number: fault as u64 };
        blobs.fail_next_put(fault);
        assert!(blobs.put_new(id, &parts(b"abc")).is_err());
        assert_eq!(blobs.put_new(id, &parts(b"abc")).expect("puts"), then);
        blobs.fail_next_get();
        assert!(matches!(blobs.get(id, 0..3), Err(BlobError::Io { .. })));
        assert_eq!(blobs.get(id, 0..3).expect("gets").as_ref(), b"abc");
        assert!(blobs.lose(id));
        assert!(matches!(blobs.get(id, 0..3), Err(BlobError::Missing { .. })));
    }
    let counts = blobs.counts();
    assert_eq!((counts.puts, counts.gets, counts.delay), (4, 6, 50));
}

/// Whatever operation fails, and with a power cut on top: what was put is whole and there, what
/// was not is whole or not there, and the same can be put again.
#[test]
fn a_failing_disk_leaves_whole_blobs() {
    let puts: Vec<Put> = [(INDEX, 9000), (LOG, 3 << 20), (BUNDLE, 4096)]
        .map(|(id, len)| Put { id, parts: parts(&content(len, 2)) })
        .into();
    let mut chance = 1_u64;
    let mut keep = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chance >> 63 == 0
    };
    for budget in 0.. {
        let disk = TestDisk::default();
        disk.fail_after(budget);
        let (blobs, _) = FsBlobs::open(Arc::new(disk.clone()), Settings::default()).expect("opens");
        let put = blobs.put_all(&puts);
        for left in [disk.copy(), disk.after_power_cut(|| false), disk.after_power_cut(&mut keep)] {
            let left = Arc::new(left);
            let opened = FsBlobs::open(left.clone(), Settings::default());
            let (blobs, found) = opened.expect("opens");
            assert!(put.is_err() || found.len() == 3, "budget {budget}: {found:?}");
            assert!(left.names().iter().all(|name| !name.ends_with(".tmp")));
            for meta in &found {
                let put = puts.iter().find(|put| put.id == meta.id).expect("one of ours");
                let got = blobs.get(meta.id, 0..meta.len).expect("gets");
                assert!(got == put.parts.concat(), "budget {budget}: {} is not whole", meta.id);
            }
            let again = blobs.put_all(&puts).expect("puts");
            assert!(again.iter().all(|outcome| *outcome != PutOutcome::Conflict));
        }
        if put.is_ok() {
            assert!(budget > 15, "the faults were met");
            return;
        }
    }
}
