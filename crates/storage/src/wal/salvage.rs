//! Reads a damaged WAL: every frame and every section whose checksum is right, in the order of
//! their numbers, and which frames are missing between them. The counterpart of
//! [`super::replay`], which takes nothing behind a gap; what was never promised stays out here too.

use std::ops::Range;

use super::Place;
use super::files::name_of;
use super::replay::{Opened, ReplayError, header_is_valid, open_all, read};
use crate::aligned::{PAGE, page_up};
use crate::disk::Disk;
use crate::frame::{
    FILE_HEADER, FRAME_MAX, FrameHeader, Secret, SectionView, salvage_frame, salvage_headless,
};
use crate::ticket::FrameNo;

/// Bytes read at once while looking for frames.
const WINDOW: usize = 4 << 20;

/// What is left of a frame.
pub struct Salvaged {
    pub number: FrameNo,
    /// Sections that are whole.
    pub sections: Vec<SectionView>,
    /// Sections that are not: something in them is wrong, and nothing tells what.
    pub damaged: Vec<SectionView>,
}

/// Durable frames that are not there, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub frames: Range<FrameNo>,
    /// Where the first of them lies, or should.
    pub path: String,
    pub bytes: Range<u64>,
    /// The shards whose sections are lost; empty = every section.
    pub shards: Vec<u16>,
}

/// What a damaged WAL has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// The first frame that was visited.
    pub first: Option<FrameNo>,
    /// The highest number that anything tells of.
    pub highest: FrameNo,
    /// The highest generation seen anywhere.
    pub generation: u32,
    /// The highest number of any file.
    pub last_file: u64,
    pub gaps: Vec<Gap>,
    /// The frame behind the last one that was visited.
    pub next: FrameNo,
}

impl Rest {
    /// True if a frame from this one on is there.
    pub fn follows(&self, frame: FrameNo) -> bool {
        frame < self.next
    }
}

/// A frame whose header is whole.
struct Seen {
    header: FrameHeader,
    file: usize,
    at: u64,
}

/// Visits what is left of the frames from `from` on, or of all, where that is not known. `known` is
/// the frame up to which everything is known to have been durable.
///
/// # Errors
/// What the disk says when files are listed, and what the visitor says.
pub fn salvage(
    disk: &dyn Disk,
    secret: Secret,
    from: Option<Place>,
    known: FrameNo,
    visit: &mut dyn FnMut(Salvaged) -> Result<(), ReplayError>,
) -> Result<Rest, ReplayError> {
    let files = open_all(disk, secret)?;
    let mut seen = Vec::new();
    for (number, file) in files.iter().enumerate() {
        headers(secret, number, file, &mut seen);
    }
    let generations = files.iter().filter_map(|file| file.header.map(|header| header.generation));
    let generations = generations.chain(seen.iter().map(|seen| seen.header.generation));
    let numbers = seen.iter().map(|seen| seen.header.number);
    let witnessed = seen.iter().map(|seen| seen.header.synced_upto).max().unwrap_or(0);
    let synced = witnessed.max(known);
    let mut rest = Rest {
        highest: numbers.max().unwrap_or(0).max(synced),
        generation: generations.max().unwrap_or(0).max(from.map_or(0, |place| place.generation)),
        last_file: files.iter().map(|file| file.number).max().unwrap_or(0),
        ..Rest::default()
    };
    let from = from.or_else(|| beginning(&files));
    let begin = from.map_or(0, |place| place.frame);
    seen.retain(|seen| begin <= seen.header.number);
    // Of several with one number the youngest was written last.
    seen.sort_by_key(|seen| (seen.header.number, std::cmp::Reverse(seen.header.generation)));
    seen.dedup_by_key(|seen| seen.header.number);
    let mut walk = Walk {
        secret,
        files: &files,
        synced,
        expected: from.map(|place| place.frame),
        generation: from.map_or(0, |place| place.generation),
        place: from.map_or((0, FILE_HEADER as u64), |place| (place.file, place.offset)),
    };
    for seen in &seen {
        if !walk.step(seen, &mut rest, visit)? {
            break;
        }
    }
    let expected = walk.expected.unwrap_or(1);
    if expected <= synced {
        walk.gap(expected..synced + 1, None, &mut rest);
    }
    Ok(rest)
}

/// Where the very first frame lies, if its file is still there.
fn beginning(files: &[Opened]) -> Option<Place> {
    let first = |file: &&Opened| file.header.is_some_and(|header| header.first == 1);
    let file = files.iter().find(first)?.number;
    Some(Place { frame: 1, file, offset: FILE_HEADER as u64, generation: 0 })
}

