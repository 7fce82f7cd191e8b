//! The simulator is tested too: each bug that can be planted is found within a stated number of
//! seeds. Run with `cargo test -p sabir-sim --features planted-bugs --test planted`; what it found
//! last stands in `docs/proof/planted-bugs.md`.
#![cfg(feature = "planted-bugs")]

use sabir_sim::seed;
use sabir_storage::planted::{BUGS, Bug, plant};

/// Seeds within which a bug must be found.
fn bound(bug: Bug) -> u64 {
    match bug {
        // They need two rare things within a few steps.
        Bug::TrustOldGeneration | Bug::AckKnownEarly | Bug::ShowStartEarly => 2000,
        Bug::CommitZombie => 8000,
        _ => 200,
    }
}

/// The seeds until it was found, and what was found.
fn hunt(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..bound(bug)).find_map(|seed| {
        let verdict = seed::run(seed);
        // Whoever is stuck says least of why.
        let said = verdict.broken.iter().find(|line| !line.starts_with("C19"));
        said.or(verdict.broken.first()).map(|broken| (seed + 1, broken.clone()))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in BUGS.iter().filter(|bug| only().is_none_or(|name| name == format!("{bug:?}"))) {
        match hunt(*bug) {
            Some((seeds, broken)) => println!("{bug:?}: found after {seeds} seeds: {broken}"),
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not found within their bounds: {missed:?}");
}

/// One bug only: `SABIR_BUG=AckEarly`.
fn only() -> Option<String> {
    std::env::var("SABIR_BUG").ok()
}
