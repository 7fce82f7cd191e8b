//! The process that serves a disk with a volatile write cache as one FUSE file, to lie under a loop
//! device. It speaks the few requests of the FUSE protocol that a loop device causes
//! (include/uapi/linux/fuse.h); the cache itself is in `cache.rs`, the caller's side in `disk.rs`.
//!
//! `ready` is printed when the file can be used. The line `cut GRANULE CHANCE SEED` on standard
//! input cuts the power: every request that is unanswered or comes later fails, and the bytes held
//! and kept are printed. At the end of standard input the process ends and the cache is lost.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::cache::{Cache, Survival};

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
/// Seconds without an answer after which the kernel fails all requests (Linux 6.14 and later).
const PATIENCE_S: u16 = 60;

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
    answer_until_told(&mut cache, &fuse)?;
    drop(fuse); // now, not at the end of the process: it fails all that is unanswered
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if let Some(survival) = parse_cut(&line)? {
        let cut = cache.cut(survival)?;
        println!("{} {}", cut.held, cut.kept);
    }
    Ok(())
}

/// `cut GRANULE CHANCE SEED`, or nothing at the end of the input.
fn parse_cut(line: &str) -> Result<Option<Survival>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["cut", granule, chance, seed] = words[..] else {
        ensure!(words.is_empty(), "not a command: {line}");
        return Ok(None);
    };
    let survival =
        Survival { granule: granule.parse()?, chance: chance.parse()?, seed: seed.parse()? };
    ensure!(survival.granule > 0, "a granule of 0 bytes");
    Ok(Some(survival))
}

/// Answers requests until standard input has something to say or the file is unmounted.
fn answer_until_told(cache: &mut Cache, fuse: &File) -> Result<()> {
    let input = io::stdin();
    let mut request = vec![0; HEADER_BYTES + SPAN_BYTES + REQUEST_BYTES_MAX];
    let mut reply = Vec::new();
    loop {
        let mut ready = [PollFd::new(&input, PollFlags::IN), PollFd::new(fuse, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if !ready[0].revents().is_empty() || ready[1].revents().contains(PollFlags::ERR) {
            return Ok(());
        }
        match (&mut &*fuse).read(&mut request) {
            Ok(length) => {
                if answer(cache, &request[..length], &mut reply) {
                    match (&mut &*fuse).write_all(&reply) {
                        Err(problem) if !is_gone(&problem) => return Err(problem.into()),
                        _ => (),
                    }
                }
            }
            Err(problem) if is_gone(&problem) => (),
            Err(problem) => return Err(problem.into()),
        }
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
        assert_eq!(parse_cut("cut 512 0.25 7\n").expect("valid"), Some(survival));
        assert_eq!(parse_cut("").expect("the end"), None);
        for wrong in ["cat 512 0 1", "cut 512 0", "cut 0 0 0", "cut x 0 0"] {
            assert!(parse_cut(wrong).is_err(), "{wrong}");
        }
    }
}
