//! `disk`: what the disk itself can do, as the yardstick beside which a broker's figures stand.
//! Large writes go into a growing file, small ones over a file of zeros; both bypass the page
//! cache and are followed by fdatasync one by one.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::fs::{Mode, OFlags, fdatasync, open, statvfs};
use rustix::io::pwrite;
use serde::Serialize;

use crate::latency::{Latency, Summary};

const LARGE_BYTES: usize = 1 << 20;
const SMALL_BYTES: usize = 4 << 10;
/// Direct I/O wants memory, offsets and lengths in multiples of the device's block.
const ALIGNMENT: usize = 4 << 10;
/// The file that small writes go over.
const SMALL_FILE_BYTES: u64 = 64 << 20;
const SMALL_SECONDS_MAX: f64 = 5.0;
/// The growing file is begun anew at this size, or where the disk is nearly full.
const GROW_BYTES_MAX: u64 = 64 << 30;
const FREE_BYTES_MIN: u64 = 4 << 30;

/// Options of `disk`.
#[derive(Args)]
pub struct Options {
    /// Where to write; what is written is removed again.
    dir: PathBuf,
    /// How long to write into the growing file.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What the disk did.
#[derive(Clone, Debug, Serialize)]
pub struct Yardstick {
    pub large: Large,
    pub small: Small,
}

/// Writes of 1 MiB into a growing file.
#[derive(Clone, Debug, Serialize)]
pub struct Large {
    pub seconds: f64,
    pub bytes: u64,
    /// Millions of bytes per second.
    pub mb_per_s: f64,
    /// A write and its fdatasync.
    pub us: Summary,
    /// How many files it took.
    pub files: u64,
}

/// Writes of 4 KiB over a file of zeros.
#[derive(Clone, Debug, Serialize)]
pub struct Small {
    pub per_s: f64,
    /// A write and its fdatasync.
    pub us: Summary,
}

/// Measures the disk and prints what it did.
pub fn main(options: &Options) -> Result<()> {
    ensure!(options.seconds > 0.0, "--seconds is positive");
    let yardstick = measure(&options.dir, options.seconds)?;
    if options.json {
        println!("{}", serde_json::to_string(&yardstick)?);
        return Ok(());
    }
    let Yardstick { large, small } = yardstick;
    let mb = large.bytes as f64 / 1e6;
    println!(
        "1 MiB, growing      {:.0} MB/s: {mb:.0} MB in {:.2} s, {} file(s); {}",
        large.mb_per_s,
        large.seconds,
        large.files,
        line(&large.us)
    );
    println!("4 KiB, over zeros   {:.0} writes/s; {}", small.per_s, line(&small.us));
    Ok(())
}

fn line(us: &Summary) -> String {
    let Summary { p50, p99, p99_9, max, .. } = us;
    format!("p50 {p50:.0}, p99 {p99:.0}, p99.9 {p99_9:.0}, max {max:.0} µs")
}

/// Writes into the directory `dir` for `seconds`, and some more for the small writes.
///
/// # Errors
/// The file system does not take direct I/O, is full, or fails.
pub fn measure(dir: &Path, seconds: f64) -> Result<Yardstick> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let large = large(dir, Duration::from_secs_f64(seconds))?;
    let small = small(dir, Duration::from_secs_f64(seconds.min(SMALL_SECONDS_MAX)))?;
    Ok(Yardstick { large, small })
}

fn large(dir: &Path, time: Duration) -> Result<Large> {
    let block = Aligned::new(LARGE_BYTES);
    let mut file = Scratch::create(dir)?;
    let (mut at, mut bytes, mut files) = (0, 0, 1);
    let mut latency = Latency::new();
    let began = Instant::now();
    while began.elapsed() < time {
        if at >= GROW_BYTES_MAX || (at % (1 << 30) == 0 && free_bytes(dir)? < FREE_BYTES_MIN) {
            ensure!(at > 0, "less than {FREE_BYTES_MIN} bytes are free on {}", dir.display());
            drop(file);
            file = Scratch::create(dir)?;
            (at, files) = (0, files + 1);
        }
        let write = Instant::now();
        file.write_durably(block.bytes(), at)?;
        latency.record(write.elapsed().as_nanos() as u64, 1);
        at += LARGE_BYTES as u64;
        bytes += LARGE_BYTES as u64;
    }
    let seconds = began.elapsed().as_secs_f64();
    let us = latency.summary("write").context("no write ended in time")?;
    Ok(Large { seconds, bytes, mb_per_s: bytes as f64 / seconds / 1e6, us, files })
}

