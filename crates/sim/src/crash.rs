//! The crash enumerator: the same short run again and again, each time ended at another disk
//! operation and in another way, and every promise checked over what recovery makes of it.

use std::io::ErrorKind;

use sabir_storage::disk::sim::Fault;

use crate::model::Down;
use crate::seed::{self, Verdict};
use crate::world::{Script, World};

/// Ways to end at an operation: the cache of the device is lost, parts of it survive (three
/// draws), the process dies of the error, only syncs fail.
const ENDS: &[(Down, bool)] = &[
    (Down::PowerLost, false),
    (Down::PowerTorn, false),
    (Down::PowerTorn, false),
    (Down::PowerTorn, false),
    (Down::Killed, false),
    (Down::PowerLost, true),
    (Down::Killed, true),
];
/// Operations of a recovery at which it is ended once more.
const AGAIN_MAX: u64 = 10;

/// What an enumeration came to.
#[derive(Clone, Debug, Default)]
pub struct Enumerated {
    /// Disk operations of the run.
    pub operations: u64,
    /// Crashes that were tried.
    pub points: u64,
    /// Those that broke a promise, with what they did to get there.
    pub broken: Vec<(Script, Verdict)>,
}

impl Enumerated {
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (script, verdict) in self.broken.iter().take(5) {
            text.push_str(&format!("{script:?}\n{}", verdict.report()));
        }
        text
    }
}

/// Ends the short run of a seed at every `stride`-th of its disk operations.
pub fn enumerate(seed: u64, stride: u64) -> Enumerated {
    let mut whole = World::scripted(seed, None);
    (0..whole.plan.steps).for_each(|_| whole.step());
    let operations = whole.disk.operations();
    let mut all = Enumerated { operations, ..Enumerated::default() };
    for after in (0..operations).step_by(usize::try_from(stride).expect("small")) {
        for (nth, (end, syncs_only)) in ENDS.iter().copied().enumerate() {
            let fault = Fault { after, kind: ErrorKind::Other, syncs_only };
            // Some recoveries are ended once more, each of their operations in turn.
            let again = (nth as u64 % 2 == 1).then_some((after + nth as u64) % AGAIN_MAX);
            let script = Script { fault, end, again };
            let verdict = seed::judge(seed, || World::scripted(seed, Some(script)), |_| {});
            all.points += 1;
            if !verdict.broken.is_empty() {
                all.broken.push((script, verdict));
            }
        }
    }
    all
}
