//! What is done at leisure: the daily export of the rows, and the scrubber, which reads again what
//! blobs hold before somebody needs it. One thread of its own, that no one waits for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sabir_storage::export::Exported;
use sabir_storage::extent::Extent;
use sabir_storage::ident::Ident;
use sabir_storage::scrub::{self, Finding};
use sabir_storage::store::StoreError;

use crate::caller::Caller;
use crate::clock::{Clock, Instant, Now, WallMs};
use crate::error::{Error, Kind};
use crate::keeper::Keeper;
use crate::policy::{Action, Resource};
use crate::topic::{Partition, Topic};

/// The longest rest between two looks whether to stop.
const REST: Duration = Duration::from_millis(50);
/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first walk of the scrubber begins so long after the start ...
const SCRUB_FIRST: Duration = Duration::from_secs(60);
/// ... and the next so long after the one before began.
const SCRUB_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The first export is made when the oldest topic is so old: names must not be lost with the rows
/// of a young directory.
const EXPORT_FIRST_MS: WallMs = 60 * 1000;
/// An export that failed is tried again after this time.
const EXPORT_AGAIN_MS: WallMs = 10 * 60 * 1000;
/// Findings remembered, so that each is told once.
const FINDINGS_MAX: usize = 10_000;

/// When what is done.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepSettings {
    /// How often the rows are exported; zero = only on demand.
    pub export_every: Duration,
    /// Bytes that the scrubber reads per second; 0 = it is off.
    pub scrub_bytes: u64,
}

impl Default for UpkeepSettings {
    fn default() -> UpkeepSettings {
        let export_every = Duration::from_secs(24 * 60 * 60);
        UpkeepSettings { export_every, scrub_bytes: 20 << 20 }
    }
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepStats {
    /// Exports written, and when the newest was, in milliseconds since 1970; 0 = there is none.
    pub exports: u64,
    pub exported_ms: i64,
    /// Walks of the scrubber that came to their end, bytes it has read, damages it has found.
    pub scrubs: u64,
    pub scrubbed_bytes: u64,
    pub findings: u64,
}

/// Exports and scrubs.
pub struct Upkeep {
    keeper: Arc<Keeper>,
    ident: Ident,
    settings: UpkeepSettings,
    stop: AtomicBool,
    /// One export at a time.
    exporting: Mutex<()>,
    told: Mutex<BTreeSet<(String, u64)>>,
    exports: AtomicU64,
    exported_ms: AtomicI64,
    scrubs: AtomicU64,
    scrubbed: AtomicU64,
    findings: AtomicU64,
}

impl Caller {
    /// Makes a checkpoint and exports its rows; None if there is nothing to export.
    ///
    /// # Errors
    /// `Denied`; `Full` without room; `Unavailable` if the disk fails.
    pub fn export(&self, now: Now) -> Result<Option<Exported>, Error> {
        self.allowed(Action::Admin, Resource::Cluster)?;
        self.broker.upkeep.export_now(now).map_err(|error| {
            let kind = if error.is_full() { Kind::Full } else { Kind::Unavailable };
            Error::new(kind, format!("the rows cannot be exported: {error}"))
        })
    }
}

impl Upkeep {
    pub(crate) fn new(keeper: Arc<Keeper>, ident: Ident, settings: UpkeepSettings) -> Upkeep {
        let exported_ms = keeper.store.exported_ms().ok().flatten().unwrap_or(0);
        Upkeep {
            keeper,
            ident,
            settings,
            stop: AtomicBool::new(false),
            exporting: Mutex::new(()),
            told: Mutex::default(),
            exports: AtomicU64::new(0),
            exported_ms: AtomicI64::new(exported_ms),
            scrubs: AtomicU64::new(0),
            scrubbed: AtomicU64::new(0),
            findings: AtomicU64::new(0),
        }
    }

