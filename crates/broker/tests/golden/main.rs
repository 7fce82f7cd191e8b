//! A data directory of format level 1 as a program once wrote it: what is read today has to be read
//! for ever. Expands `level-1.txt`, opens it, finds every record and every offset, and damages it.
//!
//! Built with `SABIR_GOLDEN_OUT=FILE` the second test also writes such a directory.

mod content;
mod namespaces;
mod text;

use std::sync::Arc;

use sabir_broker::inspect::{self, Report};
use sabir_storage::disk::sim::{Handle, SimDisk};

use content::{build, check};

const LEVEL_1: &str = include_str!("level-1.txt");

fn level_1() -> Arc<SimDisk> {
    text::expand(LEVEL_1)
}

fn look(disk: &Arc<SimDisk>) -> Report {
    inspect::on_disk(Arc::new(Handle(disk.clone())), &[]).expect("readable")
}

#[test]
fn what_level_1_has_written_is_read_for_ever() {
    let disk = level_1();
    let report = look(&disk);
    assert!(report.is_intact(), "{:?}", report.damages);
    check(&disk);
}

#[test]
fn what_is_written_now_is_read_and_found_intact() {
    let disk = build();
    let report = look(&disk);
    assert!(report.is_intact(), "{:?}", report.damages);
    let written = text::shorten(&disk);
    if let Some(path) = option_env!("SABIR_GOLDEN_OUT") {
        std::fs::write(path, &written).expect("written");
    }
    check(&text::expand(&written));
    check(&disk);
}

/// The kinds of effects and rows that the golden directory holds, so that none is forgotten.
#[test]
fn every_kind_of_file_effect_and_row_is_in_it() {
    let report = look(&level_1());
    let kinds: Vec<&str> = report.files.iter().map(|file| file.kind).collect();
    for kind in ["identity", "bundle", "segment", "segment index", "state", "state mark"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let facts: Vec<&str> =
        report.files.iter().flat_map(|file| file.facts.iter().map(|(name, _)| *name)).collect();
    let effects =
        ["append", "topic", "topic gone", "log start", "producer ids", "group named", "group"];
    let rows = ["checkpoint", "log", "extents", "offsets", "producer", "catalog"];
    for name in effects.iter().chain(&rows).chain(&["group gone"]) {
        assert!(facts.contains(name), "{name} in {facts:?}");
    }
}

/// One flipped bit anywhere: either nothing that counts is lost and the broker reads everything, or
/// the look has named the file. In what carries no slack, it names it in any case.
#[test]
fn a_flipped_bit_is_named_or_harmless() {
    let (mut named, mut harmless) = (0, 0);
    let files: Vec<(String, u64)> = level_1().files();
    for (path, len) in files {
        let all = path == "IDENT" || path.starts_with("blob/");
        for at in meaningful(&path, len, if all { 30 } else { 25 }) {
            let disk = level_1();
            let bit = (at % 8) as u8;
            disk.flip(&path, at, bit);
            let report = look(&disk);
            if report.damages.iter().any(|damage| damage.path == path) {
                named += 1;
                continue;
            }
            assert!(!all, "bit {bit} of byte {at} of {path} goes unnamed: {:?}", report.damages);
            assert!(report.is_intact(), "{path}, byte {at}: {:?}", report.damages);
            println!("unnamed: bit {bit} of byte {at} of {path}");
            check(&disk);
            harmless += 1;
        }
    }
    println!("{named} named, {harmless} harmless");
    assert!(named > 100 && harmless > 0, "{named} named, {harmless} harmless");
}

/// Bytes of a file to damage: up to `count` of those that are not zero, and a few others.
fn meaningful(path: &str, len: u64, count: usize) -> Vec<u64> {
    let content = text::content(&level_1(), path);
    let full = content.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at as u64);
    let full: Vec<u64> = full.collect();
    let every = full.len().div_ceil(count);
    let mut places: Vec<u64> = full.into_iter().step_by(every).collect();
    places.extend((0..len).step_by(usize::try_from(len / 4 + 1).expect("small")));
    places
}
