//! Reads a WAL back after a start: every frame from the checkpoint on, up to where it ends, and
//! whether that end is a torn tail (cut) or damage (refused).

use std::sync::Arc;

use bytes::Bytes;

use super::files::{DIR, Live, name_of, number_of};
use super::{Place, WalLoss};
use crate::aligned::PAGE;
use crate::disk::{Disk, DiskFile, Mode, read_exact};
use crate::frame::{
    FILE_HEADER, FRAME_HEADER, FRAME_MAX, FileHeader, FrameHeader, SECTION_HEADER, Secret,
    SectionView, parse_frame,
};
use crate::planted::{self, Bug};
use crate::ticket::FrameNo;

/// Bytes read at once while looking for frames.
const WINDOW: usize = 4 << 20;

/// Where a WAL ends, and what is needed to go on after it.
#[derive(Clone, Debug)]
pub struct End {
    /// Number of the next frame.
    pub next: FrameNo,
    /// The highest generation seen anywhere.
    pub generation: u32,
    /// Files that replay read.
    pub live: Vec<Live>,
    /// The highest number of any file.
    pub last_file: u64,
    /// Bytes of a torn tail that were cut off.
    pub torn: bool,
}

/// Why a WAL cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{path}: cannot be read: {source}")]
    Io { path: String, source: std::io::Error },
    #[error(
        "{path}: frame {frame}, at byte {offset}, is damaged, but it was durable: frames up to \
         {synced} were synced. Nothing was changed"
    )]
    Damaged { path: String, frame: FrameNo, offset: u64, synced: FrameNo },
    #[error("{path}: the file that the checkpoint names is not there")]
    Missing { path: String },
    #[error("{0}")]
    Loss(#[from] WalLoss),
    #[error("{0}")]
    Refused(String),
}

/// One frame that was read back whole.
pub struct Frame {
    pub number: FrameNo,
    pub sections: Vec<SectionView>,
}

pub(crate) struct Opened {
    pub number: u64,
    file: Arc<dyn DiskFile>,
    pub len: u64,
    pub header: Option<FileHeader>,
}

/// Replays from `from`, or from the first frame of a directory that has no checkpoint. `known` is
/// the frame up to which the checkpoint knows everything to be durable.
pub fn replay(
    disk: &dyn Disk,
    secret: Secret,
    from: Option<Place>,
    known: FrameNo,
    visit: &mut dyn FnMut(Frame) -> Result<(), ReplayError>,
) -> Result<End, ReplayError> {
    let files = open_all(disk, secret)?;
    let last_file = files.iter().map(|file| file.number).max().unwrap_or(0);
    let last = last_witnessed(secret, &files, from)?;
    let mut scan = Scan::begin(&files, from)?;
    while scan.expected <= last {
        let Some((header, sections)) = scan.frame(secret)? else {
            if scan.next_file(secret)? {
                continue;
            }
            break;
        };
        scan.accept(&header);
        visit(Frame { number: header.number, sections })?;
    }
    let (synced, generation) = witnesses(secret, &files, &scan)?;
    let synced = synced.max(known);
    if scan.expected <= synced {
        let (path, offset) = scan.here()?;
        return Err(ReplayError::Damaged { path, frame: scan.expected, offset, synced });
    }
    let torn = scan.looks_torn()?;
    Ok(End {
        next: scan.expected,
        generation: generation.max(scan.generation),
        live: scan.live,
        last_file,
        torn,
    })
}

/// Where replay ends at the latest: nowhere, but for a planted bug.
fn last_witnessed(
    secret: Secret,
    files: &[Opened],
    from: Option<Place>,
) -> Result<FrameNo, ReplayError> {
    if !planted::active(Bug::CutUnwitnessed) {
        return Ok(FrameNo::MAX);
    }
    let mut scan = Scan::begin(files, from)?;
    let mut last = 0;
    loop {
        if let Some((header, _)) = scan.frame(secret)? {
            last = last.max(header.synced_upto);
            scan.accept(&header);
        } else if !scan.next_file(secret)? {
            return Ok(last);
        }
    }
}

