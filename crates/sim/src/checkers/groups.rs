//! The rules of the group of a run: one generation is one distribution, generations do not come
//! back, and what is committed stays committed.

use std::collections::BTreeMap;

use crate::model::Event;

type At = usize;

/// What is known of one commit.
struct Commit {
    tried: At,
    generation: i32,
    /// When it was there for certain.
    known: Option<At>,
    /// It was tried under this generation, when a newer one was known already.
    late: Option<(i32, i32)>,
}

#[derive(Default)]
struct Seen<'a> {
    leaders: BTreeMap<i32, &'a str>,
    shares: BTreeMap<(i32, &'a str), &'a [i32]>,
    holders: BTreeMap<(i32, i32), &'a str>,
    /// The highest generation that each life of the broker told of, and the highest of those
    /// that became complete: a crash takes a group back to that one at most, and numbers that
    /// were given out are not given again.
    told: BTreeMap<u64, i32>,
    complete: BTreeMap<u64, i32>,
    lives: u64,
    commits: BTreeMap<(i32, i64), Commit>,
    broken: Vec<String>,
}

/// What a history breaks of these rules.
pub fn groups(events: &[Event]) -> Vec<String> {
    let mut seen = Seen::default();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Up => seen.lives += 1,
            Event::Joined { generation, leader, life } => {
                seen.generation(*generation, *life);
                let known = *seen.leaders.entry(*generation).or_insert(leader);
                if known != leader {
                    let what = format!("group: {known} and {leader} lead generation {generation}");
                    seen.broken.push(what);
                }
                raise(&mut seen.told, *life, *generation);
            }
            Event::Assigned { generation, name, partitions, life } => {
                raise(&mut seen.complete, *life, *generation);
                seen.assigned(*generation, name, partitions);
            }
            Event::CommitTried { partition, number, generation } => {
                let newest = seen.complete.values().chain(seen.told.get(&seen.lives)).max();
                let newest = newest.copied().unwrap_or(0);
                let late = (newest > *generation).then_some((*generation, newest));
                let generation = *generation;
                let commit = Commit { tried: at, generation, known: None, late };
                seen.commits.insert((*partition, *number), commit);
            }
            Event::CommitKept { partition, number } => {
                let Some(commit) = seen.commits.get_mut(&(*partition, *number)) else { continue };
                commit.known.get_or_insert(at);
                if let Some((generation, newest)) = commit.late {
                    seen.broken.push(format!(
                        "group: {number} of partition {partition} was committed by generation \
                         {generation}, when there was {newest}"
                    ));
                }
            }
            Event::CommitSeen { partition, number, asked } => {
                seen.looked(at, *partition, *number, *asked);
            }
            _ => {}
        }
    }
    seen.broken
}

fn raise(of: &mut BTreeMap<u64, i32>, life: u64, generation: i32) {
    let highest = of.entry(life).or_insert(generation);
    *highest = (*highest).max(generation);
}

impl<'a> Seen<'a> {
    /// Somebody was told of a generation by the broker in that life.
    fn generation(&mut self, generation: i32, life: u64) {
        let before = |of: &BTreeMap<u64, i32>| of.range(..life).map(|told| *told.1).max();
        let (told, complete) = (before(&self.told), before(&self.complete));
        let fresh = !self.leaders.contains_key(&generation);
        if complete > Some(generation) || (fresh && told > Some(generation)) {
            let what = format!("group: generation {generation} after {told:?}, {complete:?}");
            self.broken.push(what);
        }
    }

    fn assigned(&mut self, generation: i32, name: &'a str, partitions: &'a [i32]) {
        let known = *self.shares.entry((generation, name)).or_insert(partitions);
        if known != partitions {
            self.broken.push(format!(
                "group: {name} has {known:?} and {partitions:?} in generation {generation}"
            ));
        }
        for partition in partitions {
            let holder = *self.holders.entry((generation, *partition)).or_insert(name);
            if holder != name {
                self.broken.push(format!(
                    "group: {holder} and {name} both have partition {partition} in generation \
                     {generation}"
                ));
            }
        }
    }

    /// C9: nothing older than what was there for certain when it was asked.
    fn looked(&mut self, at: At, partition: i32, number: Option<i64>, asked: At) {
        let of = |commit: &(&(i32, i64), &Commit)| commit.0.0 == partition;
        let (since, generation) = match number {
            None => (Some(0), 0),
            Some(number) => match self.commits.get_mut(&(partition, number)) {
                Some(commit) => {
                    let before = commit.known;
                    commit.known.get_or_insert(at);
                    (before, commit.generation)
                }
                None => {
                    self.broken.push(format!("C9 nobody committed {number} of {partition}"));
                    return;
                }
            },
        };
        // One of which nobody heard may have come late, but not in a later generation.
        let newer = self.commits.iter().filter(of).find(|(_, commit)| {
            let later = since.is_some_and(|since| commit.tried > since);
            (later || commit.generation > generation)
                && commit.known.is_some_and(|known| known < asked)
        });
        if let Some(((_, newer), _)) = newer {
            let what = format!("C9 {newer} was committed for {partition}, later {number:?} was");
            self.broken.push(what);
        }
    }
}
