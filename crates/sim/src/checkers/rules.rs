//! The rules, one function each; what they are called is in their reports.

use std::collections::BTreeMap;

use super::Gathered;
use crate::model::{Change, Event, Place, Promise, Value};

pub type Rule = fn(&Gathered) -> Vec<String>;

/// Rules about records.
pub const RECORDS: &[Rule] =
    &[no_lost_ack, no_phantom, refused_stays_unseen, offset_identity, order, duplicates, durable];

/// C1: what was acknowledged is found by each reading of everything, where it was said to be.
fn no_lost_ack(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    for ((place, value), sent) in &all.sent {
        let Some(offset) = sent.acked.filter(|_| !all.may_be_gone(*place)) else { continue };
        for reading in &all.readings {
            let found = reading.found.get(place).and_then(|found| found.get(&offset));
            if offset < reading.start(*place)
                || all.may_be_lost(*place, offset, sent.acked_at, reading.at)
            {
                continue;
            }
            if found != Some(&Some(*value)) {
                broken.push(format!(
                    "C1 lost: {value:?} was acknowledged at {place:?} offset {offset}, reading \
                     {} found {found:?}",
                    reading.reader
                ));
            }
        }
    }
    broken
}

/// C2: what is delivered was sent before, there, and is whole.
fn no_phantom(all: &Gathered) -> Vec<String> {
    let wrong = all.got.iter().filter(|got| !got.known);
    wrong
        .map(|got| {
            let what = if got.value.is_some() { "phantom" } else { "damage" };
            format!("C2 {what}: {got:?}")
        })
        .collect()
}

/// C3: what was refused for good is never delivered.
fn refused_stays_unseen(all: &Gathered) -> Vec<String> {
    let refused = |place: Place, value: Value| {
        all.sent.get(&(place, value)).is_some_and(|sent| sent.refused == sent.attempts)
    };
    let seen = all.got.iter().filter(|got| got.value.is_some_and(|v| refused(got.place, v)));
    seen.map(|got| format!("C3 refused and delivered: {got:?}")).collect()
}

/// C4: one value per place and offset, for ever. Logs that a power cut may shorten have a rule of
/// their own.
fn offset_identity(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    let mut values: BTreeMap<(Place, i64), Value> = BTreeMap::new();
    let acked = all
        .sent
        .iter()
        .filter_map(|((place, value), sent)| sent.acked.map(|offset| ((*place, offset), *value)));
    let got = all.got.iter().filter_map(|got| got.value.map(|v| ((got.place, got.offset), v)));
    for (at, value) in acked.chain(got).filter(|known| !all.keeping(known.0.0).relaxed) {
        let first = *values.entry(at).or_insert(value);
        if first != value {
            broken.push(format!("C4 two values at {at:?}: {first:?} and {value:?}"));
        }
    }
    broken
}

/// C5: an offset lies behind everything acknowledged before the record was first sent; and records
/// of an idempotent producer lie in its order.
fn order(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    for ((place, value), sent) in &all.sent {
        if sent.acked.is_some_and(|offset| offset <= sent.floor) {
            let (offset, floor) = (sent.acked, sent.floor);
            broken.push(format!("C5 {value:?} at {place:?} {offset:?}, sent after {floor} was"));
        }
    }
    for reading in &all.readings {
        for (place, found) in &reading.found {
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            for (offset, value) in found {
                let Some(value) = value else { continue };
                let Some(sent) = all.sent.get(&(*place, *value)) else { continue };
                if *offset <= sent.floor {
                    broken.push(format!("C5 {value:?} delivered before its time at {offset}"));
                }
                if sent.promise == Promise::Idempotent {
                    let before = last.insert(value.client, value.number);
                    if before.is_some_and(|before| before > value.number) {
                        broken.push(format!(
                            "C5 {value:?} at {place:?} {offset} comes behind {before:?}"
                        ));
                    }
                }
            }
        }
    }
    broken
}

