//! The real clock. The only place that reads the system's clocks; everybody else is lent the time.

use std::time::{Duration, Instant as Monotonic, SystemTime, UNIX_EPOCH};

use sabir_broker::clock::{Clock, Instant, Now};

/// Monotonic time since it was made, and the system's wall time.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Monotonic,
}

impl SystemClock {
    pub fn start() -> SystemClock {
        SystemClock { origin: Monotonic::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            mono: Instant::default() + self.origin.elapsed(),
            wall: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_forward_and_knows_the_century() {
        let clock = SystemClock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.mono <= second.mono);
        assert!(first.wall > 1_700_000_000_000, "{}", first.wall);
    }
}
