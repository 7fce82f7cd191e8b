//! Judges a history: which promises it breaks. One pass gathers, then each rule scans. Knows only
//! what the clients saw, and what somebody who looked from inside wrote down, never the broker.

mod groups;
mod kept;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Change, ClientId, Down, Event, Keeping, Place, Promise, Value};

/// Lines of a verdict at most; more say nothing new.
const LINES_MAX: usize = 100;

/// A place in the history.
type At = usize;

/// What is known of one record at one place.
#[derive(Debug)]
struct Sent {
    promise: Promise,
    attempts: u32,
    /// When it was sent last.
    tried: At,
    refused: u32,
    time_ms: i64,
    bytes: u32,
    /// The highest offset acknowledged there before the first attempt: this one comes behind it.
    floor: i64,
    acked: Option<i64>,
    /// When it was there for certain, if it is acknowledged.
    acked_at: At,
}

/// One record that a reader got.
#[derive(Clone, Copy, Debug)]
struct Got {
    reader: ClientId,
    place: Place,
    offset: i64,
    value: Option<Value>,
    /// The record had been sent by then.
    known: bool,
    /// When it was there for certain: what a dead broker had sent was there when it died.
    at: At,
}

/// Somebody looked at a log from inside.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: At,
    start: i64,
    end: i64,
    synced: bool,
}

/// The history in the order of its records instead of its time.
#[derive(Debug, Default)]
struct Gathered {
    sent: BTreeMap<(Place, Value), Sent>,
    got: Vec<Got>,
    /// Which names a place's topic had; and names that somebody tried to delete.
    names: BTreeMap<[u8; 16], String>,
    deleted: BTreeSet<String>,
    /// How topics are kept that are not kept as usual.
    kept: BTreeMap<[u8; 16], Keeping>,
    /// The highest end that anybody was told of a log that loses nothing.
    ends: BTreeMap<Place, i64>,
    looks: BTreeMap<Place, Vec<Look>>,
    /// When the power was cut, or a device lost what it could not sync.
    cuts: Vec<At>,
    /// When each life of the broker ended, the first life first.
    downs: Vec<At>,
    /// When the keeper's clock stood how high, rising.
    clocks: Vec<(At, i64)>,
    /// The readings of everything: what each found.
    readings: Vec<Reading>,
    /// What single events already show to be wrong.
    broken: Vec<String>,
}

/// One reading of everything there is.
#[derive(Debug, Default)]
struct Reading {
    reader: ClientId,
    /// When it was over.
    at: At,
    found: BTreeMap<Place, BTreeMap<i64, Option<Value>>>,
    /// Where it began to read each log and when it was told that, and where the log ended.
    starts: BTreeMap<Place, (i64, At)>,
    ends: BTreeMap<Place, i64>,
}

impl Reading {
    fn start(&self, place: Place) -> i64 {
        self.starts.get(&place).map_or(0, |start| start.0)
    }
}

impl Gathered {
    /// True where the records of a place need not be there: somebody tried to delete its topic.
    fn may_be_gone(&self, place: Place) -> bool {
        self.names.get(&place.topic).is_some_and(|name| self.deleted.contains(name))
    }

    fn keeping(&self, place: Place) -> Keeping {
        self.kept.get(&place.topic).copied().unwrap_or_default()
    }

    /// The end of what was known to be synced of a log before `at`.
    fn synced(&self, place: Place, at: At) -> i64 {
        let looks = self.looks.get(&place).into_iter().flatten();
        let synced = looks.filter(|look| look.synced && look.at < at).map(|look| look.end);
        synced.max().unwrap_or(0)
    }

    /// The power cut that may have taken a record back that was there at `since`.
    fn loss(&self, place: Place, offset: i64, since: At) -> Option<At> {
        if !self.keeping(place).relaxed {
            return None;
        }
        let mut cuts = self.cuts.iter().copied().filter(|cut| *cut > since);
        cuts.find(|cut| self.synced(place, *cut) <= offset)
    }

    /// True if a record that was there at `since` need not be there any more at `at`.
    fn may_be_lost(&self, place: Place, offset: i64, since: At, at: At) -> bool {
        self.loss(place, offset, since).is_some_and(|cut| cut < at)
    }