struct Walk<'a> {
    secret: Secret,
    files: &'a [Opened],
    synced: FrameNo,
    /// None until the first frame, where it is not known which that should be.
    expected: Option<FrameNo>,
    generation: u32,
    /// File and byte where the next frame should begin.
    place: (u64, u64),
}

impl Walk<'_> {
    /// Takes the next frame there is; false where the WAL ends before it.
    fn step(
        &mut self,
        seen: &Seen,
        rest: &mut Rest,
        visit: &mut dyn FnMut(Salvaged) -> Result<(), ReplayError>,
    ) -> Result<bool, ReplayError> {
        let Seen { header, file, at } = seen;
        let file = &self.files[*file];
        let expected = self.expected.unwrap_or(header.number);
        if header.generation < self.generation {
            // From an older life, behind a place where this one was cut.
            return Ok(true);
        }
        if header.number > expected {
            if expected > self.synced {
                return Ok(false);
            }
            let before = (file.number == self.place.0).then_some(*at);
            self.gap(expected..header.number, before, rest);
            if let Some(before) = before.filter(|_| expected + 1 == header.number)
                && let Some(sections) = self.headless(file, before)
            {
                rest.first.get_or_insert(expected);
                visit(Salvaged { number: expected, sections, damaged: Vec::new() })?;
            }
        }
        let end = at + header.padded() as u64;
        let frame = read(file, *at, header.padded()).ok();
        let found = frame.and_then(|frame| salvage_frame(self.secret, &frame));
        let is_whole = found.as_ref().is_some_and(|found| found.damaged.is_empty());
        if !is_whole {
            if header.number > self.synced {
                return Ok(false);
            }
            let frames = header.number..header.number + 1;
            let damaged = found.iter().flat_map(|found| &found.damaged);
            let shards = damaged.map(|section| section.shard).collect();
            rest.gaps.push(Gap { frames, path: name_of(file.number), bytes: *at..end, shards });
        }
        rest.first.get_or_insert(header.number);
        rest.next = header.number + 1;
        self.expected = Some(rest.next);
        self.generation = header.generation;
        self.place = (file.number, end);
        let found = found.unwrap_or_default();
        visit(Salvaged { number: header.number, sections: found.whole, damaged: found.damaged })?;
        Ok(true)
    }

    /// The sections of one frame that lies between two others but for its header: they have to
    /// reach from the one to the other.
    fn headless(&self, file: &Opened, before: u64) -> Option<Vec<SectionView>> {
        let at = self.place.1;
        let len = before.checked_sub(at).filter(|len| *len <= FRAME_MAX as u64)?;
        let frame = read(file, at, usize::try_from(len).ok()?).ok()?;
        let found = salvage_headless(self.secret, &frame);
        (page_up(found.len) as u64 == len).then_some(found.whole)
    }

    /// Notes frames that are missing, before the byte `end` of the file where they should begin.
    fn gap(&self, frames: Range<FrameNo>, end: Option<u64>, rest: &mut Rest) {
        let (file, at) = self.place;
        let len = self.files.iter().find(|known| known.number == file).map_or(at, |file| file.len);
        let bytes = at..end.unwrap_or(len).max(at);
        rest.gaps.push(Gap { frames, path: name_of(file), bytes, shards: Vec::new() });
    }
}

/// Every whole header of a file that is of its own time: what lies in a file that is used again has
/// lower numbers than its first frame.
fn headers(secret: Secret, number: usize, file: &Opened, into: &mut Vec<Seen>) {
    let mut first = file.header.map(|header| header.first);
    let mut at = FILE_HEADER as u64;
    while at + PAGE as u64 <= file.len {
        let len = usize::try_from(file.len - at).unwrap_or(usize::MAX).min(WINDOW) / PAGE * PAGE;
        let window = read(file, at, len).or_else(|_| read(file, at, PAGE));
        let Ok(window) = window else {
            // A page that the device does not give.
            at += PAGE as u64;
            continue;
        };
        let mut inside = 0;
        while inside < window.len() {
            let place = at + inside as u64;
            let found = FrameHeader::parse(&window[inside..]).filter(|header| {
                matches!(header_is_valid(secret, file, place, header), Ok(true))
                    && *first.get_or_insert(header.number) <= header.number
            });
            inside += found.map_or(PAGE, |header| header.padded());
            into.extend(found.map(|header| Seen { header, file: number, at: place }));
        }
        at += inside as u64;
    }
}
