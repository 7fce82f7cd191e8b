//! The files of a WAL: which one is written, which are kept for reuse, which can go.

use std::collections::VecDeque;
use std::io::Result;
use std::sync::Arc;

use parking_lot::Mutex;

use super::replay::End;
use super::{Place, WalSettings};
use crate::aligned::AlignedBuf;
use crate::disk::{Disk, DiskFile, Mode};
use crate::frame::{FILE_HEADER, FileHeader, Secret};
use crate::planted::{self, Bug};
use crate::ticket::FrameNo;

pub const DIR: &str = "wal";
const ZEROS: usize = 1 << 20;
const PAGE: u64 = crate::aligned::PAGE as u64;

/// The name of a file that holds frames.
pub fn name_of(file: u64) -> String {
    format!("{DIR}/{file:016}.wal")
}

/// The number in a name made by [`name_of`], directory left out.
pub fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 16).then(|| digits.parse().ok()).flatten()
}

fn spare_name(number: u64) -> String {
    format!("{DIR}/spare-{number:04}.wal")
}

fn spare_number(path: &str) -> Option<u64> {
    path.strip_prefix(DIR)?.strip_prefix("/spare-")?.strip_suffix(".wal")?.parse().ok()
}

/// A file that still holds frames that replay would need.
#[derive(Debug, Clone)]
pub struct Live {
    pub file: u64,
    pub first: FrameNo,
    pub len: u64,
    /// Where frames begin, every so often: enough to find the place of any.
    pub places: Vec<(FrameNo, u64, u32)>,
}

impl Live {
    /// Where a frame of this file begins, and its generation.
    fn find(&self, frame: FrameNo) -> Option<(u64, u32)> {
        let found = self.places.binary_search_by_key(&frame, |place| place.0).ok()?;
        let (_, offset, generation) = self.places[found];
        Some((offset, generation))
    }
}

/// Where the next frame goes.
pub struct Target {
    pub file: Arc<dyn DiskFile>,
    pub at: u64,
}

pub struct Files {
    disk: Arc<dyn Disk>,
    secret: Secret,
    settings: WalSettings,
    generation: u32,
    state: Mutex<State>,
}

struct State {
    current: Option<Current>,
    live: VecDeque<Live>,
    /// The frame that replay would begin with.
    needed: FrameNo,
    spares: Vec<(String, u64)>,
    next_file: u64,
    next_spare: u64,
}

struct Current {
    file: Arc<dyn DiskFile>,
    at: u64,
    /// Bytes that were written before, so that overwriting them changes no metadata.
    room: u64,
}

impl Files {
    pub fn open(
        disk: Arc<dyn Disk>,
        secret: Secret,
        settings: WalSettings,
        generation: u32,
        end: End,
    ) -> Result<Files> {
        disk.create_dir(DIR)?;
        // The directory itself, and the name of the identity beside it.
        if !planted::active(Bug::SkipRootSync) {
            disk.sync_dir("")?;
        }
        // What was read may so far lie in a cache alone, and from now on it counts as durable.
        for live in end.live.iter().filter(|_| !planted::active(Bug::SkipRecoverySync)) {
            disk.open(&name_of(live.file), Mode::Read)?.sync()?;
        }
        disk.sync_dir(DIR)?;
        let mut spares: Vec<(String, u64)> = Vec::new();
        let mut stale = Vec::new();
        for entry in disk.list(DIR)? {
            let path = format!("{DIR}/{}", entry.name);
            if end.live.iter().any(|live| name_of(live.file) == path) {
                continue;
            }
            if entry.len < settings.file_bytes || spares.len() + stale.len() >= settings.spares {
                disk.remove(&path)?;
            } else if number_of(&entry.name).is_some() {
                stale.push((path, entry.len));
            } else {
                spares.push((path, entry.len));
            }
        }
        // Left over from before the checkpoint: a name that a later file takes must not stay.
        let mut next_spare = spares.iter().filter_map(|(path, _)| spare_number(path)).max();
        for (path, len) in stale {
            next_spare = Some(next_spare.unwrap_or(0) + 1);
            let spare = spare_name(next_spare.unwrap_or(0));
            disk.rename(&path, &spare)?;
            spares.push((spare, len));
        }
        let next_file = end.live.iter().map(|live| live.file).max().unwrap_or(end.last_file) + 1;
        // Goes on where the last life ended, in room that is there already: a start on a full disk
        // needs none. What older frames lie behind are of an older generation.
        let mut current = None;
        if let Some(last) = end.live.last() {
            let file = disk.open(&name_of(last.file), Mode::WriteDirect)?;
            current = Some(Current { room: file.len()?, file, at: last.len });
        }
        let needed = end.live.first().map_or(0, |live| live.first);
        let state = State {
            current,
            needed,
            live: end.live.into(),
            spares,
            next_file,
            next_spare: next_spare.unwrap_or(0),
        };
        Ok(Files { disk, secret, settings, generation, state: Mutex::new(state) })
    }

