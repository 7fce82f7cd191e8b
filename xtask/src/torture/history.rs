//! What a workload did and saw, over all crashes of one data directory, and what is read back from
//! the restarted broker, held against each other. Pure: text in, violations out.

mod checks;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::{Context, Result, bail};

/// A rule that a reading can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An acknowledged record is not there.
    Lost,
    /// A record is there that nobody tried to send.
    Phantom,
    /// A record's bytes are not those that were sent.
    Damaged,
    /// An offset does not hold the record that it was acknowledged, read or read back with.
    Moved,
    /// The records of one producer do not stand in the order in which they were sent.
    Disordered,
    /// An offset between a log's ends is missing, or a reader was not given it.
    Skipped,
    /// A record of an idempotent producer is there twice.
    Duplicate,
    /// A record was given to a reader before the crash, and is not there after it.
    ReadLost,
    /// An acknowledged commit of a group is undone.
    CommitLost,
    /// An acknowledged topic, or some of its partitions, is not there.
    TopicLost,
    /// A client does not get on: no reply, or an idempotent producer that cannot go on.
    Stuck,
    /// The broker does not start, or starts too slowly, or what it has cannot be read.
    NoRestart,
    /// A planted bug was not found.
    Unfound,
}

impl Rule {
    pub const ALL: [Rule; 13] = [
        Rule::Lost,
        Rule::Phantom,
        Rule::Damaged,
        Rule::Moved,
        Rule::Disordered,
        Rule::Skipped,
        Rule::Duplicate,
        Rule::ReadLost,
        Rule::CommitLost,
        Rule::TopicLost,
        Rule::Stuck,
        Rule::NoRestart,
        Rule::Unfound,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Rule::Lost => "acknowledged and lost",
            Rule::Phantom => "phantom",
            Rule::Damaged => "damaged",
            Rule::Moved => "offset changed",
            Rule::Disordered => "out of order",
            Rule::Skipped => "offset skipped",
            Rule::Duplicate => "duplicate of an idempotent producer",
            Rule::ReadLost => "read and lost",
            Rule::CommitLost => "commit lost",
            Rule::TopicLost => "topic lost",
            Rule::Stuck => "client stuck",
            Rule::NoRestart => "not restarted",
            Rule::Unfound => "planted bug not found",
        }
    }
}

/// One broken rule, and the words that tell where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub about: String,
}

impl Violation {
    pub fn new(rule: Rule, about: impl Into<String>) -> Violation {
        Violation { rule, about: about.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.name(), self.about)
    }
}

/// A log: topic and partition.
type Log = (String, u32);

/// Where a record stands. An offset below 0 is one that the client was not told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub topic: String,
    pub partition: u32,
    pub offset: i64,
}

impl Place {
    fn log(&self) -> Log {
        (self.topic.clone(), self.partition)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

/// One record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Have {
    pub id: String,
    pub hash: String,
    pub place: Place,
}

/// Everything that `verify.py` read back.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub have: Vec<Have>,
    pub topics: BTreeMap<String, u32>,
    /// First offset, and the one behind the last, of each log.
    pub ends: BTreeMap<Log, (i64, i64)>,
    pub groups: BTreeMap<Log, i64>,
    /// Ranges that were answered by an error.
    pub refused: Vec<(Log, i64, i64)>,
}

impl Reading {
    /// From the verifier's output, which must be whole.
    pub fn parse(text: &str) -> Result<Reading> {
        let mut reading = Reading::default();
        let mut whole = false;
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            reading.take(&words, &mut whole).with_context(|| format!("verifier: {line}"))?;
        }
        if !whole {
            bail!("the verifier's output has no end");
        }
        Ok(reading)
    }

    fn take(&mut self, words: &[&str], whole: &mut bool) -> Result<()> {
        match *words {
            ["have", id, hash, topic, partition, offset] => {
                let place = place(topic, partition, offset)?;
                self.have.push(Have { id: id.to_owned(), hash: hash.to_owned(), place });
            }
            ["topic", name, partitions] => {
                self.topics.insert(name.to_owned(), partitions.parse()?);
            }
            ["end", topic, partition, low, high] => {
                let log = (topic.to_owned(), partition.parse()?);
                self.ends.insert(log, (low.parse()?, high.parse()?));
            }
            ["group", topic, partition, offset] => {
                self.groups.insert((topic.to_owned(), partition.parse()?), offset.parse()?);
            }
            ["refused", topic, partition, from, to, _] => {
                let log = (topic.to_owned(), partition.parse()?);
                self.refused.push((log, from.parse()?, to.parse()?));
            }
            ["done"] => *whole = true,
            _ => bail!("not a line of it"),
        }
        Ok(())
    }

    fn is_refused(&self, place: &Place) -> bool {
        self.refused.iter().any(|((topic, partition), from, to)| {
            *topic == place.topic
                && *partition == place.partition
                && (*from..*to).contains(&place.offset)
        })
    }
}

