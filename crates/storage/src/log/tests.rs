//! Reading over the border between blobs and memory, and what is to be stored of extents.

use super::*;
use crate::blob::BlobId;

fn extent(base: u64, next: u64) -> Extent {
    let blob = BlobId::Bundle { shard: 0, number: base };
    Extent { log: 1, blob, position: 0, len: 10, base, next, max_timestamp: 0 }
}

fn batch(base: Offset, next: Offset, frame: FrameNo) -> TailBatch {
    let bytes = Bytes::from(vec![b'x'; 10]);
    TailBatch { base, next, max_timestamp: 0, frame, bytes }
}

/// Offsets 0 to 10 in a blob, 10 to 20 in blob and memory, 20 to 30 in memory, 30 to 40 unseen.
fn view() -> LogView {
    let view = LogView::new(1, 0, 0, 0);
    for at in 0..4 {
        view.push(batch(at * 10, at * 10 + 10, at.unsigned_abs() + 1));
    }
    view.show(30, &mut Vec::new());
    view.add_extents(&[extent(0, 10), extent(10, 20)]);
    view.evict(1);
    view
}

#[test]
fn a_read_finds_its_offset_wherever_it_lies() {
    let view = view();
    let check = |from: Offset, room: usize, want: &str| {
        let got = match view.read(from, room, true) {
            Read::Batches(found) => format!("{} batches", found.len()),
            Read::Cold(extent) => format!("cold {}", extent.base),
            Read::AtEnd => "end".into(),
            Read::OutOfRange => "out".into(),
        };
        assert_eq!(got, want, "from {from} with room for {room}");
    };
    check(0, 100, "cold 0");
    check(9, 100, "cold 0");
    check(10, 100, "2 batches");
    check(15, 19, "1 batches");
    check(15, 0, "1 batches");
    check(29, 100, "1 batches");
    check(30, 100, "end");
    check(31, 100, "out");
    check(-1, 100, "out");
    assert_eq!(view.read(10, 5, false), Read::Batches(vec![]));
    view.set_start(12);
    check(11, 100, "out");
    check(12, 100, "2 batches");
}

#[test]
fn only_what_no_blob_holds_is_bundled_and_only_what_a_blob_holds_is_evicted() {
    let view = view();
    let bases = |upto| view.unbundled(upto).iter().map(|batch| batch.base).collect::<Vec<_>>();
    assert_eq!(bases(3), vec![20]);
    assert_eq!(bases(9), vec![20, 30]);
    view.evict(9);
    assert!(matches!(view.read(20, 1, true), Read::Batches(_)), "not in a blob yet");
    assert!(matches!(view.read(19, 1, true), Read::Cold(_)));
    assert_eq!(view.bytes(), 40);
}

#[test]
fn extents_are_stored_in_pages_of_which_only_changed_ones_are_written() {
    let view = LogView::new(1, 0, 0, 0);
    let add = |from: u64, to: u64| {
        (from..to).for_each(|at| view.add_extents(&[extent(at, at + 1)]));
        view.visible.store(to_offset(to), Ordering::Release);
    };
    let counts = |pages: &Pages| -> Vec<(u64, usize)> {
        pages.put.iter().map(|(page, _, extents)| (*page, extents.len())).collect()
    };
    add(0, 100);
    assert_eq!(counts(&view.take_pages()), vec![(0, 64), (1, 36)]);
    assert_eq!(view.take_pages(), Pages::default());
    add(100, 130);
    assert_eq!(counts(&view.take_pages()), vec![(1, 64), (2, 2)]);
    view.set_start(70);
    assert_eq!(view.drop_below(70).len(), 70);
    let pages = view.take_pages();
    assert_eq!((counts(&pages), pages.gone), (vec![(1, 58), (2, 2)], vec![(0, 1)]));
    view.set_start(130);
    view.drop_below(130);
    let pages = view.take_pages();
    assert_eq!((counts(&pages), pages.gone), (vec![(2, 0)], vec![(1, 2)]));
}

#[test]
fn a_merged_stretch_stands_for_its_run_and_pages_behind_the_end_go() {
    let view = LogView::new(1, 0, 0, 0);
    (0..200).for_each(|at| view.add_extents(&[extent(at, at + 1)]));
    view.show(200, &mut Vec::new());
    view.take_pages();
    let run: Vec<_> = (10..160).map(|at| extent(at, at + 1)).collect();
    view.replace_extents(&run, extent(10, 160));
    assert_eq!(view.read(100, 1, true), Read::Cold(extent(10, 160)));
    assert_eq!(view.read(170, 1, true), Read::Cold(extent(170, 171)));
    let pages = view.take_pages();
    assert_eq!((pages.put.len(), pages.put[0].2.len(), pages.gone), (1, 51, vec![(1, 4)]));
}
