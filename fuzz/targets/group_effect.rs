//! Any change of a consumer group as it stands in the log: decoding never panics and takes bounded
//! memory, and what decodes survives a round trip. Input: the bytes of one change.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sabir_broker::group::GroupEffect;
use sabir_fuzz::within_budget;

fuzz_target!(|data: &[u8]| {
    let Ok(effect) = within_budget(data, || GroupEffect::decode(data)) else { return };
    let mut again = Vec::new();
    effect.encode(&mut again);
    assert_eq!(GroupEffect::decode(&again), Ok(effect));
});