    /// What was done since the start.
    pub fn stats(&self) -> UpkeepStats {
        UpkeepStats {
            exports: self.exports.load(Ordering::Relaxed),
            exported_ms: self.exported_ms.load(Ordering::Relaxed),
            scrubs: self.scrubs.load(Ordering::Relaxed),
            scrubbed_bytes: self.scrubbed.load(Ordering::Relaxed),
            findings: self.findings.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Works until told to stop; a failure is logged, and what is due is tried again later.
    pub(crate) fn run(&self, clock: &dyn Clock) {
        let began = clock.now().mono;
        let (mut looked, mut scrubbed) = (began, None::<Instant>);
        let mut not_before = i64::MIN;
        while !self.is_stopped() {
            std::thread::park_timeout(REST);
            let now = clock.now();
            if now.mono.since(looked) < LOOK_EVERY {
                continue;
            }
            looked = now.mono;
            if now.wall >= not_before && self.export_is_due(now.wall) {
                not_before = now.wall + EXPORT_AGAIN_MS;
                match self.export_now(now) {
                    Ok(Some(done)) => tracing::info!(path = done.path, "rows exported"),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "the rows cannot be exported now"),
                }
            }
            let due = match scrubbed {
                None => now.mono.since(began) >= SCRUB_FIRST,
                Some(before) => now.mono.since(before) >= SCRUB_EVERY,
            };
            if due && self.settings.scrub_bytes > 0 {
                scrubbed = Some(now.mono);
                let mut pace = Pace { rate: self.settings.scrub_bytes, owed: Duration::ZERO };
                self.scrub(&mut |bytes| pace.wait(bytes, &self.stop));
            }
        }
    }

    fn export_is_due(&self, now_ms: WallMs) -> bool {
        let every = i64::try_from(self.settings.export_every.as_millis()).unwrap_or(i64::MAX);
        let exported = self.exported_ms.load(Ordering::Relaxed);
        let oldest = || self.keeper.catalog.all().iter().map(|topic| topic.created_ms).min();
        export_due(every, exported, oldest).is_some_and(|due| now_ms >= due)
    }

    /// Makes a checkpoint and exports its rows, whatever is due.
    pub(crate) fn export_now(&self, now: Now) -> Result<Option<Exported>, StoreError> {
        let _one = self.exporting.lock();
        self.keeper.checkpoint_now()?;
        let done = self.keeper.store.export(&self.ident, now.wall)?;
        if let Some(done) = &done {
            assert!(done.checkpoint > 0 && done.bytes > 0, "an export of nothing");
            self.exports.fetch_add(1, Ordering::Relaxed);
            self.exported_ms.store(now.wall, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// Reads and checks everything that blobs hold, once. `pace` is told of the bytes read and ends
    /// the walk with false. Returns how many new damages were found.
    pub fn scrub(&self, pace: &mut dyn FnMut(u64) -> bool) -> u64 {
        let before = self.findings.load(Ordering::Relaxed);
        let mut goes_on = true;
        let mut pace = |bytes| {
            self.scrubbed.fetch_add(bytes, Ordering::Relaxed);
            goes_on = goes_on && pace(bytes);
            goes_on
        };
        for topic in self.keeper.catalog.all() {
            for (number, partition) in topic.partitions.iter().enumerate() {
                for extent in partition.view.extents() {
                    if !pace(0) {
                        return self.findings.load(Ordering::Relaxed) - before;
                    }
                    let found = scrub::scrub(&*self.keeper.store.blobs, &extent, &mut pace);
                    self.tell(&topic, number, partition, &extent, found);
                }
            }
        }
        if goes_on {
            self.scrubs.fetch_add(1, Ordering::Relaxed);
        }
        self.findings.load(Ordering::Relaxed) - before
    }

    fn tell(
        &self,
        topic: &Topic,
        number: usize,
        partition: &Partition,
        extent: &Extent,
        found: Vec<Finding>,
    ) {
        // A checkpoint may have replaced the stretch meanwhile, and deleted the file.
        if found.is_empty() || !partition.view.extents().contains(extent) {
            return;
        }
        for Finding { path, range, offsets, why } in found {
            let mut told = self.told.lock();
            if told.len() >= FINDINGS_MAX || !told.insert((path.clone(), offsets.start)) {
                continue;
            }
            drop(told);
            self.findings.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                file = path,
                bytes = ?range,
                topic = &*topic.name,
                partition = number,
                offsets = ?offsets,
                why,
                "the scrubber has found damage: consumers get an error for these offsets until \
                 the server is stopped and `sabir repair` is run on its data directory"
            );
        }
    }
}

/// When an export is due: an interval after the newest one. Without one, when the oldest topic is a
/// minute old, or as old as the interval if that is shorter.
fn export_due(
    every: WallMs,
    exported: WallMs,
    oldest: impl Fn() -> Option<WallMs>,
) -> Option<WallMs> {
    match (every, exported) {
        (0, _) => None,
        (_, 0) => Some(oldest()?.saturating_add(every.min(EXPORT_FIRST_MS))),
        _ => Some(exported.saturating_add(every)),
    }
}

/// Holds the scrubber to its rate.
struct Pace {
    /// Bytes per second.
    rate: u64,
    owed: Duration,
}

impl Pace {
    /// Rests for as long as reading these bytes may take; false once it is stopped.
    fn wait(&mut self, bytes: u64, stop: &AtomicBool) -> bool {
        self.owed += Duration::from_secs_f64(bytes as f64 / self.rate.max(1) as f64);
        while self.owed >= Duration::from_millis(5) && !stop.load(Ordering::Acquire) {
            let rest = self.owed.min(REST);
            std::thread::park_timeout(rest);
            self.owed -= rest;
        }
        !stop.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_export_comes_soon_and_the_others_by_the_interval() {
        const DAY: WallMs = 24 * 60 * 60 * 1000;
        let check = |every, exported, oldest, due| {
            assert_eq!(
                export_due(every, exported, || oldest),
                due,
                "{every} {exported} {oldest:?}"
            );
        };
        check(DAY, 0, None, None);
        check(DAY, 0, Some(5), Some(5 + EXPORT_FIRST_MS));
        check(1000, 0, Some(5), Some(1005));
        check(DAY, 7, Some(5), Some(7 + DAY));
        check(0, 0, Some(5), None);
        check(0, 7, Some(5), None);
    }
}
