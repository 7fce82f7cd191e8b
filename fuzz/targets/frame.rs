//! Any frame or file header of the write-ahead log: parsing never panics and takes bounded memory;
//! what is valid says what was written, and nothing else is. Input: a frame as it lies on disk, or
//! places to change in a frame made of the rest.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sabir_fuzz::within_budget;
use sabir_storage::frame::{FILE_HEADER, FileHeader, Secret, Section, encode_frame, parse_frame};

const SECRET: Secret = Secret(7);

fuzz_target!(|data: &[u8]| {
    let [how, data @ ..] = data else { return };
    let raw = Bytes::copy_from_slice(data);
    within_budget(data, || parse_frame(SECRET, &raw));
    within_budget(data, || FileHeader::parse(SECRET, data));
    let [at0, at1, flip, generation, data @ ..] = data else { return };
    let sections: Vec<_> = data
        // A frame has 2,048 sections at most.
        .chunks(usize::from(how % 64) + 1 + data.len() / 2048)
        .map(|part| {
            let mut section = Section::of(3);
            section.count = 1;
            section.buffer().extend_from_slice(part);
            section
        })
        .collect();
    let generation = u32::from(*generation);
    let (frame, padded, _) = encode_frame(SECRET, 9, generation, 8, &sections, &Arc::default());
    let mut frame = frame.freeze().slice(..padded).to_vec();
    let place = usize::from(u16::from_le_bytes([*at0, *at1])) % frame.len();
    frame[place] ^= flip;
    let frame = Bytes::from(frame);
    let parsed = within_budget(&frame, || parse_frame(SECRET, &frame));
    if let Some((header, found)) = &parsed {
        assert_eq!((header.number, header.generation, header.synced_upto), (9, generation, 8));
        let found: Vec<_> = found.iter().flat_map(|section| section.effects.to_vec()).collect();
        assert_eq!(found, data, "a frame that was damaged and is taken for whole");
    } else {
        assert_ne!(*flip, 0, "an intact frame was refused");
    }
    let header = FileHeader { first: u64::from(*at0), generation };
    let mut page = vec![0; FILE_HEADER];
    header.encode(SECRET, &mut page);
    page[usize::from(*at1) % 28] ^= flip;
    let found = FileHeader::parse(SECRET, &page);
    assert!(found.is_none_or(|found| found == header));
    assert!(found.is_some() || *flip != 0);
});