    /// A place for a frame of `len` bytes. Opens the next file when the current one is full; a new
    /// file's directory entry is durable when this returns.
    pub fn place(&self, number: FrameNo, len: u64) -> Result<Target> {
        assert!(len > 0 && len.is_multiple_of(PAGE), "frame {number} of {len} bytes is no pages");
        let mut state = self.state.lock();
        let fits = state.current.as_ref().is_some_and(|current| current.at + len <= current.room);
        if !fits {
            self.rotate(&mut state, number, len)?;
        }
        let State { current, live, .. } = &mut *state;
        let current = current.as_mut().expect("just opened");
        let at = current.at;
        current.at += len;
        let last = live.back_mut().expect("the current file is live");
        assert_eq!(last.len, at, "frames of a file follow one another");
        assert!(last.places.last().is_none_or(|place| place.0 + 1 == number), "frames are dense");
        last.len = current.at;
        last.places.push((number, at, self.generation));
        Ok(Target { file: current.file.clone(), at })
    }

    fn rotate(&self, state: &mut State, number: FrameNo, len: u64) -> Result<()> {
        let path = name_of(state.next_file);
        let needed = FILE_HEADER as u64 + len;
        let place = state.spares.iter().position(|(_, room)| *room >= needed);
        let room = match place {
            Some(place) => {
                let (spare, room) = state.spares.swap_remove(place);
                self.disk.rename(&spare, &path)?;
                room
            }
            None if state.current.is_none() && needed <= self.settings.first_file_bytes => {
                self.fill(&path, self.settings.first_file_bytes)?;
                self.settings.first_file_bytes
            }
            // None is ready: this one grows as it is written, which costs the file system's
            // journal a commit per sync, but nobody waits for a whole file of zeros.
            None => needed.max(self.settings.file_bytes),
        };
        let file = self.disk.open(&path, Mode::WriteDirect)?;
        let mut page = AlignedBuf::zeroed(FILE_HEADER);
        let header = FileHeader { first: number, generation: self.generation };
        header.encode(self.secret, &mut page);
        file.write_at(&page, 0)?;
        if !planted::active(Bug::SkipDirSync) {
            self.disk.sync_dir(DIR)?;
        }
        state.live.push_back(Live {
            file: state.next_file,
            first: number,
            len: FILE_HEADER as u64,
            places: Vec::new(),
        });
        state.next_file += 1;
        state.current = Some(Current { file, at: FILE_HEADER as u64, room });
        Ok(())
    }

    fn fill(&self, path: &str, len: u64) -> Result<()> {
        let file = self.disk.open(path, Mode::WriteDirect)?;
        let zeros = AlignedBuf::zeroed(ZEROS);
        let mut at = 0;
        while at < len {
            let step = (len - at).min(ZEROS as u64);
            file.write_at(&zeros[..usize::try_from(step).expect("at most 1 MiB")], at)?;
            at += step;
        }
        file.sync()
    }

    /// True if the current file will soon be full and no other is ready.
    pub fn wants_spare(&self) -> bool {
        let state = self.state.lock();
        let used = state.current.as_ref().is_some_and(|current| current.at > current.room / 4);
        used && state.spares.iter().all(|(_, room)| *room < self.settings.file_bytes)
    }

    /// Writes a file of zeros for later use.
    pub fn prepare(&self) -> Result<()> {
        let name = {
            let mut state = self.state.lock();
            state.next_spare += 1;
            spare_name(state.next_spare)
        };
        if let Err(error) = self.fill(&name, self.settings.file_bytes) {
            let _absent = self.disk.remove(&name);
            return Err(error);
        }
        self.state.lock().spares.push((name, self.settings.file_bytes));
        Ok(())
    }

    pub fn trim(&self, below: FrameNo) -> Result<()> {
        self.state.lock().needed = below;
        loop {
            let mut state = self.state.lock();
            let State { live, spares, next_spare, .. } = &mut *state;
            // A file can go when the one after it begins at or below the first needed frame.
            if live.len() < 2 || live[1].first > below {
                return Ok(());
            }
            let gone = live.pop_front().expect("two are there");
            let path = name_of(gone.file);
            let room = self.disk.open(&path, Mode::Read)?.len()?;
            if room >= self.settings.file_bytes / 2 && spares.len() < self.settings.spares {
                *next_spare += 1;
                let spare = spare_name(*next_spare);
                self.disk.rename(&path, &spare)?;
                spares.push((spare, room));
            } else {
                drop(state);
                self.disk.remove(&path)?;
            }
        }
    }

    /// Bytes that replay would read.
    pub fn backlog(&self) -> u64 {
        let state = self.state.lock();
        let all: u64 = state.live.iter().map(|live| live.len).sum();
        let begin = state.live.front().and_then(|live| live.find(state.needed));
        all - begin.map_or(0, |(offset, _)| offset)
    }

    /// Where `frame` begins, if it is in a live file.
    pub fn place_of(&self, frame: FrameNo) -> Option<Place> {
        let state = self.state.lock();
        let live = state.live.iter().rev().find(|live| live.first <= frame)?;
        let (offset, generation) = live.find(frame)?;
        Some(Place { frame, file: live.file, offset, generation })
    }
}
