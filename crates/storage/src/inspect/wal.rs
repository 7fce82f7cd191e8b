//! The files of the write-ahead log: every frame walked, and where they end judged by the same
//! rule as at a start.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::ops::Range;

use super::state::Rows;
use super::{Fact, Facts, Look};
use crate::aligned::PAGE;
use crate::frame::{FILE_HEADER, FrameHeader, Secret, SectionView};
use crate::ticket::FrameNo;
use crate::wal::files::{DIR, name_of, number_of};
use crate::wal::replay::{self, End, Opened, ReplayError, frame_at, open_all};

const REFUSED: &str = "no broker starts: what was acknowledged lies here";
const OLD: &str = "nothing is lost: a checkpoint has what stands there";

/// What a walk through the frames of one file has seen.
#[derive(Default)]
struct Seen {
    frames: u64,
    first: FrameNo,
    last: FrameNo,
    generation: u32,
    synced: FrameNo,
    sections: u64,
    effects: BTreeMap<&'static str, u64>,
    /// Where the last frame ends.
    end: u64,
    parts: Vec<Facts>,
    /// Frames with effects that cannot be read.
    unreadable: Vec<(FrameNo, Range<u64>, String)>,
}

impl Look<'_> {
    pub(super) fn wal(&mut self, secret: Option<Secret>, rows: &Rows) -> Result<()> {
        let entries = self.disk.list(DIR)?;
        for entry in &entries {
            let path = format!("{DIR}/{}", entry.name);
            let kind = match number_of(&entry.name) {
                Some(_) if secret.is_some() => continue,
                Some(_) => "write-ahead log",
                None if entry.name.starts_with("spare-") => "spare",
                None => "foreign",
            };
            self.report.file(&path, entry.len, kind, Vec::new());
        }
        let Some(secret) = secret else {
            self.report.note(DIR, "not checked: without IDENT no checksum of it is known");
            return Ok(());
        };
        let files = open_all(&*self.disk, secret).map_err(device)?;
        let end = self.judge(secret, &files, rows)?;
        for file in &files {
            self.wal_file(secret, file, end.as_ref(), rows)?;
        }
        Ok(())
    }

    /// Replays as a start would, and says what a start would say. None if that cannot be told.
    fn judge(&mut self, secret: Secret, files: &[Opened], rows: &Rows) -> Result<Option<End>> {
        if !rows.known {
            self.report.note(DIR, "how much of it is needed is not known without the state rows");
            return Ok(None);
        }
        let place = rows.checkpoint.map(|row| row.replay_from);
        let known = rows.checkpoint.map_or(0, |row| row.durable);
        match replay::replay(&*self.disk, secret, place, known, &mut |_| Ok(())) {
            Ok(end) => Ok(Some(end)),
            Err(ReplayError::Damaged { path, frame, offset, synced }) => {
                let file = files.iter().find(|file| name_of(file.number) == path);
                let range = match file {
                    Some(file) => offset..intact_from(secret, file, offset, frame)?,
                    None => 0..0,
                };
                let what = format!(
                    "frame {frame} is damaged, and it was durable: frames to {synced} were synced"
                );
                self.report.damage(&path, range, what, REFUSED);
                Ok(None)
            }
            Err(ReplayError::Missing { path }) => {
                self.report.damage(
                    &path,
                    0..0,
                    "it is not there, and replay begins in it",
                    REFUSED,
                );
                Ok(None)
            }
            Err(error) => Err(device(error)),
        }
    }

    fn wal_file(
        &mut self,
        secret: Secret,
        file: &Opened,
        end: Option<&End>,
        rows: &Rows,
    ) -> Result<()> {
        let path = name_of(file.number);
        let place = rows.checkpoint.map(|row| row.replay_from);
        let place = place.filter(|place| place.file == file.number);
        let live = end.and_then(|end| end.live.iter().find(|live| live.file == file.number));
        let is_live = live.is_some() || place.is_some();
        let mut seen = Seen::default();
        let header = file.header;
        if let Some(header) = header {
            self.walk(secret, file, (FILE_HEADER as u64, header.first), &mut seen)?;
        } else if is_live {
            let means = if place.is_some() { OLD } else { REFUSED };
            let what = "its first page is no header of this write-ahead log";
            self.report.damage(&path, 0..FILE_HEADER as u64, what, means);
        }
        if let Some(place) = place.filter(|place| seen.end < place.offset) {
            if header.is_some() {
                let frame = seen.last.max(header.map_or(0, |header| header.first - 1)) + 1;
                let from = seen.end.max(FILE_HEADER as u64);
                let to = intact_from(secret, file, from, frame)?.min(place.offset);
                let what = format!("frame {frame}, from before the checkpoint, is damaged");
                self.report.damage(&path, from..to, what, OLD);
            }
            self.walk(secret, file, (place.offset, place.frame), &mut seen)?;
        }
        for (frame, range, why) in std::mem::take(&mut seen.unreadable) {
            let means =
                if rows.replay_from().is_some_and(|from| frame < from) { OLD } else { REFUSED };
            self.report.damage(&path, range, format!("frame {frame}: {why}"), means);
        }
        let last = end.is_some_and(|end| end.live.last().is_some_and(|l| l.file == file.number));
        if last && end.is_some_and(|end| end.torn) {
            let what = format!(
                "torn tail from byte {}: frame {} was being written and is not whole; it was never \
                 acknowledged, and the next start writes over it",
                seen.end,
                seen.last + 1
            );
            self.report.note(&path, what);
        }
        let mut facts = seen.facts();
        if end.is_some() && !is_live {
            facts.insert(0, ("needed", Fact::Text("no".into())));
        }
        if let Some(header) = header {
            facts.insert(0, ("begun in generation", Fact::Number(header.generation.into())));
        }
        self.report.file(&path, file.len, "write-ahead log", facts);
        self.report.files.last_mut().expect("just added").parts = seen.parts;
        Ok(())
    }

    /// Walks the whole frames from a place on, as far as they follow one another.
    fn walk(
        &self,
        secret: Secret,
        file: &Opened,
        from: (u64, FrameNo),
        seen: &mut Seen,
    ) -> Result<()> {
        let (mut at, mut expected) = from;
        seen.end = at;
        let detail = self.in_detail(&name_of(file.number));
        while let Some((header, sections)) = frame_at(secret, file, at).map_err(device)? {
            if header.number != expected || header.generation < seen.generation {
                break;
            }
            let range = at..at + header.padded() as u64;
            let effects = self.note_frame(&header, &sections, range.clone(), seen);
            if detail {
                seen.parts.push(describe(&header, &range, sections.len(), &effects));
            }
            (at, expected) = (range.end, header.number + 1);
            seen.end = at;
        }
        assert!(from.0 <= seen.end, "a walk never goes back");
        Ok(())
    }

    fn note_frame(
        &self,
        header: &FrameHeader,
        sections: &[SectionView],
        range: Range<u64>,
        seen: &mut Seen,
    ) -> BTreeMap<&'static str, u64> {
        if seen.frames == 0 {
            seen.first = header.number;
        }
        seen.frames += 1;
        seen.last = header.number;
        seen.generation = header.generation;
        seen.synced = header.synced_upto;
        seen.sections += sections.len() as u64;
        let mut effects = BTreeMap::new();
        for section in sections {
            match self.decoder.effects(&section.effects) {
                Ok(counts) => {
                    for (name, count) in counts {
                        *effects.entry(name).or_default() += count;
                        *seen.effects.entry(name).or_default() += count;
                    }
                }
                Err(why) => seen.unreadable.push((header.number, range.clone(), why)),
            }
        }
        effects
    }
}

