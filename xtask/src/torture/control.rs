//! The controls before a power run: a cut must keep what was synced and lose what was not, however
//! it was written; a cut that lets a part survive may keep only a part of it. Without them a run
//! that finds no loss says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;

use super::cache::{Moment, Survival};
use super::disk::Disk;

const LENGTH: usize = 64 << 10;
const OLD: u8 = b'o';
const NEW: u8 = b'n';

/// A way to write a file so that it must survive.
type Synced = (&'static str, fn(&Path) -> Result<()>);

const SYNCED: [Synced; 4] = [
    ("a buffered write and fdatasync", |path| overwrite(path, OFlags::empty(), true)),
    ("a direct write and fdatasync", |path| overwrite(path, OFlags::DIRECT, true)),
    ("a direct write with O_DSYNC", |path| {
        overwrite(path, OFlags::DIRECT.union(OFlags::DSYNC), false)
    }),
    ("a rename and fsync of the directory", replace),
];

/// Cuts the power of a fresh disk after each kind of write; an error says what a cut kept or lost
/// against the expectation. `torn` adds cuts in which a part of the cache survives.
pub fn check(disk: &mut Disk, torn: bool) -> Result<()> {
    disk.fresh()?;
    let chances = if torn { &[0.0, 0.5][..] } else { &[0.0][..] };
    for (name, write) in SYNCED {
        for chance in chances {
            // The file system's own journal may come down by itself in between (every 5 s).
            check_one(disk, write, *chance)
                .or_else(|_| check_one(disk, write, *chance))
                .with_context(|| format!("the control failed after {name}, chance {chance}"))?;
        }
    }
    Ok(())
}

fn check_one(disk: &mut Disk, write: fn(&Path) -> Result<()>, chance: f64) -> Result<()> {
    let data = disk.data();
    for name in ["synced", "buffered", "direct"] {
        fs::write(data.join(name), [OLD; LENGTH])?;
    }
    let _ = fs::remove_file(data.join("created"));
    disk.sync()?;
    write(&data.join("synced"))?;
    overwrite(&data.join("buffered"), OFlags::empty(), false)?;
    overwrite(&data.join("direct"), OFlags::DIRECT, false)?;
    File::create(data.join("created"))?;
    disk.cut(Survival { granule: 512, chance, seed: 1 }, Moment::Now)?;
    disk.unmount()?;
    disk.mount()?;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&data)? {
        let entry = entry?;
        let bytes: BTreeSet<u8> = fs::read(entry.path())?.into_iter().collect();
        let text = String::from_utf8_lossy(&bytes.into_iter().collect::<Vec<_>>()).into_owned();
        found.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    let direct = match (disk.keeps_direct_writes(), chance > 0.0) {
        (true, _) => "n",
        (false, true) => "no",
        (false, false) => "o",
    };
    let expected = [("synced", "n"), ("buffered", "o"), ("direct", direct)];
    let expected: BTreeMap<_, _> =
        expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    if found != expected {
        bail!("found {found:?}, expected {expected:?}");
    }
    Ok(())
}

fn overwrite(path: &Path, flags: OFlags, sync: bool) -> Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path)?;
    let buffer = Aligned::new(LENGTH, NEW);
    file.write_all_at(buffer.bytes(), 0)?;
    if sync {
        file.sync_data()?;
    }
    Ok(())
}

fn replace(path: &Path) -> Result<()> {
    let other = path.with_file_name("other");
    fs::write(&other, [OLD; LENGTH])?;
    overwrite(&other, OFlags::empty(), true)?;
    fs::rename(&other, path)?;
    File::open(path.parent().context("it lies in a folder")?)?.sync_all()?;
    Ok(())
}

/// Memory that starts at a page, as a direct write wants it.
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub fn new(length: usize, byte: u8) -> Aligned {
        let memory = vec![byte; length + 4096];
        let start = memory.as_ptr().align_offset(4096);
        Aligned { memory, start, length }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.length]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.length]
    }
}