/// C7: a record of an idempotent producer is there at most once, any other at most as often as it
/// was sent.
fn duplicates(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    for reading in &all.readings {
        for (place, found) in &reading.found {
            let mut copies: BTreeMap<Value, u32> = BTreeMap::new();
            for value in found.values().flatten() {
                *copies.entry(*value).or_default() += 1;
            }
            for (value, copies) in copies {
                let Some(sent) = all.sent.get(&(*place, value)) else { continue };
                let most = match sent.promise {
                    Promise::Idempotent => 1,
                    Promise::AtLeastOnce => sent.attempts - sent.refused,
                };
                if copies > most {
                    broken.push(format!("C7 {copies} of {value:?} at {place:?}, sent {most}"));
                }
            }
        }
    }
    broken
}

/// C8: what was delivered, or said to be there, is there in the end.
fn durable(all: &Gathered) -> Vec<String> {
    let mut broken = Vec::new();
    for reading in &all.readings {
        for got in all.got.iter().filter(|got| !all.may_be_gone(got.place)) {
            let found = reading.found.get(&got.place).and_then(|found| found.get(&got.offset));
            if got.offset < reading.start(got.place)
                || all.may_be_lost(got.place, got.offset, got.at, reading.at)
            {
                continue;
            }
            if found.is_none() {
                broken.push(format!("C8 read and gone: {got:?}"));
            }
        }
        for (place, end) in all.ends.iter().filter(|(place, _)| !all.may_be_gone(**place)) {
            let last = reading.ends.get(place).copied().unwrap_or(0);
            if last < *end {
                broken.push(format!("C8 {place:?} ended at {end}, in the end at {last}"));
            }
        }
        let relaxed = all.looks.iter().filter(|(place, _)| all.keeping(**place).relaxed);
        for (place, looks) in relaxed {
            let last = reading.ends.get(place).copied().unwrap_or(0);
            let stays = |look: &&super::Look| {
                look.at < reading.at
                    && look.end > last
                    && !all.may_be_lost(*place, look.end - 1, look.at, reading.at)
            };
            if let Some(look) = looks.iter().find(stays) {
                let end = look.end;
                broken.push(format!("C8 {place:?} ended at {end}, synced, in the end at {last}"));
            }
        }
    }
    broken
}

/// What is known of a topic's name while its events go by.
#[derive(Debug, Default)]
struct Name {
    /// The life that is known to be there, and since which event.
    there: Option<([u8; 16], usize)>,
    /// Lives that are known to be over, and since which event.
    over: Vec<([u8; 16], usize)>,
    /// When somebody last tried to make or delete it.
    made_tried: Option<usize>,
    gone_tried: Option<usize>,
}

/// C16: a topic that is known to be there stays until somebody tries to delete it, and one that is
/// known to be gone does not come back.
pub fn topics(events: &[Event]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut names: BTreeMap<&str, Name> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::TopicTried { name, change } => {
                let known = names.entry(name).or_default();
                match change {
                    Change::Made => known.made_tried = Some(at),
                    Change::Gone => known.gone_tried = Some(at),
                }
            }
            Event::TopicDone { name, topic, change } => {
                let known = names.entry(name).or_default();
                match change {
                    Change::Made => known.there = Some((*topic, at)),
                    Change::Gone => {
                        known.over.push((*topic, at));
                        known.there = known.there.filter(|there| there.0 != *topic);
                    }
                }
            }
            Event::TopicSeen { name, topic, asked } => {
                let known = names.entry(name).or_default();
                broken.extend(known.seen(name, *topic, *asked).map(|what| format!("C16 {what}")));
                if let Some(topic) = topic
                    && known.there.is_none_or(|there| there.0 != *topic)
                {
                    known.there = Some((*topic, at));
                }
            }
            _ => {}
        }
    }
    broken
}

impl Name {
    /// What an answer to a question of that time contradicts.
    fn seen(&self, name: &str, topic: Option<[u8; 16]>, asked: usize) -> Option<String> {
        let over = self.over.iter().find(|over| Some(over.0) == topic && over.1 < asked);
        if over.is_some() {
            return Some(format!("{name}: its deletion was kept, and it is back"));
        }
        if topic.is_some() && self.made_tried.is_none() {
            return Some(format!("{name} is there, and nobody made it"));
        }
        let (there, _) = self.there.filter(|there| there.1 < asked)?;
        if topic == Some(there) || self.gone_tried.is_some() {
            return None;
        }
        let now = if topic.is_some() { "another one" } else { "none" };
        Some(format!("{name} was there, nobody deleted it, and now there is {now}"))
    }
}
