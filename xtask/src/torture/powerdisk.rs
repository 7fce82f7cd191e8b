//! The process that serves a disk with a volatile write cache as one FUSE file, to lie under a loop
//! device. It speaks the few requests of the FUSE protocol that a loop device causes
//! (include/uapi/linux/fuse.h); the cache itself is in `cache.rs`, the caller's side in `disk.rs`.
//!
//! `ready` is printed when the file can be used. The line `cut GRANULE CHANCE SEED MOMENT` on
//! standard input cuts the power, `now` or when the next `flush` is asked for: every request that
//! is unanswered or comes later fails, and the bytes held and kept are printed. At the end of
//! standard input the process ends and the cache is lost.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::cache::{Cache, Moment, Survival};

const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const FSYNC: u32 = 20;
const INIT: u32 = 26;
/// FORGET, INTERRUPT, BATCH_FORGET.
const UNANSWERED: [u32; 3] = [2, 36, 42];

/// ASYNC_READ, ASYNC_DIO, MAX_PAGES, INIT_EXT, REQUEST_TIMEOUT.
const FLAGS: u64 = 1 | 1 << 15 | 1 << 22 | 1 << 30 | 1 << 42;
/// Of an open file: no page cache between the loop device and us.
const DIRECT_IO: u32 = 1;
/// A regular file, 0600.
const MODE: u32 = 0o100_600;

/// Bytes of one request at most: 256 pages, which the kernel allows without a setting.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The request's header, and the header of a read or write behind it.
const HEADER_BYTES: usize = 40;
const SPAN_BYTES: usize = 40;
const REQUEST_ROOM: usize = HEADER_BYTES + SPAN_BYTES + REQUEST_BYTES_MAX;
/// Seconds without an answer after which the kernel fails all requests (Linux 6.14 and later).
const PATIENCE_S: u16 = 60;
/// How long a cut waits for the flush that it is to hit.
const FLUSH_WAIT: Duration = Duration::from_millis(500);

/// Serves `image` as a disk over the file `path` until it is cut, let go or unmounted.
pub fn serve(image: &Path, path: &Path) -> Result<()> {
    let image = File::options().read(true).write(true).open(image).context("the image")?;
    let mut cache = Cache::new(image)?;
    let fuse = File::options().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    let options =
        format!("fd={},rootmode=100000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
    let options = std::ffi::CString::new(options).expect("no zero byte in it");
    mount("powerdisk", path, "fuse", MountFlags::empty(), options.as_c_str())
        .context("no FUSE mount")?;
    println!("ready");
    let mut requests = Requests { fuse: &fuse, buffer: vec![0; REQUEST_ROOM], reply: Vec::new() };
    requests.answer_until_told(&mut cache)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let told = parse_cut(&line)?;
    if let Some((_, Moment::Flush)) = told {
        requests.answer_until_flush(&mut cache)?;
    }
    drop(fuse); // now, not at the end of the process: it fails all that is unanswered
    if let Some((survival, _)) = told {
        let cut = cache.cut(survival)?;
        println!("{} {}", cut.held, cut.kept);
    }
    Ok(())
}

/// `cut GRANULE CHANCE SEED MOMENT`, or nothing at the end of the input.
fn parse_cut(line: &str) -> Result<Option<(Survival, Moment)>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["cut", granule, chance, seed, moment] = words[..] else {
        ensure!(words.is_empty(), "not a command: {line}");
        return Ok(None);
    };
    let survival =
        Survival { granule: granule.parse()?, chance: chance.parse()?, seed: seed.parse()? };
    ensure!(survival.granule > 0, "a granule of 0 bytes");
    let moment = match moment {
        "now" => Moment::Now,
        "flush" => Moment::Flush,
        _ => bail!("not a moment: {moment}"),
    };
    Ok(Some((survival, moment)))
}

/// The requests of the loop device, one after the other.
struct Requests<'a> {
    fuse: &'a File,
    buffer: Vec<u8>,
    reply: Vec<u8>,
}

impl Requests<'_> {
    /// Answers until standard input has something to say or the file is unmounted.
    fn answer_until_told(&mut self, cache: &mut Cache) -> Result<()> {
        let input = io::stdin();
        loop {
            let mut ready =
                [PollFd::new(&input, PollFlags::IN), PollFd::new(self.fuse, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if !ready[0].revents().is_empty() || ready[1].revents().contains(PollFlags::ERR) {
                return Ok(());
            }
            if let Some(length) = self.read()? {
                self.answer(cache, length)?;
            }
        }
    }

    /// Answers until a flush is asked for that has something to bring down; leaves it unanswered.
    fn answer_until_flush(&mut self, cache: &mut Cache) -> Result<()> {
        let end = Instant::now() + FLUSH_WAIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wait = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            let mut ready = [PollFd::new(self.fuse, PollFlags::IN)];
            match poll(&mut ready, Some(&wait)) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if left.is_zero() || ready[0].revents().contains(PollFlags::ERR) {
                return Ok(());
            }
            if ready[0].revents().is_empty() {
                continue;
            }
            let Some(length) = self.read()? else { continue };
            if number(&self.buffer, 4) == FSYNC && !cache.is_empty() {
                return Ok(());
            }
            self.answer(cache, length)?;
        }
    }

    /// Takes the next request; None when it was withdrawn.
    fn read(&mut self) -> Result<Option<usize>> {
        match (&mut &*self.fuse).read(&mut self.buffer) {
            Ok(length) => Ok(Some(length)),
            Err(problem) if is_gone(&problem) => Ok(None),
            Err(problem) => Err(problem.into()),
        }
    }

    fn answer(&mut self, cache: &mut Cache, length: usize) -> Result<()> {
        if answer(cache, &self.buffer[..length], &mut self.reply) {
            match (&mut &*self.fuse).write_all(&self.reply) {
                Err(problem) if !is_gone(&problem) => return Err(problem.into()),
                _ => (),
            }
        }
        Ok(())
    }
}

