//! The rules themselves, each over one whole reading.

use std::collections::{HashMap, HashSet};

use super::{Have, History, Log, Place, Reading, Rule, Violation, Witness};

impl History {
    pub(super) fn check_acked(&self, reading: &Reading, found: &mut Vec<Violation>) {
        let mut places: HashMap<&str, Vec<&Place>> = HashMap::new();
        for have in &reading.have {
            places.entry(&have.id).or_default().push(&have.place);
        }
        for (id, place) in &self.acked {
            match places.get(id.as_str()) {
                _ if reading.is_refused(place) => (),
                None => found.push(Violation::new(Rule::Lost, format!("{id} at {place}"))),
                Some(there) if place.offset >= 0 && !there.contains(&place) => {
                    let about = format!("{id} was acknowledged at {place}, is at {}", there[0]);
                    found.push(Violation::new(Rule::Moved, about));
                }
                Some(_) => (),
            }
        }
    }

    pub(super) fn check_seen(&self, reading: &Reading, found: &mut Vec<Violation>) {
        let now: HashMap<&Place, &str> =
            reading.have.iter().map(|have| (&have.place, have.id.as_str())).collect();
        for (place, (id, witness)) in &self.seen {
            match now.get(place) {
                Some(there) if there == id => (),
                Some(there) => {
                    let about = format!("{place} was {id}, is {there}");
                    found.push(Violation::new(Rule::Moved, about));
                }
                None if reading.is_refused(place) => (),
                None => {
                    let by = match witness {
                        Witness::Reader => "a reader",
                        Witness::Verifier => "an earlier reading",
                    };
                    let about = format!("{id} at {place}, given to {by}");
                    found.push(Violation::new(Rule::ReadLost, about));
                }
            }
        }
    }

    pub(super) fn check_names(&self, reading: &Reading, found: &mut Vec<Violation>) {
        for (topic, partitions) in &self.made {
            if reading.topics.get(topic) != Some(partitions) {
                let about = format!(
                    "{topic} with {partitions} partitions, has {:?}",
                    reading.topics.get(topic)
                );
                found.push(Violation::new(Rule::TopicLost, about));
            }
        }
        for (log, offset) in &self.committed {
            let now = reading.groups.get(log);
            if now.is_none_or(|now| now < offset) {
                let about = format!("{}-{} committed {offset}, has {now:?}", log.0, log.1);
                found.push(Violation::new(Rule::CommitLost, about));
            }
        }
    }
}

/// Every offset between the ends of a log is there, once, and nothing else.
pub(super) fn check_offsets(reading: &Reading, found: &mut Vec<Violation>) {
    let mut there: HashMap<Log, Vec<i64>> = HashMap::new();
    for have in &reading.have {
        there.entry(have.place.log()).or_default().push(have.place.offset);
    }
    for (log, (low, high)) in &reading.ends {
        let offsets = there.remove(log).unwrap_or_default();
        let refused = |offset: &i64| {
            let (topic, partition) = log.clone();
            reading.is_refused(&Place { topic, partition, offset: *offset })
        };
        let mut expected = (0..*high).filter(|offset| !refused(offset));
        let mut given = offsets.into_iter().filter(|offset| offset < high);
        let broken = loop {
            match (expected.next(), given.next()) {
                (None, None) => break None,
                (Some(expected), Some(given)) if expected == given => (),
                pair => break Some(pair),
            }
        };
        if let Some((expected, given)) = broken {
            let about = format!(
                "{}-{} from {low} to {high}: expected {expected:?}, was given {given:?}",
                log.0, log.1
            );
            found.push(Violation::new(Rule::Skipped, about));
        }
    }
    for log in there.keys() {
        let about = format!("{}-{} has records and no ends", log.0, log.1);
        found.push(Violation::new(Rule::Skipped, about));
    }
}

/// Producer (with its run) and sequence number of an id.
fn parse_id(id: &str) -> Option<(&str, u64)> {
    let (producer, sequence) = id.rsplit_once('/')?;
    Some((producer, sequence.parse().ok()?))
}

/// First copies stand in the order of sending, per log and producer.
pub(super) fn check_order(reading: &Reading, found: &mut Vec<Violation>) {
    let mut sorted: Vec<&Have> = reading.have.iter().collect();
    sorted.sort_by(|one, two| one.place.cmp(&two.place));
    let mut seen = HashSet::new();
    let mut last: HashMap<(&str, u32, &str), (u64, &Place)> = HashMap::new();
    for have in sorted {
        let Some((producer, sequence)) = parse_id(&have.id) else { continue };
        if !seen.insert(&have.id) {
            continue;
        }
        let key = (have.place.topic.as_str(), have.place.partition, producer);
        if let Some((before, place)) = last.insert(key, (sequence, &have.place))
            && before > sequence
        {
            let about = format!("{producer}: {before} at {place}, {sequence} at {}", have.place);
            found.push(Violation::new(Rule::Disordered, about));
        }
    }
}

pub(super) fn check_duplicates(reading: &Reading, found: &mut Vec<Violation>) {
    let mut first: HashMap<&str, &Place> = HashMap::new();
    for have in &reading.have {
        let idempotent = have.id.split('/').nth(1).is_some_and(|name| name.starts_with('i'));
        if let Some(before) = first.insert(&have.id, &have.place)
            && idempotent
        {
            let about = format!("{} at {before} and {}", have.id, have.place);
            found.push(Violation::new(Rule::Duplicate, about));
        }
    }
}