impl Seen {
    fn facts(&self) -> Facts {
        let mut facts = vec![("frames", Fact::Number(self.frames))];
        if self.frames > 0 {
            facts.extend([
                ("first", Fact::Number(self.first)),
                ("last", Fact::Number(self.last)),
                ("generation", Fact::Number(self.generation.into())),
                ("synced to", Fact::Number(self.synced)),
                ("sections", Fact::Number(self.sections)),
                ("ends at byte", Fact::Number(self.end)),
            ]);
        }
        facts.extend(self.effects.iter().map(|(name, count)| (*name, Fact::Number(*count))));
        facts
    }
}

fn describe(
    header: &FrameHeader,
    range: &Range<u64>,
    sections: usize,
    effects: &BTreeMap<&'static str, u64>,
) -> Facts {
    let mut facts = vec![
        ("frame", Fact::Number(header.number)),
        ("at byte", Fact::Number(range.start)),
        ("bytes", Fact::Number(range.end - range.start)),
        ("generation", Fact::Number(header.generation.into())),
        ("synced to", Fact::Number(header.synced_upto)),
        ("sections", Fact::Number(sections as u64)),
    ];
    facts.extend(effects.iter().map(|(name, count)| (*name, Fact::Number(*count))));
    facts
}

/// The first byte behind `from` where a whole frame above `frame` begins, or the end of the page
/// at `from` if none does.
fn intact_from(secret: Secret, file: &Opened, from: u64, frame: FrameNo) -> Result<u64> {
    let page = PAGE as u64;
    let mut at = from + page;
    while at + page <= file.len {
        if let Some((header, _)) = frame_at(secret, file, at).map_err(device)?
            && header.number > frame
        {
            return Ok(at);
        }
        at += page;
    }
    Ok((from + page).min(file.len).max(from))
}

fn device(error: ReplayError) -> Error {
    Error::other(error.to_string())
}
