//! Time as it is lent to the core: nothing in here reads a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A monotonic moment: nanoseconds since the process began. Deadlines and leases use only this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    pub const FAR: Instant = Instant(u64::MAX);

    /// Time from `earlier` to here; zero if it lies later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, by: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// Wall-clock time in milliseconds since 1970-01-01 UTC. Timestamps and expiry use this.
pub type WallMs = i64;

/// Both times at the beginning of one step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub mono: Instant,
    pub wall: WallMs,
}

/// Gives the time; the real one lives in `net`, a settable one in tests and the simulator.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}