/// The request was withdrawn before we read or answered it.
fn is_gone(problem: &io::Error) -> bool {
    problem.raw_os_error() == Some(Errno::NOENT.raw_os_error())
        || problem.kind() == io::ErrorKind::Interrupted
}

/// Carries out one request; false if nobody waits for the reply.
fn answer(cache: &mut Cache, request: &[u8], reply: &mut Vec<u8>) -> bool {
    let (code, unique) = (number(request, 4), long(request, 8));
    if UNANSWERED.contains(&code) {
        return false;
    }
    reply.clear();
    reply.resize(16, 0); // its header: length, error, the request's number
    let done = match code {
        INIT => {
            put_init(reply);
            Ok(())
        }
        GETATTR => {
            put_attributes(reply, cache.size());
            Ok(())
        }
        OPEN => {
            reply.extend(0u64.to_ne_bytes());
            reply.extend(DIRECT_IO.to_ne_bytes());
            reply.extend(0u32.to_ne_bytes());
            Ok(())
        }
        READ => cache.read(long(request, 48), number(request, 56) as usize, reply),
        WRITE => {
            let data = &request[HEADER_BYTES + SPAN_BYTES..][..number(request, 56) as usize];
            reply.extend((data.len() as u32).to_ne_bytes());
            reply.extend(0u32.to_ne_bytes());
            cache.write(long(request, 48), data)
        }
        FSYNC => cache.flush(),
        // Also for STATFS: then the loop device offers no discard.
        _ => Err(io::Error::from_raw_os_error(Errno::NOSYS.raw_os_error())),
    };
    let error = done.err().map_or(0, |problem| -errno_of(&problem));
    if error != 0 {
        reply.truncate(16);
    }
    let length = (reply.len() as u32).to_ne_bytes();
    reply[0..4].copy_from_slice(&length);
    reply[4..8].copy_from_slice(&error.to_ne_bytes());
    reply[8..16].copy_from_slice(&unique.to_ne_bytes());
    true
}

fn errno_of(problem: &io::Error) -> i32 {
    let fallback = match problem.kind() {
        io::ErrorKind::StorageFull => Errno::NOSPC,
        _ => Errno::IO,
    };
    problem.raw_os_error().unwrap_or(fallback.raw_os_error())
}

fn put_init(reply: &mut Vec<u8>) {
    let largest = REQUEST_BYTES_MAX as u32;
    for word in [7, 31, largest, FLAGS as u32] {
        reply.extend(u32::to_ne_bytes(word)); // version, read-ahead, flags
    }
    for half in [64, 48] {
        reply.extend(u16::to_ne_bytes(half)); // requests in the background, congested from
    }
    for word in [largest, 1] {
        reply.extend(u32::to_ne_bytes(word)); // largest write, granularity of times
    }
    for half in [(REQUEST_BYTES_MAX / 4096) as u16, 0] {
        reply.extend(half.to_ne_bytes()); // pages of a request, alignment
    }
    reply.extend(((FLAGS >> 32) as u32).to_ne_bytes());
    reply.extend(0u32.to_ne_bytes()); // stacking
    reply.extend(PATIENCE_S.to_ne_bytes());
    reply.extend([0; 22]);
}

fn put_attributes(reply: &mut Vec<u8>, size: u64) {
    for long in [3600, 0, 1, size, size / 512, 0, 0, 0] {
        reply.extend(u64::to_ne_bytes(long)); // valid for, inode, size, blocks, three times
    }
    for word in [0, 0, 0, MODE, 1, 0, 0, 0, 0, 0] {
        reply.extend(u32::to_ne_bytes(word)); // nanoseconds, mode, links, owner, device, block
    }
}

fn number(request: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"))
}

fn long(request: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(request[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_sizes_of_the_protocol() {
        let mut init = Vec::new();
        put_init(&mut init);
        let mut attributes = Vec::new();
        put_attributes(&mut attributes, 1 << 20);
        assert_eq!((init.len(), attributes.len()), (64, 104));
    }

    #[test]
    fn commands() {
        let survival = Survival { granule: 512, chance: 0.25, seed: 7 };
        for (line, moment) in
            [("cut 512 0.25 7 now\n", Moment::Now), ("cut 512 0.25 7 flush\n", Moment::Flush)]
        {
            assert_eq!(parse_cut(line).expect("valid"), Some((survival, moment)));
        }
        assert_eq!(parse_cut("").expect("the end"), None);
        for wrong in
            ["cat 512 0 1 now", "cut 512 0 1", "cut 0 0 0 now", "cut x 0 0 now", "cut 512 0 1 then"]
        {
            assert!(parse_cut(wrong).is_err(), "{wrong}");
        }
    }
}
