//! Bits that flip on a disk at rest: whatever file they hit, the broker names the damage, at its
//! start or to whoever reads there, or it has no effect. Nothing wrong is served, and nothing that
//! is whole is missing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use sabir_broker::Settings;
use sabir_broker::batch::split;
use sabir_broker::clock::Now;
use sabir_broker::fetch::Found;
use sabir_broker::random::Seeded;
use sabir_broker::topic::Partition;
use sabir_broker::wake::Waker;
use sabir_storage::disk::sim::{Cut, SimDisk};

use crate::chance::Chance;
use crate::life::Life;
use crate::seed;
use crate::workload::member::GROUP;
use crate::world::World;

/// What an enumeration of flips came to.
#[derive(Clone, Debug, Default)]
pub struct Flips {
    pub tried: u64,
    /// The broker did not start and said why.
    pub refused: u64,
    /// It started and refused to read some records.
    pub named: u64,
    /// Nothing was different.
    pub without_effect: u64,
    /// What it should not have done, with the flip that led to it.
    pub broken: Vec<String>,
}

/// A batch of a log: its first offset and its bytes.
type Batch = (i64, Bytes);

/// Everything that a broker tells of what it keeps.
#[derive(Debug, Default, PartialEq)]
struct Content {
    logs: Vec<Log>,
    committed: String,
}

#[derive(Debug, PartialEq)]
struct Log {
    name: String,
    start: i64,
    end: i64,
    batches: Vec<Batch>,
}

/// Plays a seed to its end, stops the broker in order, and then opens what is on its disk again
/// and again, each time with another bit flipped.
pub fn flips(seed: u64, count: u64) -> Flips {
    let mut world = World::new(seed);
    (0..world.plan.steps).for_each(|_| world.step());
    world.heal();
    let stuck = seed::finish(&mut world);
    assert!(stuck.is_empty(), "seed {seed}: {stuck:?}");
    world.stop();
    let whole = world.disk.copy();
    let mut all = Flips::default();
    let content = match look(&whole, None) {
        Ok(Seen { content, damaged: 0 }) => content,
        other => panic!("seed {seed}: nothing is flipped: {other:?}"),
    };
    let mut chance = Chance::new(seed);
    let whole = world.disk;
    let files: Vec<(String, u64)> = whole.files().into_iter().filter(|file| file.1 > 0).collect();
    for _ in 0..count {
        let (path, len) = chance.pick(&files).clone();
        // Most of a file may be room for later.
        let within = if chance.one_in(2) { len } else { len.min(16 << 10) };
        let (byte, bit) = (chance.below(within), chance.below(8) as u8);
        let disk = whole.copy();
        disk.flip(&path, byte, bit);
        all.tried += 1;
        let seen = catch_unwind(AssertUnwindSafe(|| look(&disk, Some(&content))));
        let mut wrong = |what: String| {
            all.broken.push(format!("seed {seed}: {path}, byte {byte}, bit {bit}: {what}"));
        };
        match seen {
            Err(_) => wrong("a panic".into()),
            Ok(Err(why)) if !names(&why) => wrong(format!("refused without a name: {why}")),
            Ok(Err(_)) => all.refused += 1,
            Ok(Ok(Seen { content: now, damaged })) => match differs(&content, &now) {
                Some(what) => wrong(what),
                None if damaged > 0 => all.named += 1,
                None => all.without_effect += 1,
            },
        }
    }
    all
}

/// True if somebody who reads it knows where to look.
fn names(why: &str) -> bool {
    ["wal", "state.redb", "blob", "segment", "bundle", "ident", "sabir"]
        .iter()
        .any(|part| why.to_lowercase().contains(part))
}

#[derive(Debug)]
struct Seen {
    content: Content,
    /// Batches that could not be read, and were said to be damaged.
    damaged: u64,
}

/// Opens a disk and reads everything; where `known` has batches, at their places.
fn look(disk: &Arc<SimDisk>, known: Option<&Content>) -> Result<Seen, String> {
    let settings = Settings::default();
    let protocol = sabir_kafka::Settings::default();
    let life = Life::begin(disk, settings, &protocol, &mut Seeded(1));
    let life = life.map_err(|error| error.to_string())?;
    let mut seen = Seen { content: Content::default(), damaged: 0 };
    for topic in life.caller.topics() {
        for (at, partition) in topic.partitions.iter().enumerate() {
            let name = format!("{}/{at}", topic.name);
            let (start, end) = (partition.view.start(), partition.view.visible());
            let of = |content: &&Content| content.logs.iter().position(|log| log.name == name);
            let known = known.and_then(|known| Some(&known.logs[of(&known)?].batches));
            let batches = match known {
                Some(known) => known
                    .iter()
                    .map(|(base, bytes)| {
                        let read = read(&life, partition, *base).map_err(|_| seen.damaged += 1);
                        // What is named is not served: it counts as what it should be.
                        (*base, read.unwrap_or_else(|()| Some(bytes.clone())).unwrap_or_default())
                    })
                    .collect(),
                None => read_all(&life, partition, start, end)?,
            };
            seen.content.logs.push(Log { name, start, end, batches });
        }
    }
    let now = Now::default();
    let committed = life.caller.committed_offsets(now, GROUP, None);
    seen.content.committed = format!("{:?}", committed.map(|answer| answer.value));
    drop(life);
    disk.cut(Cut::Kept, || 0);
    Ok(seen)
}

fn read_all(
    life: &Life,
    partition: &Partition,
    start: i64,
    end: i64,
) -> Result<Vec<Batch>, String> {
    let mut batches = Vec::new();
    let mut from = start;
    while from < end {
        let bytes = read(life, partition, from)?.ok_or("nothing where there is something")?;
        let header = sabir_broker::batch::validate(&bytes).map_err(|error| error.to_string())?;
        batches.push((from, bytes));
        from = header.next_offset();
    }
    Ok(batches)
}

/// The batch at an offset, None if there is said to be none; an error if it is said to be damaged.
fn read(life: &Life, partition: &Partition, from: i64) -> Result<Option<Bytes>, String> {
    loop {
        return match life.caller.fetch(partition, from, 1, true, &Waker::none()).found {
            Found::Batches(batches) => {
                let first = batches.first().and_then(|bytes| split(bytes).next());
                Ok(first.and_then(|batch| batch.ok()).map(|(_, bytes)| bytes))
            }
            Found::Pending => {
                life.pump.read_one();
                continue;
            }
            Found::AtEnd | Found::OutOfRange => Ok(None),
            Found::Failed(error) => Err(error.message.to_string()),
        };
    }
}

/// What is not as it was, in words.
fn differs(before: &Content, now: &Content) -> Option<String> {
    if before.committed != now.committed {
        return Some(format!("committed {}, before {}", now.committed, before.committed));
    }
    for log in &before.logs {
        let Some(found) = now.logs.iter().find(|found| found.name == log.name) else {
            return Some(format!("{} is gone", log.name));
        };
        if (log.start, log.end) != (found.start, found.end) {
            return Some(format!(
                "{} goes from {} to {}, before from {} to {}",
                log.name, found.start, found.end, log.start, log.end
            ));
        }
        let wrong = log.batches.iter().zip(&found.batches).find(|(a, b)| a != b);
        if let Some(((base, _), (_, bytes))) = wrong {
            let what = if bytes.is_empty() { "is missing" } else { "is another" };
            return Some(format!("{}: the batch at {base} {what}", log.name));
        }
    }
    (before.logs.len() != now.logs.len()).then(|| "there are more logs than before".to_owned())
}
