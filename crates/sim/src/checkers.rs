//! Judges a history: which promises it breaks. One pass gathers, then each rule scans. Knows only
//! what the clients saw, never the broker.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Change, ClientId, Event, Place, Promise, Value};

/// Lines of a verdict at most; more say nothing new.
const LINES_MAX: usize = 100;

/// What is known of one record at one place.
#[derive(Debug)]
struct Sent {
    promise: Promise,
    attempts: u32,
    refused: u32,
    /// The highest offset acknowledged there before the first attempt: this one comes behind it.
    floor: i64,
    acked: Option<i64>,
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
}

/// The history in the order of its records instead of its time.
#[derive(Debug, Default)]
struct Gathered {
    sent: BTreeMap<(Place, Value), Sent>,
    got: Vec<Got>,
    /// Which names a place's topic had; and names that somebody tried to delete.
    names: BTreeMap<[u8; 16], String>,
    deleted: BTreeSet<String>,
    /// The highest end that anybody was told.
    ends: BTreeMap<Place, i64>,
    /// The readings of everything: what each found.
    readings: Vec<Reading>,
    /// What single events already show to be wrong.
    broken: Vec<String>,
}

/// One reading of everything there is.
#[derive(Debug, Default)]
struct Reading {
    reader: ClientId,
    found: BTreeMap<Place, BTreeMap<i64, Option<Value>>>,
    ends: BTreeMap<Place, i64>,
}

impl Gathered {
    /// True where the records of a place need not be there: somebody tried to delete its topic.
    fn may_be_gone(&self, place: Place) -> bool {
        self.names.get(&place.topic).is_some_and(|name| self.deleted.contains(name))
    }
}

/// The broken promises of a history, in words.
pub fn check(events: &[Event]) -> Vec<String> {
    let mut all = gather(events);
    let mut broken = std::mem::take(&mut all.broken);
    broken.extend(rules::topics(events));
    for rule in rules::RECORDS {
        broken.extend(rule(&all));
    }
    broken.truncate(LINES_MAX);
    broken
}

fn gather(events: &[Event]) -> Gathered {
    let mut all = Gathered::default();
    let mut acked_to: BTreeMap<Place, i64> = BTreeMap::new();
    let mut next: BTreeMap<(ClientId, Place), i64> = BTreeMap::new();
    let mut drained: BTreeMap<ClientId, BTreeMap<Place, i64>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for event in events {
        match event {
            Event::Attempt { place, value, promise } => {
                let floor = acked_to.get(place).copied().unwrap_or(-1);
                let fresh = Sent { promise: *promise, attempts: 0, refused: 0, floor, acked: None };
                all.sent.entry((*place, *value)).or_insert(fresh).attempts += 1;
            }
            Event::Ack { place, value, offset } => {
                let to = acked_to.entry(*place).or_insert(-1);
                *to = (*to).max(*offset);
                match all.sent.get_mut(&(*place, *value)) {
                    Some(sent) => sent.acked = Some(*offset),
                    None => all.broken.push(format!("{value:?} acknowledged, never sent")),
                }
            }
            Event::Refused { place, value } => {
                if let Some(sent) = all.sent.get_mut(&(*place, *value)) {
                    sent.refused += 1;
                }
            }
            Event::Seek { reader, place, offset } => {
                next.insert((*reader, *place), *offset);
            }
            Event::Deliver { reader, place, offset, value } => {
                let expected = next.insert((*reader, *place), offset + 1);
                if expected != Some(*offset) {
                    all.broken.push(format!(
                        "C6 skip or step back: reader {reader} got {place:?} offset {offset}, \
                         {expected:?} is the next"
                    ));
                }
                let known = value.is_some_and(|value| all.sent.contains_key(&(*place, value)));
                let got =
                    Got { reader: *reader, place: *place, offset: *offset, value: *value, known };
                all.got.push(got);
            }
            Event::Bounds { place, start, end } => {
                if start > end {
                    all.broken.push(format!("{place:?} begins at {start} and ends at {end}"));
                }
                let known = all.ends.entry(*place).or_insert(0);
                *known = (*known).max(*end);
            }
            Event::Drained { reader, place, end } => {
                drained.entry(*reader).or_default().insert(*place, *end);
            }
            Event::Read { reader } => {
                let ends = drained.remove(reader).unwrap_or_default();
                let reading = Reading { reader: *reader, ends, ..Reading::default() };
                all.readings.push(reading);
            }
            Event::ProducerId { id } => {
                if !ids.insert(*id) {
                    all.broken.push(format!("producer id {id} was given out twice"));
                }
            }
            _ => all.note(event),
        }
    }
    all.fill_readings();
    all
}

impl Gathered {
    fn note(&mut self, event: &Event) {
        match event {
            Event::TopicTried { name, change: Change::Gone } => {
                self.deleted.insert(name.clone());
            }
            Event::TopicDone { name, topic, .. }
            | Event::TopicSeen { name, topic: Some(topic), .. } => {
                self.names.insert(*topic, name.clone());
            }
            Event::OutOfRange { reader, place, offset } => self
                .broken
                .push(format!("reader {reader} was told that {place:?} has no offset {offset}")),
            Event::Wrong { client, what } => self.broken.push(format!("client {client}: {what}")),
            _ => {}
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
