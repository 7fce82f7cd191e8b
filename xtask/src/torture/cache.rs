//! A disk's volatile write cache over an image file: what is written lies in the cache until a
//! flush, and a power cut loses it, or lets a random part of its sectors survive. No FUSE here.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::lots::Lots;

const PAGE: usize = 4096;

/// Bytes of unflushed writes above which the oldest go to the image, as a full disk cache does.
const ROOM: usize = 64 << 20;

/// What survives a cut: each `granule` bytes of each cached write with the probability `chance`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Survival {
    pub granule: usize,
    pub chance: f64,
    pub seed: u64,
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Now,
    /// When the next flush is asked for while something is in the cache: it is not carried out.
    Flush,
}

/// Bytes that the cache held at a cut, and how many of them came down to the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    pub held: u64,
    pub kept: u64,
}

/// The cache. Invariant: `pages` holds the newest content of every page that a write since the last
/// flush touched, so image plus `pages` is what a reader sees; `writes` is the order they came in,
/// and `held` the sum of their lengths.
pub struct Cache {
    image: File,
    size: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    writes: VecDeque<(u64, Vec<u8>)>,
    held: usize,
}

impl Cache {
    /// A disk of the image's size, which must be a multiple of 4 KiB.
    pub fn new(image: File) -> io::Result<Cache> {
        let size = image.metadata()?.len();
        if !size.is_multiple_of(PAGE as u64) {
            return Err(io::Error::other("the image is not a multiple of 4 KiB"));
        }
        Ok(Cache { image, size, pages: HashMap::new(), writes: VecDeque::new(), held: 0 })
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the bytes from `offset` on to `out`, as many as the disk has.
    pub fn read(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let end = (offset + length as u64).min(self.size);
        let start = out.len();
        out.resize(start + end.saturating_sub(offset) as usize, 0);
        self.image.read_exact_at(&mut out[start..], offset)?;
        for piece in pieces(offset, end, PAGE) {
            if let Some(page) = self.pages.get(&(piece.0 / PAGE as u64)) {
                let (at, length) = ((piece.0 % PAGE as u64) as usize, (piece.1 - piece.0) as usize);
                let to = start + (piece.0 - offset) as usize;
                out[to..to + length].copy_from_slice(&page[at..at + length]);
            }
        }
        Ok(())
    }

    /// Takes a write into the cache; one that ends beyond the disk is refused.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        if end > self.size {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        for (from, to) in pieces(offset, end, PAGE) {
            let page = self.page(from / PAGE as u64)?;
            let at = (from % PAGE as u64) as usize;
            let bytes = &data[(from - offset) as usize..(to - offset) as usize];
            page[at..at + bytes.len()].copy_from_slice(bytes);
        }
        self.writes.push_back((offset, data.to_vec()));
        self.held += data.len();
        while self.held > ROOM {
            self.settle_oldest()?;
        }
        Ok(())
    }

    fn page(&mut self, number: u64) -> io::Result<&mut [u8; PAGE]> {
        use std::collections::hash_map::Entry;
        Ok(match self.pages.entry(number) {
            Entry::Occupied(page) => page.into_mut(),
            Entry::Vacant(place) => {
                let mut page = Box::new([0; PAGE]);
                self.image.read_exact_at(&mut page[..], number * PAGE as u64)?;
                place.insert(page)
            }
        })
    }

    /// Brings everything down to the image.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.writes.is_empty() {
            self.settle_oldest()?;
        }
        self.pages.clear();
        Ok(())
    }

    fn settle_oldest(&mut self) -> io::Result<()> {
        if let Some((offset, data)) = self.writes.pop_front() {
            self.image.write_all_at(&data, offset)?;
            self.held -= data.len();
        }
        Ok(())
    }

    /// Cuts the power: brings a random part of the cache to the image and loses the rest.
    pub fn cut(&mut self, survival: Survival) -> io::Result<Cut> {
        let (mut lots, mut cut) =
            (Lots::new(survival.seed), Cut { held: self.held as u64, kept: 0 });
        for (offset, data) in self.writes.drain(..) {
            for (from, to) in pieces(offset, offset + data.len() as u64, survival.granule) {
                if survival.chance > 0.0 && lots.unit() < survival.chance {
                    let bytes = &data[(from - offset) as usize..(to - offset) as usize];
                    self.image.write_all_at(bytes, from)?;
                    cut.kept += to - from;
                }
            }
        }
        self.pages.clear();
        self.held = 0;
        Ok(cut)
    }
}

