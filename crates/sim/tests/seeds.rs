//! The simulator under a fixed number of seeds, or under the one that `SABIR_SEED` names.

use sabir_sim::seed::{self, Verdict};

/// Seeds of the test command; the long runs are `cargo run -p sabir-sim --release -- --seeds N`.
const SEEDS: u64 = 300;

fn wanted() -> Option<u64> {
    let text = std::env::var("SABIR_SEED").ok()?;
    Some(text.parse().expect("SABIR_SEED is a number"))
}

fn passes(verdict: &Verdict) {
    assert!(verdict.broken.is_empty(), "\n{}", verdict.report());
}

#[test]
fn every_promise_is_kept_under_every_seed() {
    if wanted().is_some() {
        return;
    }
    let (mut lives, mut events) = (0, 0);
    for seed in 0..SEEDS {
        let verdict = seed::run(seed);
        passes(&verdict);
        lives += verdict.counts.lives;
        events += verdict.events;
    }
    // A simulation in which nothing happens would pass too.
    assert!(lives > 2 * SEEDS, "{lives} lives of the broker");
    assert!(events as u64 > 100 * SEEDS, "{events} events");
}

#[test]
fn one_seed() {
    let seed = wanted().unwrap_or(1);
    let verdict = seed::run_with(seed, |world| {
        if wanted().is_some() {
            println!("{:#?}", world.plan);
            for (at, event) in world.history.events.iter().enumerate() {
                println!("{at:6} {event:?}");
            }
        }
    });
    println!("{:?}", verdict.counts);
    passes(&verdict);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 77, 1234] {
        let (first, second) = (seed::run(seed), seed::run(seed));
        assert!(first.events > 50, "seed {seed} has {} events", first.events);
        assert_eq!(first.fingerprint, second.fingerprint, "the events of seed {seed}");
        assert_eq!(first.next, second.next, "the next random number of seed {seed}");
    }
    assert_ne!(seed::run(1).fingerprint, seed::run(2).fingerprint);
}