/// The files that hold or held frames, in the order of their numbers.
pub(crate) fn open_all(disk: &dyn Disk, secret: Secret) -> Result<Vec<Opened>, ReplayError> {
    let mut files = Vec::new();
    let listed = disk.list(DIR).map_err(|source| io(DIR, source))?;
    for entry in listed {
        let Some(number) = number_of(&entry.name) else { continue };
        let path = name_of(number);
        let file = disk.open(&path, Mode::ReadDirect).map_err(|source| io(&path, source))?;
        let header = if entry.len >= FILE_HEADER as u64 {
            let page = read_exact(&*file, 0, FILE_HEADER).map_err(|source| io(&path, source))?;
            FileHeader::parse(secret, &page)
        } else {
            None
        };
        files.push(Opened { number, file, len: entry.len, header });
    }
    Ok(files)
}

fn io(path: &str, source: std::io::Error) -> ReplayError {
    ReplayError::Io { path: path.to_owned(), source }
}

struct Scan<'a> {
    files: &'a [Opened],
    /// Index into `files`; None while there is none at all.
    current: Option<usize>,
    at: u64,
    expected: FrameNo,
    /// Generation of the last frame; it never falls.
    generation: u32,
    live: Vec<Live>,
}

impl<'a> Scan<'a> {
    fn begin(files: &'a [Opened], from: Option<Place>) -> Result<Scan<'a>, ReplayError> {
        let mut scan =
            Scan { files, current: None, at: 0, expected: 1, generation: 0, live: Vec::new() };
        if let Some(place) = from {
            let found = files.iter().position(|file| file.number == place.file);
            let found = found.ok_or_else(|| ReplayError::Missing { path: name_of(place.file) })?;
            scan.expected = place.frame;
            scan.generation = place.generation;
            scan.enter(found, place.offset, place.frame);
        } else if let Some(first) = best_file(files, 1, 0) {
            scan.enter(first, FILE_HEADER as u64, 1);
        }
        Ok(scan)
    }

    fn enter(&mut self, index: usize, at: u64, first: FrameNo) {
        let file = self.files[index].number;
        self.current = Some(index);
        self.at = at;
        self.live.push(Live { file, first, len: at, places: Vec::new() });
    }

    /// The next frame here, if it is whole, has the expected number and no older generation.
    fn frame(
        &self,
        secret: Secret,
    ) -> Result<Option<(FrameHeader, Vec<SectionView>)>, ReplayError> {
        let Some(current) = self.current else { return Ok(None) };
        let found = frame_at(secret, &self.files[current], self.at)?;
        Ok(found.filter(|(header, _)| {
            header.number == self.expected
                && (header.generation >= self.generation
                    || planted::active(Bug::TrustOldGeneration))
        }))
    }

    fn accept(&mut self, header: &FrameHeader) {
        let live = self.live.last_mut().expect("a file was entered");
        assert_eq!(header.number, self.expected, "only the expected frame is taken");
        assert!(header.generation >= self.generation, "generations never fall");
        live.places.push((header.number, self.at, header.generation));
        self.at += header.padded() as u64;
        live.len = self.at;
        self.expected = header.number + 1;
        self.generation = header.generation;
    }

    /// Goes to the file that begins with the expected frame; of several, the one of the highest
    /// generation that holds it.
    fn next_file(&mut self, secret: Secret) -> Result<bool, ReplayError> {
        let mut candidates: Vec<usize> = (0..self.files.len())
            .filter(|index| Some(*index) != self.current)
            .filter(|index| {
                self.files[*index].header.is_some_and(|header| {
                    header.first == self.expected && header.generation >= self.generation
                })
            })
            .collect();
        candidates.sort_by_key(|index| {
            std::cmp::Reverse(self.files[*index].header.map(|header| header.generation))
        });
        for index in candidates {
            let found = frame_at(secret, &self.files[index], FILE_HEADER as u64)?;
            let valid = found.is_some_and(|(header, _)| {
                header.number == self.expected && header.generation >= self.generation
            });
            if valid {
                self.enter(index, FILE_HEADER as u64, self.expected);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the expected frame should be: here, or at the front of the next file where nothing
    /// here looks like it.
    fn here(&self) -> Result<(String, u64), ReplayError> {
        let next = match self.current {
            Some(current) if self.looks_torn()? => {
                return Ok((name_of(self.files[current].number), self.at));
            }
            Some(current) => current + 1,
            None => 0,
        };
        let next = self.files.get(next..).into_iter().flatten();
        let mut next = next.filter(|file| file.header.is_none_or(|h| h.first == self.expected));
        Ok(match (next.next(), self.current) {
            (Some(file), _) => {
                let at = if file.header.is_some() { FILE_HEADER as u64 } else { 0 };
                (name_of(file.number), at)
            }
            (None, Some(current)) => (name_of(self.files[current].number), self.at),
            (None, None) => (DIR.to_owned(), 0),
        })
    }

    /// Whether something other than zeros or an older life lies where the next frame would.
    fn looks_torn(&self) -> Result<bool, ReplayError> {
        let Some(current) = self.current else { return Ok(false) };
        let file = &self.files[current];
        if self.at + FRAME_HEADER as u64 > file.len {
            return Ok(false);
        }
        let front = read(file, self.at, FRAME_HEADER)?;
        Ok(FrameHeader::parse(&front).is_some_and(|header| header.number == self.expected))
    }
}

fn best_file(files: &[Opened], first: FrameNo, generation: u32) -> Option<usize> {
    let fits = |file: &Opened| {
        file.header.is_some_and(|header| header.first == first && header.generation >= generation)
    };
    let found = files.iter().enumerate().filter(|(_, file)| fits(file));
    found.max_by_key(|(_, file)| file.header.map(|header| header.generation)).map(|(at, _)| at)
}

pub(super) fn read(file: &Opened, at: u64, len: usize) -> Result<Bytes, ReplayError> {
    read_exact(&*file.file, at, len).map_err(|source| io(&name_of(file.number), source))
}

/// The whole frame that begins there, if one does.
pub(crate) fn frame_at(
    secret: Secret,
    file: &Opened,
    at: u64,
) -> Result<Option<(FrameHeader, Vec<SectionView>)>, ReplayError> {
    if at + PAGE as u64 > file.len {
        return Ok(None);
    }
    // Most frames are small; what is longer is read once its length is known.
    let window = usize::try_from(file.len - at).unwrap_or(usize::MAX).min(PAGE);
    let front = read(file, at, window)?;
    let Some(header) = FrameHeader::parse(&front) else { return Ok(None) };
    let whole = header.padded();
    if whole > FRAME_MAX || at + whole as u64 > file.len {
        return Ok(None);
    }
    let frame = if whole <= window { front } else { read(file, at, whole)? };
    Ok(parse_frame(secret, &frame))
}

/// Looks through everything behind the end for later headers: the highest `synced_upto` of any
/// valid one, and the highest generation.
fn witnesses(
    secret: Secret,
    files: &[Opened],
    scan: &Scan<'_>,
) -> Result<(FrameNo, u32), ReplayError> {
    let mut highest = (0, 0);
    for (index, file) in files.iter().enumerate() {
        let begin = if Some(index) == scan.current {
            scan.at
        } else if scan.live.iter().any(|live| live.file == file.number) {
            continue;
        } else {
            FILE_HEADER as u64
        };
        if let Some(header) = file.header {
            highest.1 = highest.1.max(header.generation);
        }
        search(secret, file, begin, &mut highest)?;
    }
    Ok(highest)
}

fn search(
    secret: Secret,
    file: &Opened,
    begin: u64,
    highest: &mut (FrameNo, u32),
) -> Result<(), ReplayError> {
    let mut at = begin;
    let mut last = begin;
    // Frames follow one another, so the next header lies at most one frame further.
    while at + PAGE as u64 <= file.len && at - last <= FRAME_MAX as u64 {
        let len = usize::try_from(file.len - at).unwrap_or(usize::MAX).min(WINDOW) / PAGE * PAGE;
        let window = read(file, at, len)?;
        let mut inside = 0;
        while inside < len {
            let mut step = PAGE;
            if let Some(header) = FrameHeader::parse(&window[inside..])
                && header_is_valid(secret, file, at + inside as u64, &header)?
            {
                highest.0 = highest.0.max(header.synced_upto);
                highest.1 = highest.1.max(header.generation);
                step = header.padded();
                last = at + (inside + step) as u64;
            }
            inside += step;
        }
        at += inside as u64;
    }
    Ok(())
}

pub(super) fn header_is_valid(
    secret: Secret,
    file: &Opened,
    at: u64,
    header: &FrameHeader,
) -> Result<bool, ReplayError> {
    if at + header.padded() as u64 > file.len {
        return Ok(false);
    }
    let front = read(file, at, FRAME_HEADER)?;
    let front: &[u8; FRAME_HEADER] = front.first_chunk().expect("read in full");
    let mut failed = None;
    let valid =
        header.check(secret, front, |place| match read(file, at + place as u64, SECTION_HEADER) {
            Ok(bytes) => bytes.first_chunk().copied(),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
    failed.map_or(Ok(valid), Err)
}
