//! One seed from its beginning to its verdict: a time of faults, a time of healing in which
//! everything must come to its end, and two readings of all there is with a power cut between.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use crate::checkers;
use crate::model::{Down, Event};
use crate::workload::consumer::{Consumer, ConsumerPlan};
use crate::world::{Counts, World};

/// Simulated time after healing in which somebody who is not done must get further. Shorter than
/// any deadline of a connection: what only a timer would mend is found.
const HEALED: Duration = Duration::from_secs(15);
/// ... and in which everybody must be done, even if all of them seem to get further.
const DONE: Duration = Duration::from_secs(100);

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub seed: u64,
    /// Broken promises, in words; empty if all were kept.
    pub broken: Vec<String>,
    /// Equal for equal runs.
    pub fingerprint: u64,
    /// The number that would be drawn next.
    pub next: u64,
    pub events: usize,
    /// Operations that changed or synced something on the disk.
    pub operations: u64,
    pub counts: Counts,
}

impl Verdict {
    /// What to show when something is broken.
    pub fn report(&self) -> String {
        let Verdict { seed, broken, .. } = self;
        let mut text = format!("seed {seed}: {} broken promises\n", broken.len());
        for line in broken.iter().take(20) {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!("repeat it with: {}\n", command(*seed)));
        text
    }
}

/// The command that repeats a seed.
pub fn command(seed: u64) -> String {
    format!("SABIR_SEED={seed} cargo test -p sabir-sim one_seed -- --nocapture")
}

/// Runs a seed. A panic of the code under test is a verdict too.
pub fn run(seed: u64) -> Verdict {
    run_with(seed, |_| {})
}

/// The same; `done` looks at the world at the end.
pub fn run_with(seed: u64, done: impl FnOnce(&World)) -> Verdict {
    judge(seed, || World::new(seed), done)
}

/// Plays a world to its end and judges it.
pub fn judge(seed: u64, make: impl FnOnce() -> World, done: impl FnOnce(&World)) -> Verdict {
    name_seed_in_panics();
    RUNNING.set(Some(seed));
    let run = catch_unwind(AssertUnwindSafe(|| {
        let mut world = make();
        let mut broken = play(&mut world);
        broken.extend(checkers::check(&world.history.events));
        done(&world);
        Verdict {
            seed,
            broken,
            fingerprint: world.history.fingerprint(),
            next: world.chance.next(),
            events: world.history.events.len(),
            operations: world.disk.operations(),
            counts: world.counts,
        }
    }));
    RUNNING.set(None);
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let broken = vec![format!("panic: {}", text.unwrap_or_default())];
        let counts = Counts::default();
        Verdict { seed, broken, fingerprint: 0, next: 0, events: 0, operations: 0, counts }
    })
}

/// Plays all parts; returns who got stuck.
fn play(world: &mut World) -> Vec<String> {
    for _ in 0..world.plan.steps {
        world.step();
    }
    world.heal();
    let mut stuck = finish(world);
    if !stuck.is_empty() {
        return stuck;
    }
    read_all(world, &mut stuck);
    world.look();
    world.die(Down::PowerLost);
    read_all(world, &mut stuck);
    stuck
}

/// Goes on until everybody is done; says who is not, once none of them gets any further.
pub(crate) fn finish(world: &mut World) -> Vec<String> {
    let mut before = world.unfinished();
    let begun = world.now.mono;
    let mut since = begun;
    loop {
        for _ in 0..5 {
            world.sweep();
        }
        let unfinished = world.unfinished();
        if unfinished.is_empty() {
            return Vec::new();
        }
        if unfinished != before && world.now.mono.since(begun) < DONE {
            (before, since) = (unfinished, world.now.mono);
        } else if world.now.mono.since(since) >= HEALED || world.now.mono.since(begun) >= DONE {
            return before.into_iter().map(|who| format!("C19 stuck: {who}")).collect();
        }
    }
}

fn read_all(world: &mut World, stuck: &mut Vec<String>) {
    let mut topics = world.plan.topics.clone();
    topics.extend(world.plan.churned.iter().cloned());
    topics.extend(world.plan.kept().map(|(name, _)| name.clone()));
    let id = world.next_client();
    let plan = ConsumerPlan {
        topics,
        churn: !world.plan.churned.is_empty(),
        relaxed: world.plan.kept().any(|(_, policy)| policy.durability.is_some()),
        version: 13,
        session: false,
        max_wait_ms: 0,
        max_bytes: 1 << 20,
        drain: true,
    };
    world.clients.push(Box::new(Consumer::new(id, plan)));
    stuck.extend(finish(world));
    world.history.add(Event::Read { reader: id });
}

thread_local! {
    /// The seed that this thread runs: what aborts the process still says which.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes every panic name its seed first: one under a shard's lock ends the process.
fn name_seed_in_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Some(seed) = RUNNING.get() {
                let _unread = writeln!(std::io::stderr(), "seed {seed}; {}", command(seed));
            }
            before(info);
        }));
    });
}