/// The range [from, to) cut at every multiple of `step`.
fn pieces(from: u64, to: u64, step: usize) -> impl Iterator<Item = (u64, u64)> {
    let step = step as u64;
    let mut at = from;
    std::iter::from_fn(move || {
        let begin = at;
        at = to.min((begin / step + 1) * step);
        (begin < to).then_some((begin, at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> Cache {
        let path = std::env::temp_dir().join(format!("sabir-cache-{}-{name}", std::process::id()));
        let image = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("a temporary file");
        std::fs::remove_file(&path).expect("just created");
        image.set_len(1 << 20).expect("room for 1 MiB");
        Cache::new(image).expect("a whole number of pages")
    }

    fn content(disk: &Cache, offset: u64, length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        disk.read(offset, length, &mut out).expect("within the disk");
        out
    }

    #[test]
    fn a_read_sees_cache_over_image() {
        let mut disk = disk("read");
        disk.write(5000, &[1; 6000]).expect("room");
        disk.flush().expect("flush");
        disk.write(6000, &[2; 100]).expect("room");
        let mut expected = vec![0; 8];
        expected.extend([1; 1000]);
        expected.extend([2; 100]);
        expected.extend([1; 4900]);
        expected.extend([0; 92]);
        assert_eq!(content(&disk, 4992, 6100), expected);
        assert_eq!(content(&disk, (1 << 20) - 3, 10), vec![0; 3], "cut off at the end");
    }

    #[test]
    fn a_cut_loses_what_was_not_flushed() {
        let mut disk = disk("lose");
        disk.write(0, &[1; 8192]).expect("room");
        disk.flush().expect("flush");
        disk.write(4096, &[2; 8192]).expect("room");
        let cut = disk.cut(Survival { granule: 512, chance: 0.0, seed: 1 }).expect("cut");
        assert_eq!(cut, Cut { held: 8192, kept: 0 });
        assert_eq!(content(&disk, 4096, 8192), [vec![1; 4096], vec![0; 4096]].concat());
    }

    #[test]
    fn a_torn_cut_keeps_whole_sectors_of_a_part() {
        for granule in [512, 4096] {
            let mut disk = disk("torn");
            disk.write(0, &[7; 512 << 10]).expect("room");
            let cut = disk.cut(Survival { granule, chance: 0.3, seed: 9 }).expect("cut");
            let found = content(&disk, 0, 512 << 10);
            let kept = found.iter().filter(|byte| **byte == 7).count() as u64;
            assert_eq!((cut.held, cut.kept), (512 << 10, kept));
            assert!((0.15..0.45).contains(&(kept as f64 / cut.held as f64)), "{kept} kept");
            for sector in found.chunks(granule) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a torn sector");
            }
        }
    }

    #[test]
    fn a_full_cache_lets_its_oldest_writes_go() {
        let mut disk = disk("full");
        for _ in 0..65 {
            disk.write(0, &vec![3; 1 << 20]).expect("room");
        }
        assert_eq!(disk.held, ROOM);
        let cut = disk.cut(Survival { granule: 512, chance: 0.0, seed: 1 }).expect("cut");
        assert_eq!(cut.held, ROOM as u64);
        assert_eq!(content(&disk, 0, 1), [3], "the oldest write had gone down before");
    }

    #[test]
    fn nothing_is_written_beyond_the_end() {
        assert!(disk("end").write((1 << 20) - 511, &[0; 512]).is_err());
    }
}