    /// When something was there for certain that a client was told at `at` by the broker in that
    /// life: answers outlive who gave them.
    fn told(&self, at: At, life: u64) -> At {
        let nth = usize::try_from(life).ok().and_then(|life| life.checked_sub(1));
        let down = nth.and_then(|nth| self.downs.get(nth)).copied();
        down.map_or(at, |down| at.min(down.saturating_sub(1)))
    }
}

/// The broken promises of a history, in words.
pub fn check(events: &[Event]) -> Vec<String> {
    let mut all = gather(events);
    let mut broken = std::mem::take(&mut all.broken);
    broken.extend(rules::topics(events));
    broken.extend(groups::groups(events));
    for rule in rules::RECORDS.iter().chain(kept::RULES) {
        broken.extend(rule(&all));
    }
    broken.truncate(LINES_MAX);
    broken
}

/// What is only needed while the history goes by.
#[derive(Default)]
struct Passing {
    /// The highest offset acknowledged.
    acked_to: BTreeMap<Place, i64>,
    next: BTreeMap<(ClientId, Place), i64>,
    /// Where a reader began last.
    begun: BTreeMap<(ClientId, Place), (i64, At)>,
    /// Where a reader was told that nothing is there.
    missed: BTreeMap<(ClientId, Place), i64>,
    drained: BTreeMap<ClientId, BTreeMap<Place, i64>>,
    ids: BTreeSet<i64>,
}

fn gather(events: &[Event]) -> Gathered {
    let mut all = Gathered::default();
    // Known before anything else: to which time and which kind of topic the rest belongs.
    let mut lives = 0;
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Up => lives += 1,
            // It may also die on its way up.
            Event::Down { .. } if all.downs.len() < lives => all.downs.push(at),
            Event::Kept { topic, how } => {
                all.kept.insert(*topic, *how);
            }
            _ => {}
        }
    }
    let mut passing = Passing::default();
    for (at, event) in events.iter().enumerate() {
        passing.take(&mut all, at, event);
    }
    all.fill_readings();
    all
}

impl Passing {
    fn take(&mut self, all: &mut Gathered, at: At, event: &Event) {
        match event {
            Event::Attempt { .. } | Event::Ack { .. } | Event::Refused { .. } => {
                self.produced(all, at, event);
            }
            Event::Seek { .. } | Event::Deliver { .. } | Event::OutOfRange { .. } => {
                self.consumed(all, at, event);
            }
            Event::Down { how: Down::PowerLost | Down::PowerTorn | Down::Failed } => {
                all.cuts.push(at);
                self.forget_unsynced(all, at);
            }
            Event::Drained { reader, place, end } => {
                self.drained.entry(*reader).or_default().insert(*place, *end);
            }
            Event::Read { reader } => {
                let ends = self.drained.remove(reader).unwrap_or_default();
                let of = |place: &Place| Some((*place, *self.begun.get(&(*reader, *place))?));
                let starts = ends.keys().filter_map(of).collect();
                let (reader, found) = (*reader, BTreeMap::new());
                all.readings.push(Reading { reader, at, found, starts, ends });
            }
            Event::ProducerId { id } => {
                if !self.ids.insert(*id) {
                    all.broken.push(format!("producer id {id} was given out twice"));
                }
            }
            _ => all.note(at, event),
        }
    }

    fn produced(&mut self, all: &mut Gathered, at: At, event: &Event) {
        match event {
            Event::Attempt { place, value, promise, time_ms, bytes } => {
                let floor = self.acked_to.get(place).copied().unwrap_or(-1);
                let sent = all.sent.entry((*place, *value)).or_insert(Sent {
                    promise: *promise,
                    attempts: 0,
                    tried: at,
                    refused: 0,
                    time_ms: *time_ms,
                    bytes: *bytes,
                    floor,
                    acked: None,
                    acked_at: at,
                });
                sent.attempts += 1;
                sent.tried = at;
            }
            Event::Ack { place, value, offset, life } => {
                let told = all.told(at, *life);
                if !all.may_be_lost(*place, *offset, told, at) {
                    let to = self.acked_to.entry(*place).or_insert(-1);
                    *to = (*to).max(*offset);
                }
                match all.sent.get_mut(&(*place, *value)) {
                    Some(sent) => (sent.acked, sent.acked_at) = (Some(*offset), told),
                    None => all.broken.push(format!("{value:?} acknowledged, never sent")),
                }
            }
            Event::Refused { place, value } => {
                if let Some(sent) = all.sent.get_mut(&(*place, *value)) {
                    sent.refused += 1;
                }
            }
            _ => {}
        }
    }

