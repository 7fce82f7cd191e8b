//! One flipped bit in any file of a data directory: found and named, or without effect.

use sabir_sim::flip::flips;

/// Flips of each of the seeds; `SABIR_FLIPS` asks for more.
const FLIPS: u64 = 60;
const SEEDS: [u64; 3] = [3, 4, 11];

#[test]
fn a_flipped_bit_is_named_or_has_no_effect() {
    let wanted = std::env::var("SABIR_FLIPS").ok().and_then(|text| text.parse().ok());
    let (mut refused, mut named) = (0, 0);
    for seed in SEEDS {
        let all = flips(seed, wanted.unwrap_or(FLIPS));
        println!(
            "seed {seed}: {} flips, {} refused at the start, {} named to readers, {} without \
             effect",
            all.tried, all.refused, all.named, all.without_effect
        );
        let shown: Vec<&String> = all.broken.iter().take(20).collect();
        assert!(shown.is_empty(), "{} broken: {shown:#?}", all.broken.len());
        refused += all.refused;
        named += all.named;
    }
    assert!(refused > 0 && named > 0, "{refused} refused, {named} named: nothing was hit");
}
