//! Buckets against the bound that they promise, and the form of a quota.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

#[test]
fn a_bucket_holds_back_what_exceeds_burst_and_rate() {
    // Rate; charges of (ms, amount, ms to hold back).
    let check = |rate: u64, charges: &[(u64, u64, u64)]| {
        let bucket = Bucket::default();
        bucket.set(Some(rate));
        for (number, (ms, amount, hold)) in charges.iter().enumerate() {
            let found = bucket.take(at(*ms), *amount);
            assert_eq!(found, Duration::from_millis(*hold), "charge {number} of {charges:?}");
        }
    };
    check(1000, &[(0, 1000, 0), (0, 1, 1), (0, 500, 501), (501, 0, 0), (501, 250, 250)]);
    // What was not used in an hour is no more than a burst.
    check(1000, &[(3_600_000, 1000, 0), (3_600_000, 100, 100)]);
    check(10, &[(5, 1, 0), (5, 9, 0), (5, 1, 100), (1005, 9, 0), (1005, 1, 100), (1005, 1, 200)]);
    // Alone too large for the burst: it goes through, and is paid for.
    check(100, &[(0, 5000, 49_000), (49_000, 1, 10), (60_000, 1, 0)]);
    // More than anybody is made to wait for.
    check(1, &[(0, 1_000_000, 600_000), (600_000, 1, 1000)]);
    check(u64::MAX, &[(0, u64::MAX, 0), (0, u64::MAX, 1000)]);
}

#[test]
fn a_third_of_a_second_is_rounded_up() {
    let bucket = Bucket::default();
    bucket.set(Some(3));
    let holds = [3, 1, 1, 1].map(|amount| bucket.take(at(0), amount).as_nanos());
    assert_eq!(holds, [0, 333_333_334, 666_666_668, 1_000_000_002]);
}

#[test]
fn a_changed_rate_forgets_what_was_owed_and_the_same_does_not() {
    let meter = Meter::default();
    assert_eq!(meter.charge(at(0), Charge::BytesIn, u64::MAX), Duration::ZERO);
    let slow = Quota { bytes_in: Some(10), ..Quota::default() };
    meter.set(&slow);
    assert_eq!(meter.charge(at(0), Charge::BytesIn, 30), 2 * SECOND);
    assert_eq!(meter.charge(at(0), Charge::BytesOut, 30), Duration::ZERO);
    meter.set(&slow);
    assert_eq!(meter.charge(at(0), Charge::BytesIn, 10), 3 * SECOND);
    meter.set(&Quota { bytes_in: Some(20), ..Quota::default() });
    assert_eq!(meter.charge(at(0), Charge::BytesIn, 30), SECOND / 2);
    meter.set(&Quota::default());
    assert_eq!(meter.charge(at(0), Charge::BytesIn, 30), Duration::ZERO);
    assert_eq!(meter.holds(), 3);
}

#[test]
fn connections_have_as_many_seats_as_there_are() {
    let meter = Meter::default();
    meter.set(&Quota { connections: Some(2), ..Quota::default() });
    assert_eq!([(); 3].map(|()| meter.sit_down()), [true, true, false]);
    meter.stand_up();
    assert!(meter.sit_down());
    // Who is there stays when there are fewer seats.
    meter.set(&Quota { connections: Some(0), ..Quota::default() });
    assert!(!meter.sit_down());
    assert_eq!(meter.connections(), 2);
}

#[test]
fn a_quota_reads_back_and_what_means_nothing_is_refused() {
    let mut quota = Quota::default();
    for (value, name) in (1..).zip(Quota::NAMES) {
        quota.set(name, Some(value)).expect("it has that field");
        let mut bytes = Vec::new();
        quota.encode(&mut bytes);
        assert_eq!(Quota::decode(&mut Fields(&bytes)), Ok(quota));
        for len in 0..bytes.len() {
            assert!(Quota::decode(&mut Fields(&bytes[..len])).is_err(), "cut at {len}");
        }
    }
    assert_eq!(quota.values(), [1, 2, 3, 4, 5, 6].map(Some));
    let refused = |name: &str, value| {
        let mut quota = Quota::default();
        quota.set(name, Some(value)).and_then(|()| quota.check()).err().map(|e| e.message)
    };
    let zero = "a rate is at least 1 per second";
    assert_eq!(refused("bytes_in", 0), Some(format!("bytes_in: {zero}").into()));
    assert_eq!(refused("requests", 0), Some(format!("requests: {zero}").into()));
    assert_eq!(refused("topics", 0), None);
    assert_eq!(refused("topics", 1 << 63), Some("topics: 9223372036854775808 is too much".into()));
    let names = "bytes_in, bytes_out, requests, topics, partitions, connections";
    assert_eq!(refused("tea", 1), Some(format!("no quota \"tea\"; there are {names}").into()));
}

proptest! {
    /// Whatever several callers do who wait as told: never more than the rate allows, and a burst,
    /// and the last charge of each. A caller alone that never idles gets all of the rate.
    #[test]
    fn nobody_gets_more_than_the_rate_and_everybody_goes_on(
        rate in 1_u64..5_000_000,
        users in 1_usize..6,
        charges in vec((0_usize..6, 1_u64..=1000, 0_u64..3000), 1..300),
    ) {
        let bucket = Bucket::default();
        bucket.set(Some(rate));
        // The largest charge is paid for within seconds, so that nothing is forgiven.
        let largest = rate * 5;
        // When each of them may go on.
        let mut free = vec![Instant(0); users];
        let (mut now, mut taken) = (Instant(0), 0_u128);
        for (who, share, idle_ms) in charges {
            let free = &mut free[who % users];
            now = now.max(*free) + Duration::from_millis(idle_ms);
            let amount = (largest * share / 1000).max(1);
            taken += u128::from(amount);
            let hold = bucket.take(now, amount);
            prop_assert!(hold <= QUOTA_DEBT_MAX);
            *free = now + hold;
            let time = u128::from(now.0) + QUOTA_BURST.as_nanos();
            let allowed = u128::from(rate) * time / SECOND_NS
                + u128::from(largest.max(1)) * users as u128;
            prop_assert!(taken <= allowed, "{taken} of {allowed} at {now:?}");
        }
    }

    #[test]
    fn a_caller_that_never_idles_gets_all_of_the_rate(
        rate in 1_u64..10_000_000_000,
        amounts in vec(1_u64..1_000_000, 1..200),
    ) {
        let bucket = Bucket::default();
        bucket.set(Some(rate));
        let (mut now, mut taken, mut before) = (Instant(0), 0_u128, 0_u128);
        let mut forgiven = false;
        for amount in &amounts {
            // All that was taken when this charge began was within rate and burst.
            let time = u128::from(now.0) + QUOTA_BURST.as_nanos();
            prop_assert!(forgiven || before * SECOND_NS <= u128::from(rate) * time);
            taken += u128::from(*amount);
            before = taken;
            let hold = bucket.take(now, *amount);
            forgiven |= hold == QUOTA_DEBT_MAX;
            now = now + hold;
        }
        // One nanosecond may be lost with each charge.
        let lost = amounts.len() as u128;
        let time = u128::from(now.0).saturating_sub(lost);
        prop_assert!(taken * SECOND_NS >= u128::from(rate) * time, "{taken} until {now:?}");
    }
}