    fn consumed(&mut self, all: &mut Gathered, at: At, event: &Event) {
        match event {
            Event::Seek { reader, place, offset } => {
                self.next.insert((*reader, *place), *offset);
                self.begun.insert((*reader, *place), (*offset, at));
                let missed = self.missed.remove(&(*reader, *place));
                if missed.is_some_and(|missed| *offset <= missed) && all.cuts.is_empty() {
                    all.broken.push(format!(
                        "C17 reader {reader} was told that {place:?} has no offset {missed:?}, and \
                         then that it begins at {offset}"
                    ));
                }
            }
            Event::Deliver { reader, place, offset, value, life } => {
                let expected = self.next.insert((*reader, *place), offset + 1);
                if expected != Some(*offset) {
                    all.broken.push(format!(
                        "C6 skip or step back: reader {reader} got {place:?} offset {offset}, \
                         {expected:?} is the next"
                    ));
                }
                let known = value.is_some_and(|value| all.sent.contains_key(&(*place, value)));
                let (reader, place, offset, value) = (*reader, *place, *offset, *value);
                let at = all.told(at, *life);
                all.got.push(Got { reader, place, offset, value, known, at });
            }
            Event::OutOfRange { reader, place, offset } => {
                self.missed.insert((*reader, *place), *offset);
                let how = all.keeping(*place);
                let retained = how.retention_ms.is_some() || how.retention_bytes.is_some();
                let shortened = how.relaxed && !all.cuts.is_empty();
                if !retained && !shortened {
                    all.broken
                        .push(format!("reader {reader}: {place:?} is said to have no {offset}"));
                }
            }
            _ => {}
        }
    }

    /// After a power cut offsets of relaxed logs may be given out again.
    fn forget_unsynced(&mut self, all: &mut Gathered, at: At) {
        let relaxed: Vec<Place> =
            self.acked_to.keys().copied().filter(|place| all.keeping(*place).relaxed).collect();
        for place in relaxed {
            let most = all.synced(place, at) - 1;
            self.acked_to.entry(place).and_modify(|to| *to = (*to).min(most));
            for (_, sent) in all.sent.iter_mut().filter(|((of, _), _)| *of == place) {
                sent.floor = sent.floor.min(most);
            }
        }
    }
}

impl Gathered {
    fn note(&mut self, at: At, event: &Event) {
        match event {
            Event::TopicTried { name, change: Change::Gone } => {
                self.deleted.insert(name.clone());
            }
            Event::TopicDone { name, topic, .. }
            | Event::TopicSeen { name, topic: Some(topic), .. } => {
                self.names.insert(*topic, name.clone());
            }
            Event::Bounds { place, start, end } => self.bounds(*place, *start, *end),
            Event::Looked { place, start, end, synced } => {
                self.bounds(*place, *start, *end);
                let (start, end, synced) = (*start, *end, *synced);
                self.looks.entry(*place).or_default().push(Look { at, start, end, synced });
            }
            Event::Clock { wall_ms } => self.clocks.push((at, *wall_ms)),
            Event::Wrong { client, what } => self.broken.push(format!("client {client}: {what}")),
            _ => {}
        }
    }

    fn bounds(&mut self, place: Place, start: i64, end: i64) {
        if start > end {
            self.broken.push(format!("{place:?} begins at {start} and ends at {end}"));
        }
        if !self.keeping(place).relaxed {
            let known = self.ends.entry(place).or_insert(0);
            *known = (*known).max(end);
        }
    }

    fn fill_readings(&mut self) {
        for reading in &mut self.readings {
            for got in self.got.iter().filter(|got| got.reader == reading.reader) {
                reading.found.entry(got.place).or_default().insert(got.offset, got.value);
            }
        }
    }
}
