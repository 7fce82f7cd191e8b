//! Any directory of write-ahead log files: replay never panics and ends soon, and what it visits
//! are whole frames in their order. Input: a little program that puts pages into files: garbage,
//! file headers, frames (whole, torn, with a damaged byte), each followed by what it is made of.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sabir_storage::disk::sim::{Handle, SimDisk};
use sabir_storage::disk::{Disk, DiskFile, Mode};
use sabir_storage::frame::{FILE_HEADER, FileHeader, Secret, Section, encode_frame};
use sabir_storage::wal::replay::replay;

const SECRET: Secret = Secret(7);
const PAGE: usize = 4096;
const FILES_MAX: u8 = 4;
/// Pages of one file at most.
const PAGES_MAX: u64 = 64;

fuzz_target!(|data: &[u8]| {
    let disk = SimDisk::new();
    let handle = Handle(disk);
    let mut rest = data;
    let mut file = file(&handle, 1);
    while let Some(([what, a, b, c, d], after)) = rest.split_first_chunk() {
        rest = after;
        let number = u64::from(*a % 8);
        let generation = u32::from(*b % 4);
        let page = match what % 5 {
            0 => {
                file = self::file(&handle, a % FILES_MAX + 1);
                continue;
            }
            1 => {
                let mut page = vec![0; FILE_HEADER];
                FileHeader { first: number, generation }.encode(SECRET, &mut page);
                write(&*file, 0, &page);
                continue;
            }
            2 => frame(number, generation, u64::from(*c % 8), *d, &mut rest),
            3 => {
                let mut frame = frame(number, generation, u64::from(*c % 8), 1, &mut rest);
                let place = usize::from(*d) * 16 % frame.len();
                frame[place] ^= b >> 2;
                frame
            }
            _ => {
                // Garbage that begins as a frame does.
                let mut page = vec![*b; PAGE];
                page[..4].copy_from_slice(b"SbFr");
                page[20..24].copy_from_slice(&[*c, *d, a % 5, 0]);
                page
            }
        };
        let at = if *what >= 128 { u64::from(*d) % PAGES_MAX * PAGE as u64 } else { end(&*file) };
        write(&*file, at, &page);
    }
    let mut expected = 1;
    let result = replay(&handle, SECRET, None, 0, &mut |frame| {
        assert_eq!(frame.number, expected, "frames come in their order");
        expected += 1;
        Ok(())
    });
    if let Ok(end) = result {
        assert_eq!(end.next, expected);
    }
});

fn file(handle: &Handle, number: u8) -> Arc<dyn DiskFile> {
    handle.open(&format!("wal/{number:016}.wal"), Mode::Write).expect("in memory")
}

fn end(file: &dyn DiskFile) -> u64 {
    file.len().expect("in memory").max(FILE_HEADER as u64)
}

fn write(file: &dyn DiskFile, at: u64, bytes: &[u8]) {
    if at + bytes.len() as u64 <= PAGES_MAX * PAGE as u64 {
        file.write_at(bytes, at).expect("in memory");
    }
}

/// A frame with one section, of the next `len` bytes of the input.
fn frame(number: u64, generation: u32, synced: u64, len: u8, rest: &mut &[u8]) -> Vec<u8> {
    let (content, after) = rest.split_at(rest.len().min(usize::from(len)));
    *rest = after;
    let mut section = Section::of(0);
    section.count = 1;
    section.buffer().extend_from_slice(content);
    let sections = [section];
    let (frame, padded, _) =
        encode_frame(SECRET, number, generation, synced, &sections, &Arc::default());
    frame.freeze().slice(..padded).to_vec()
}
