//! The machine a run takes place on: what it is, how busy it is, and how to make it as equal as
//! can be for every run.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::kib;

const PAGE_BYTES: usize = 4 << 10;
/// Memory that is touched before each run.
const TOUCH_BYTES: u64 = 4 << 30;

/// Makes a run's start like any other's: writes out what earlier runs have left in the page cache,
/// and touches memory and frees it again, because on a virtual machine the first touch of a page
/// may cost ten times a later one and would be charged to whoever comes first.
///
/// # Errors
/// `/proc` cannot be read.
pub fn settle() -> Result<()> {
    rustix::fs::sync();
    let table = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let available = kib(&table, "MemAvailable:").context("/proc/meminfo has another form")? << 10;
    let bytes = usize::try_from(TOUCH_BYTES.min(available / 2))?;
    let mut memory: Vec<u8> = Vec::with_capacity(bytes);
    memory.resize(bytes, 1);
    for page in memory.chunks_mut(PAGE_BYTES) {
        page[0] = std::hint::black_box(2);
    }
    std::hint::black_box(&memory);
    Ok(())
}

/// Drops the page cache; false where that is not allowed, as it is for root only.
pub fn drop_page_cache() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// The load averages of the last 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What the machine and the sources are, as lines of a list.
pub fn describe(dir: &Path) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = kib(&table, "MemTotal:").unwrap_or(0) as f64 / f64::from(1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "- Time: {}\n- Sources: {}\n- CPU: {model}, {cores} cores; memory {memory:.1} GiB\n\
         - Kernel {}; file system {}\n",
        said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        revision(),
        kernel.trim(),
        file_system(dir)
    )
}

/// Commit of the sources, and whether they have changed since.
fn revision() -> String {
    let here = env!("CARGO_MANIFEST_DIR");
    let commit = said_by("git", &["-C", here, "rev-parse", "--short=12", "HEAD"]);
    match said_by("git", &["-C", here, "status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" => commit,
        _ => format!("{commit}, changed since"),
    }
}

fn file_system(dir: &Path) -> String {
    let dir = dir.display().to_string();
    said_by("findmnt", &["--noheadings", "--output", "FSTYPE,SOURCE", "--target", &dir])
}

/// What a program prints, or that it does not.
pub fn said_by(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => format!("unknown ({program} does not say)"),
    }
}