fn small(dir: &Path, time: Duration) -> Result<Small> {
    let file = Scratch::create(dir)?;
    let zeros = Aligned { bytes: vec![0; LARGE_BYTES + ALIGNMENT], len: LARGE_BYTES };
    for at in (0..SMALL_FILE_BYTES).step_by(LARGE_BYTES) {
        file.write(zeros.bytes(), at)?;
    }
    fdatasync(&file.file)?;
    let block = Aligned::new(SMALL_BYTES);
    let mut latency = Latency::new();
    let mut writes = 0_u64;
    let began = Instant::now();
    while began.elapsed() < time {
        let write = Instant::now();
        file.write_durably(block.bytes(), writes * SMALL_BYTES as u64 % SMALL_FILE_BYTES)?;
        latency.record(write.elapsed().as_nanos() as u64, 1);
        writes += 1;
    }
    let per_s = writes as f64 / began.elapsed().as_secs_f64();
    Ok(Small { per_s, us: latency.summary("write").context("no write ended in time")? })
}

/// Bytes that an unprivileged user may still write to the file system of `dir`.
pub fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = statvfs(dir).with_context(|| dir.display().to_string())?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Memory that begins at a multiple of `ALIGNMENT`: a part of a larger allocation.
struct Aligned {
    bytes: Vec<u8>,
    len: usize,
}

impl Aligned {
    /// Filled with what no disk makes smaller than it is.
    fn new(len: usize) -> Self {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        Self { bytes: noise.take(len + ALIGNMENT).collect(), len }
    }

    fn bytes(&self) -> &[u8] {
        let start = self.bytes.as_ptr().align_offset(ALIGNMENT);
        &self.bytes[start..start + self.len]
    }
}

/// A file for direct I/O that is removed when it is dropped.
struct Scratch {
    file: OwnedFd,
    path: PathBuf,
}

impl Scratch {
    fn create(dir: &Path) -> Result<Self> {
        let path = dir.join(format!("yardstick-{}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::DIRECT;
        let file = open(&path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("{}, for direct I/O", path.display()))?;
        Ok(Self { file, path })
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        let written = pwrite(&self.file, bytes, at).context("writing")?;
        ensure!(written == bytes.len(), "only {written} of {} bytes were written", bytes.len());
        Ok(())
    }

    fn write_durably(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.write(bytes, at)?;
        fdatasync(&self.file).context("fdatasync")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that cannot be removed lies in a directory that the caller removes or named.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_as_long_as_asked_for() {
        for len in [SMALL_BYTES, LARGE_BYTES] {
            let block = Aligned::new(len);
            assert_eq!(block.bytes().len(), len);
            assert_eq!(block.bytes().as_ptr().addr() % ALIGNMENT, 0);
            assert!(block.bytes().iter().any(|&b| b != block.bytes()[0]));
        }
    }

    /// Beside the test's program, since a temporary directory may be one without direct I/O.
    #[test]
    fn a_short_measurement_leaves_nothing_behind() {
        let program = std::env::current_exe().expect("known");
        let dir = program.with_file_name(format!("disk-test-{}", std::process::id()));
        let yardstick = measure(&dir, 0.05).expect("direct I/O works here");
        assert!(yardstick.large.bytes >= LARGE_BYTES as u64 && yardstick.large.mb_per_s > 0.0);
        assert!(yardstick.small.us.count > 0);
        assert_eq!(fs::read_dir(&dir).expect("still there").count(), 0);
        fs::remove_dir(&dir).expect("empty");
    }
}
