//! The smallest server there is, to show what the cached disk finds: it writes numbered records of
//! 4 KiB, acknowledges each, and syncs before it does so, or forgets to. The cut and the count are
//! here too; the crash loops of the broker are in `crash.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;

use super::cache::{Moment, Survival};
use super::control::{self, Aligned};
use super::disk::{Backing, Disk, FileSystem, Scratch};
use super::lots::Lots;
use super::process::{Job, Words, own_program};

const RECORD: usize = 4096;
const RECORDS_MAX: u64 = 16 << 10;

/// How the server makes its records durable.
const WAYS: [&str; 3] = ["none", "fdatasync", "dsync"];

/// The role `line-server PATH WAY`: writes records into the preallocated file at PATH, directly,
/// and prints the number of each when it counts as durable.
pub fn serve(path: &Path, way: &str) -> Result<()> {
    let mut flags = OFlags::DIRECT;
    if way == "dsync" {
        flags |= OFlags::DSYNC;
    }
    let file = OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path)?;
    let mut buffer = Aligned::new(RECORD, 0);
    let mut output = std::io::stdout();
    for number in 0..RECORDS_MAX {
        for place in buffer.bytes_mut().chunks_mut(8) {
            place.copy_from_slice(&(number + 1).to_le_bytes());
        }
        file.write_all_at(buffer.bytes(), number * RECORD as u64)?;
        if way == "fdatasync" {
            file.sync_data()?;
        }
        output.write_all(format!("ack {number}\n").as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

/// The role `line-check WAY CYCLES FS`: cuts the power under that server again and again and prints
/// `acked N lost N held N` over all cycles.
pub fn check(way: &str, cycles: u32, kind: FileSystem) -> Result<()> {
    if !WAYS.contains(&way) {
        bail!("{way} is none of {WAYS:?}");
    }
    let scratch = Scratch::new()?;
    let mut disk = Disk::new(Backing::Cached(kind), 512, &scratch.folder("line")?)?;
    control::check(&mut disk, true)?;
    let (mut acked, mut lost, mut held) = (0, 0, 0);
    let mut lots = Lots::new(1);
    for cycle in 0..cycles {
        disk.fresh()?;
        let path = disk.data().join("records");
        fs::write(&path, vec![0; RECORDS_MAX as usize * RECORD])?;
        disk.sync()?;
        let output = scratch.folder("line")?.join(format!("acks-{cycle}"));
        let words = [own_program()?.into(), "torture".into(), "line-server".into()];
        let words = words.into_iter().chain([path.clone().into_os_string(), way.into()]);
        let mut server = Job::start(&Words::new(words), &output, &output.with_extension("log"))?;
        std::thread::sleep(Duration::from_secs_f64(lots.between(0.1, 0.4)));
        let counted = fs::metadata(&output)?.len() as usize;
        let chance = if cycle % 2 == 0 { 0.0 } else { lots.unit() };
        held += disk.cut(Survival { granule: 512, chance, seed: lots.next() }, Moment::Now)?.held;
        server.kill()?;
        disk.unmount()?;
        disk.mount()?;
        let acks = fs::read(&output)?;
        let acks = String::from_utf8_lossy(&acks[..counted]).lines().count() as u64;
        acked += acks;
        lost += count_lost(&path, acks)?;
    }
    println!("acked {acked} lost {lost} held {held}");
    Ok(())
}

/// How many of the first `acked` records are not whole.
fn count_lost(path: &Path, acked: u64) -> Result<u64> {
    let file = File::open(path).context("the file itself is lost")?;
    let mut record = [0; RECORD];
    let mut lost = 0;
    for number in 0..acked {
        file.read_exact_at(&mut record, number * RECORD as u64)?;
        let mut words = record.chunks(8);
        lost += u64::from(!words.all(|word| word == (number + 1).to_le_bytes()));
    }
    Ok(lost)
}