fn place(topic: &str, partition: &str, offset: &str) -> Result<Place> {
    let (partition, offset) = (partition.parse()?, offset.parse()?);
    Ok(Place { topic: topic.to_owned(), partition, offset })
}

/// Who saw the record of an offset first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Witness {
    /// A reader before a crash.
    Reader,
    /// An earlier reading back.
    Verifier,
}

/// Everything that happened to one data directory.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Hash of every record that was handed to a producer.
    tried: HashMap<String, String>,
    acked: HashMap<String, Place>,
    seen: BTreeMap<Place, (String, Witness)>,
    made: BTreeMap<String, u32>,
    committed: BTreeMap<Log, i64>,
    /// The next offset each reader expects.
    expected: HashMap<Log, i64>,
    /// What was wrong already when it was seen.
    found: Vec<Violation>,
    failed: HashMap<String, u64>,
}

/// Whether what a workload saw counts: not what a machine told after its power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Yes,
    No,
}

impl History {
    /// A new workload has begun: its reader starts where it likes.
    pub fn begin_run(&mut self) {
        self.expected.clear();
    }

    /// Takes whole lines of a workload's output, in their order.
    pub fn take(&mut self, text: &str, counted: Counted) -> Result<()> {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            self.take_line(&words, counted).with_context(|| format!("workload: {line}"))?;
        }
        Ok(())
    }

    fn take_line(&mut self, words: &[&str], counted: Counted) -> Result<()> {
        match (words, counted) {
            (["try", id, hash], _) => {
                self.tried.insert((*id).to_owned(), (*hash).to_owned());
            }
            (["ack", id, topic, partition, offset], Counted::Yes) => {
                self.acked.insert((*id).to_owned(), place(topic, partition, offset)?);
            }
            (["read", id, hash, topic, partition, offset], _) => {
                self.take_read(id, hash, place(topic, partition, offset)?, counted);
            }
            (["made", topic, partitions], Counted::Yes) => {
                self.made.insert((*topic).to_owned(), partitions.parse()?);
            }
            (["commit", topic, partition, offset], Counted::Yes) => {
                let log = ((*topic).to_owned(), partition.parse()?);
                let furthest = self.committed.entry(log).or_default();
                *furthest = offset.parse::<i64>()?.max(*furthest);
            }
            (["fail", _, _, name], _) => *self.failed.entry((*name).to_owned()).or_default() += 1,
            (["fatal", producer, name], _) => {
                let about = format!("producer {producer} cannot go on: {name}");
                self.found.push(Violation::new(Rule::Stuck, about));
            }
            (["stuck", count], _) => {
                let about = format!("{count} records without a reply");
                self.found.push(Violation::new(Rule::Stuck, about));
            }
            (["ack" | "made" | "commit", ..], Counted::No) => (),
            _ => bail!("not a line of it"),
        }
        Ok(())
    }

    fn take_read(&mut self, id: &str, hash: &str, place: Place, counted: Counted) {
        if let Some(expected) = self.expected.insert(place.log(), place.offset + 1)
            && expected != place.offset
        {
            let about = format!("a reader at {expected} was given {place}");
            self.found.push(Violation::new(Rule::Skipped, about));
        }
        if counted == Counted::No {
            return;
        }
        self.found.extend(self.check_bytes(id, hash, &place));
        match self.seen.get(&place) {
            Some((before, _)) if before != id => {
                let about = format!("{place} was {before}, a reader was given {id}");
                self.found.push(Violation::new(Rule::Moved, about));
            }
            _ => {
                self.seen.insert(place, (id.to_owned(), Witness::Reader));
            }
        }
    }

    pub fn acked(&self) -> usize {
        self.acked.len()
    }

    /// How often each error was the answer.
    pub fn failed(&self) -> &HashMap<String, u64> {
        &self.failed
    }

    /// Checks a reading of everything. What it saw must be seen again by the next one.
    pub fn check(&mut self, reading: &Reading) -> Vec<Violation> {
        let mut found = std::mem::take(&mut self.found);
        for have in &reading.have {
            found.extend(self.check_bytes(&have.id, &have.hash, &have.place));
        }
        self.check_acked(reading, &mut found);
        self.check_seen(reading, &mut found);
        checks::check_offsets(reading, &mut found);
        checks::check_order(reading, &mut found);
        checks::check_duplicates(reading, &mut found);
        self.check_names(reading, &mut found);
        for have in &reading.have {
            self.seen
                .entry(have.place.clone())
                .or_insert_with(|| (have.id.clone(), Witness::Verifier));
        }
        found
    }

    fn check_bytes(&self, id: &str, hash: &str, place: &Place) -> Option<Violation> {
        match self.tried.get(id) {
            None => Some(Violation::new(Rule::Phantom, format!("{id} at {place}"))),
            Some(sent) if sent != hash => {
                Some(Violation::new(Rule::Damaged, format!("{id} at {place}")))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
