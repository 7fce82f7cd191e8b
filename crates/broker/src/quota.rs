//! How much of the broker somebody may use: rates, kept by buckets that are charged as work is
//! done, and caps. No clock, no lock, no map: a charge is a few atomic operations on one meter.
//!
//! Work is never refused for a rate. It is done, and the answer is how long whoever caused it is to
//! be held back; a protocol tells its client, and reads nothing more of it for that time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::bytes::{Fields, Malformed, Put};
use crate::clock::Instant;
use crate::error::Error;
use crate::limits::{QUOTA_BURST, QUOTA_DEBT_MAX};

const SECOND_NS: u128 = 1_000_000_000;

/// What may be used. None = as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of records taken in, per second.
    pub bytes_in: Option<u64>,
    /// Bytes of records handed out, per second.
    pub bytes_out: Option<u64>,
    /// Requests per second.
    pub requests: Option<u64>,
    /// Topics at most. What is there already stays when this is set below it, as with all caps.
    pub topics: Option<u64>,
    /// Partitions of all topics together.
    pub partitions: Option<u64>,
    /// Connections at one time.
    pub connections: Option<u64>,
}

impl Quota {
    /// The names of the fields, in the order of their frozen numbers.
    pub const NAMES: [&str; 6] =
        ["bytes_in", "bytes_out", "requests", "topics", "partitions", "connections"];

    /// The values by number, in the order of [`Quota::NAMES`]. A new field takes a new number.
    pub fn values(&self) -> [Option<u64>; 6] {
        [
            self.bytes_in,
            self.bytes_out,
            self.requests,
            self.topics,
            self.partitions,
            self.connections,
        ]
    }

    /// Sets the field of that name.
    ///
    /// # Errors
    /// `Invalid` for a name that is no field.
    pub fn set(&mut self, name: &str, value: Option<u64>) -> Result<(), Error> {
        let number = Quota::NAMES.iter().position(|known| *known == name);
        match number.and_then(|number| self.field(number)) {
            Some(field) => *field = value,
            None => {
                let names = Quota::NAMES.join(", ");
                return Err(Error::invalid(format!("no quota {name:?}; there are {names}")));
            }
        }
        Ok(())
    }

    fn field(&mut self, number: usize) -> Option<&mut Option<u64>> {
        Some(match number {
            0 => &mut self.bytes_in,
            1 => &mut self.bytes_out,
            2 => &mut self.requests,
            3 => &mut self.topics,
            4 => &mut self.partitions,
            5 => &mut self.connections,
            _ => return None,
        })
    }

