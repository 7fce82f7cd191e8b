//! Recovery from a crash at every disk operation of short runs.

use sabir_sim::crash::enumerate;

#[test]
fn recovery_keeps_every_promise_after_a_crash_at_any_operation() {
    let mut points = 0;
    for seed in [5, 6, 7] {
        let all = enumerate(seed, 97);
        println!("seed {seed}: {} operations, {} crashes", all.operations, all.points);
        points += all.points;
        assert!(all.broken.is_empty(), "{} broken\n{}", all.broken.len(), all.report());
    }
    assert!(points > 10, "{points} crashes");
}
