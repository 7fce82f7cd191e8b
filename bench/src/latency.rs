//! Latencies: a histogram that its thread fills and the reporting thread empties and adds up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer ones are counted as this: an hour, in nanoseconds.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Percentiles are exact to three digits.
const DIGITS: u8 = 3;

/// A histogram of nanoseconds.
pub struct Latency(Histogram<u64>);

impl Latency {
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Self(histogram.expect("the bounds are far enough apart"))
    }

    pub fn record(&mut self, ns: u64, count: u64) {
        self.0.saturating_record_n(ns, count);
    }

    /// Adds what `other` has counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// None where nothing was counted.
    pub fn summary(&self, counted_from: &str) -> Option<Summary> {
        let us = |percentile| self.0.value_at_percentile(percentile) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Summary {
            from: counted_from.to_owned(),
            p50: us(50.0),
            p99: us(99.0),
            p99_9: us(99.9),
            max: self.0.max() as f64 / 1e3,
            count: self.0.len(),
        })
    }
}

/// A histogram that two threads share.
pub struct Shared(Mutex<Latency>);

impl Default for Shared {
    fn default() -> Self {
        Self(Mutex::new(Latency::new()))
    }
}

impl Shared {
    /// What a thread that failed has left behind is still good.
    pub fn lock(&self) -> MutexGuard<'_, Latency> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kinds of latency of a run.
#[derive(Default)]
pub struct Latencies {
    /// Until the answer.
    pub ack: Shared,
    /// From the due time until the arrival at a consumer of the same run.
    pub delivery: Shared,
    /// From the due time until the write: the generator's own delay.
    pub lag: Shared,
}

impl Latencies {
    /// Forgets all.
    pub fn clear(&self) {
        for shared in [&self.ack, &self.delivery, &self.lag] {
            shared.lock().0.reset();
        }
    }
}

/// Percentiles, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// What they are counted from: `write`, or in an open loop the `due` time.
    pub from: String,
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_ramp() {
        let (mut odd, mut even) = (Latency::new(), Latency::new());
        for us in 1..=10_000_u64 {
            if us % 2 == 0 { &mut even } else { &mut odd }.record(us * 1000, 1);
        }
        odd.add(&even);
        let summary = odd.summary("due").expect("not empty");
        let near = |got: f64, exact: f64| {
            assert!((exact..=exact * 1.001).contains(&got), "{got}, not {exact}");
        };
        near(summary.p50, 5_000.0);
        near(summary.p99, 9_900.0);
        near(summary.p99_9, 9_990.0);
        near(summary.max, 10_000.0);
        assert_eq!(summary.count, 10_000);
    }

    #[test]
    fn the_longest_and_the_none() {
        let latencies = Latencies::default();
        assert!(latencies.ack.lock().summary("due").is_none());
        latencies.ack.lock().record(u64::MAX, 2);
        let summary = latencies.ack.lock().summary("due").expect("two");
        assert!(summary.max >= LONGEST_NS as f64 / 1e3 && summary.count == 2);
        latencies.clear();
        assert!(latencies.ack.lock().summary("due").is_none());
    }
}