    /// Refuses a rate of 0, under which nothing would ever go on, and what does not fit a row.
    ///
    /// # Errors
    /// `Invalid`, with the name of the field.
    pub fn check(&self) -> Result<(), Error> {
        const RATES: usize = 3;
        for (number, (name, value)) in Quota::NAMES.iter().zip(self.values()).enumerate() {
            match value {
                Some(0) if number < RATES => {
                    return Err(Error::invalid(format!("{name}: a rate is at least 1 per second")));
                }
                Some(value) if i64::try_from(value).is_err() => {
                    return Err(Error::invalid(format!("{name}: {value} is too much")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let values = self.values();
        into.put_u8(values.iter().flatten().count() as u8);
        for (number, value) in values.iter().enumerate() {
            if let Some(value) = value {
                into.put_u8(number as u8);
                into.put_u64(*value);
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Quota, Malformed> {
        let mut quota = Quota::default();
        for _ in 0..fields.u8()? {
            let (number, value) = (fields.u8()?, fields.u64()?);
            *quota.field(usize::from(number)).ok_or(Malformed)? = Some(value);
        }
        if quota.check().is_ok() { Ok(quota) } else { Err(Malformed) }
    }
}

/// What is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    BytesIn,
    BytesOut,
    Request,
}

/// What somebody uses at the moment, against what they may. It outlives changes of the quota, so
/// that whoever charges it need not look for another.
#[derive(Debug)]
pub struct Meter {
    /// False while no rate is set: then a charge is this one load.
    limited: AtomicBool,
    bytes_in: Bucket,
    bytes_out: Bucket,
    requests: Bucket,
    connections: AtomicU64,
    connections_max: AtomicU64,
    /// Charges that somebody was held back for, since the start.
    holds: AtomicU64,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            limited: AtomicBool::new(false),
            bytes_in: Bucket::default(),
            bytes_out: Bucket::default(),
            requests: Bucket::default(),
            connections: AtomicU64::new(0),
            connections_max: AtomicU64::new(u64::MAX),
            holds: AtomicU64::new(0),
        }
    }
}

impl Meter {
    /// From now on this much may be used. Where a rate changes, what was owed is forgotten.
    pub(crate) fn set(&self, quota: &Quota) {
        self.bytes_in.set(quota.bytes_in);
        self.bytes_out.set(quota.bytes_out);
        self.requests.set(quota.requests);
        self.connections_max.store(quota.connections.unwrap_or(u64::MAX), Ordering::Relaxed);
        let limited = [quota.bytes_in, quota.bytes_out, quota.requests].iter().any(Option::is_some);
        self.limited.store(limited, Ordering::Relaxed);
    }

    /// Charges work that is done; returns how long to hold back who caused it.
    #[inline]
    pub(crate) fn charge(&self, now: Instant, what: Charge, amount: u64) -> Duration {
        if !self.limited.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let bucket = match what {
            Charge::BytesIn => &self.bytes_in,
            Charge::BytesOut => &self.bytes_out,
            Charge::Request => &self.requests,
        };
        let hold = bucket.take(now, amount);
        if !hold.is_zero() {
            self.holds.fetch_add(1, Ordering::Relaxed);
        }
        hold
    }

    /// Counts a connection, unless there are as many as there may be.
    pub(crate) fn sit_down(&self) -> bool {
        let most = self.connections_max.load(Ordering::Relaxed);
        let more = |count: u64| (count < most).then_some(count + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(crate) fn stand_up(&self) {
        let before = self.connections.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "more connections went than came");
    }

    /// Connections at the moment.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many charges have held somebody back, since the start.
    pub fn holds(&self) -> u64 {
        self.holds.load(Ordering::Relaxed)
    }
}

/// A token bucket as one moment: when all that was taken will be paid for at the rate, moved on by
/// the burst (the virtual scheduling form of ITU-T I.371's generic cell rate algorithm). So a full
/// bucket is any moment that has passed, and nothing has to be filled up as time goes by.
///
/// With *k* callers who each wait as told, what was taken by time *t* is at most rate × (*t* +
/// burst) and one charge of each of them, as long as less is owed than [`QUOTA_DEBT_MAX`]: what
/// goes beyond is forgiven, so that no mistake locks anybody out for longer.
#[derive(Debug, Default)]
struct Bucket {
    /// Per second; 0 = no bound.
    rate: AtomicU64,
    /// In nanoseconds of an [`Instant`].
    paid: AtomicU64,
}

impl Bucket {
    fn set(&self, rate: Option<u64>) {
        let rate = rate.unwrap_or(0);
        if self.rate.swap(rate, Ordering::Relaxed) != rate {
            self.paid.store(0, Ordering::Relaxed);
        }
    }

    fn take(&self, now: Instant, amount: u64) -> Duration {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 || amount == 0 {
            return Duration::ZERO;
        }
        // Rounded up: a rate is never exceeded by what is lost between nanoseconds.
        let cost = (u128::from(amount) * SECOND_NS).div_ceil(u128::from(rate));
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        let free = now + QUOTA_BURST;
        let most = free + QUOTA_DEBT_MAX;
        let after = |paid: u64| (Instant(paid).max(now) + cost).min(most);
        let before = self
            .paid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| Some(after(paid).0))
            .expect("it always has a next value");
        after(before).since(free)
    }
}

#[cfg(test)]
mod tests;
