//! A directory as text: the files, and of their bytes what is not zero.
//!
//! ```text
//! file PATH LENGTH
//! OFFSET HEX           up to 40 bytes
//! OFFSET HEX*COUNT     one byte, so many times
//! ```

use std::fmt::Write;
use std::sync::Arc;

use sabir_storage::disk::sim::{Cut, Handle, SimDisk};
use sabir_storage::disk::{Disk, Mode};

/// Bytes of one line.
const LINE: usize = 40;
/// Equal bytes that are worth a line of their own, or, if zero, none.
const EQUAL: usize = 8;

pub fn content(disk: &Arc<SimDisk>, path: &str) -> Vec<u8> {
    let file = Handle(disk.clone()).open(path, Mode::Read).expect("there");
    let mut bytes = vec![0; usize::try_from(file.len().expect("known")).expect("small")];
    assert_eq!(file.read_at(&mut bytes, 0).expect("reads"), bytes.len());
    bytes
}

pub fn shorten(disk: &Arc<SimDisk>) -> String {
    let mut text =
        String::from("# A data directory of format level 1; see text.rs for this form.\n");
    for (path, len) in disk.files() {
        let _ = writeln!(text, "file {path} {len}");
        let bytes = content(disk, &path);
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let first = rest[0];
            let equal = rest.iter().take_while(|byte| **byte == first).count();
            if equal >= EQUAL || first == 0 {
                if first != 0 {
                    let _ = writeln!(text, "{at} {first:02x}*{equal}");
                }
                at += equal;
                continue;
            }
            let run = rest.windows(EQUAL).position(|w| w.iter().all(|byte| *byte == w[0]));
            let run = run.unwrap_or(rest.len()).min(LINE);
            let _ = write!(text, "{at} ");
            rest[..run].iter().for_each(|byte| write!(text, "{byte:02x}").expect("to memory"));
            text.push('\n');
            at += run;
        }
    }
    text
}

pub fn expand(text: &str) -> Arc<SimDisk> {
    let disk = SimDisk::new();
    let handle = Handle(disk.clone());
    let mut file = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["file", path, len] => {
                let made = handle.open(path, Mode::Write).expect("made");
                made.set_len(len.parse().expect("a length")).expect("room");
                file = Some(made);
            }
            [at, hex] => {
                let (hex, count) = hex.split_once('*').unwrap_or((hex, "1"));
                let bytes: Vec<u8> = (0..hex.len() / 2)
                    .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hex"))
                    .collect();
                let bytes = bytes.repeat(count.parse().expect("a count"));
                let file = file.as_ref().expect("a file line first");
                file.write_at(&bytes, at.parse().expect("an offset")).expect("room");
            }
            _ => panic!("no line of this form: {line}"),
        }
    }
    disk.cut(Cut::Kept, || 0);
    disk
}
