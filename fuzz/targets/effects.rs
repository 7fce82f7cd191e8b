//! Any section of effects as it stands in a frame: reading it never panics and takes bounded
//! memory, and effects end where they say. Input: the bytes of a section, after how often to repeat
//! it.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sabir_broker::inspect::describe_effects;
use sabir_fuzz::within_budget;

fuzz_target!(|data: &[u8]| {
    let [times, data @ ..] = data else { return };
    let section = Bytes::copy_from_slice(data);
    let Ok(counts) = within_budget(data, || describe_effects(&section)) else { return };
    assert_eq!(counts.is_empty(), data.is_empty(), "an effect takes bytes");
    // What is read knows its own end: effects can follow one another.
    let times = usize::from(times % 4);
    let again = Bytes::from(data.repeat(times));
    let counted = describe_effects(&again).expect("each of them could be read");
    for (name, count) in &counts {
        assert_eq!(counted.get(name).copied().unwrap_or(0), count * times as u64, "{name}");
    }
});
