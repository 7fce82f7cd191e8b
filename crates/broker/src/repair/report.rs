//! A repair in plain words.

use std::fmt;

use sabir_storage::checkpoint::CheckpointRow;
use sabir_storage::repair::rows::{Found, Origin};
use sabir_storage::wal::salvage::{Gap, Rest};

use super::{Lost, Repair};
use crate::inspect::Damage;

/// Which rows are gone by, and what that costs.
pub(super) fn rows(found: &Found, row: Option<CheckpointRow>, rest: &Rest, plan: &mut Repair) {
    let gone_by = match &found.origin {
        Origin::Current => return,
        Origin::Behind => format!("the rows of checkpoint {}", found.checkpoint),
        Origin::Export { path, taken_ms } => format!("{path}, taken at {}", time(*taken_ms)),
        Origin::Nothing => "the files of records alone: there is no whole export".to_owned(),
    };
    plan.actions.push(format!(
        "make state.redb and state.mark anew from {gone_by}, the write-ahead log, and what the \
         files of records say of themselves"
    ));
    for (path, why) in &found.refused {
        plan.doubts.push(format!("{path} cannot be used: {why}"));
    }
    let first = rest.first.unwrap_or(u64::MAX);
    let from = row.map_or(1, |row| row.replay_from.frame);
    if first > from {
        let upto = match rest.first {
            Some(first) => format!("frame {first} of the write-ahead log"),
            None => "the end".to_owned(),
        };
        plan.doubts.push(format!(
            "what happened from frame {from} to {upto} is known from records alone. Topics made or \
             changed then have lost name and settings, deleted ones may be back; groups go on from \
             offsets committed before it, so that some records are delivered again"
        ));
    }
}

/// Frames that are lost.
pub(super) fn frames(rest: &Rest, plan: &mut Repair) {
    for Gap { frames, path, bytes, shards } in &rest.gaps {
        let (first, last) = (frames.start, frames.end - 1);
        let which = if first == last {
            format!("frame {first}")
        } else {
            format!("frames {first} to {last}")
        };
        let part = match shards.as_slice() {
            [] => String::new(),
            shards => format!(", of it what belongs to shard {}", list(shards)),
        };
        let rest = if rest.follows(frames.end) {
            "What of it is whole is kept, and records that are not are named above as far as \
             anything tells of them; not so those that were the last of their partition. Lost with \
             it are topics made, changed or deleted in it, and members and offsets of groups"
        } else {
            "Whatever was in it is lost; nothing follows that would tell which records it had, and \
             their offsets may be given out again"
        };
        let (from, to) = (bytes.start, bytes.end);
        plan.doubts.push(format!(
            "{which} of the write-ahead log ({path}, bytes {from}..{to}{part}). {rest}"
        ));
    }
}

fn list(numbers: &[u16]) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// Topics whose names nobody knows.
pub(super) fn named(names: &[String], plan: &mut Repair) {
    if !names.is_empty() {
        plan.actions.push(format!(
            "keep records whose topic is not known as topics of one partition: {}",
            names.join(", ")
        ));
    }
}

/// A time as `2026-11-21T190405Z`: for people, and fit for a file's name.
pub(super) fn time(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years begin in
/// March here, so that the leap day is their last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { topic, partition, offsets, after_ms, before_ms } = self;
        let count = offsets.end - offsets.start;
        let (from, to) = (offsets.start, offsets.end - 1);
        write!(f, "topic {topic}, partition {partition}: offsets {from} to {to} ({count})")?;
        match (after_ms, before_ms) {
            (None, None) => Ok(()),
            (Some(after), None) => write!(f, ", written after {}", time(*after)),
            (None, Some(before)) => write!(f, ", written before {}", time(*before)),
            (Some(a), Some(b)) => write!(f, ", written between {} and {}", time(*a), time(*b)),
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.quarantine.is_some();
        if self.is_healthy() {
            return writeln!(f, "nothing is damaged, and nothing has to be repaired");
        }
        writeln!(f, "damaged:")?;
        for Damage { path, range, what, .. } in &self.damages {
            writeln!(f, "  {path}, bytes {}..{}: {what}", range.start, range.end)?;
        }
        if self.damages.is_empty() {
            writeln!(f, "  nothing")?;
        }
        if let Some(why) = &self.refused {
            return writeln!(f, "\ncannot be repaired: {why}");
        }
        writeln!(f, "\n{}:", if done { "lost" } else { "would be lost, and is lost already" })?;
        for lost in &self.lost {
            writeln!(f, "  {lost}")?;
        }
        if self.lost.is_empty() {
            writeln!(f, "  no record")?;
        }
        for doubt in &self.doubts {
            writeln!(f, "  {doubt}")?;
        }
        writeln!(f, "\n{}:", if done { "done" } else { "would be done" })?;
        for action in &self.actions {
            writeln!(f, "  {action}")?;
        }
        match (&self.quarantine, self.moved.as_slice()) {
            (_, []) => Ok(()),
            (Some(dir), moved) => writeln!(f, "  move to {dir}: {}", moved.join(", ")),
            (None, moved) => writeln!(f, "  move to the quarantine: {}", moved.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_those_of_the_calendar() {
        let check = |ms: i64, want: &str| assert_eq!(super::time(ms), want);
        check(0, "1970-01-01T000000Z");
        check(951_782_400_000, "2000-02-29T000000Z");
        check(1_700_000_000_000, "2023-11-14T221320Z");
        check(4_107_542_400_000, "2100-03-01T000000Z");
        check(-1, "1969-12-31T235959Z");
    }
}
