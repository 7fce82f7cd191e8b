//! Fetch sessions (KIP-227): the partitions that a client reads, remembered so that it need not
//! name them in each request. They live and die with their connection; a client that comes back on
//! another one is told that its session is unknown, and begins a new one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use sabir_broker::random::Random;

/// Sessions of one connection at most; a client has one.
const SESSIONS_MAX: usize = 2;

/// One partition that is read, and what the client was told of it last.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: Arc<str>,
    pub topic_id: [u8; 16],
    pub partition: i32,
    pub offset: i64,
    pub max_bytes: i32,
    pub current_epoch: i32,
    pub last_epoch: i32,
    /// What the last response said; None = it has not been named yet.
    pub told: Option<Told>,
}

/// The part of a response that makes a partition worth naming when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub high_watermark: i64,
    pub log_start: i64,
    pub error: i16,
}

/// Names a partition within a session: by id where the version has ids, else by name.
pub type PartKey = (Arc<str>, [u8; 16], i32);

impl Part {
    pub fn key(&self) -> PartKey {
        (self.name.clone(), self.topic_id, self.partition)
    }
}

/// Partitions in the order in which they are read: those that gave something go to the end, so
/// that each gets its turn.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    by_turn: BTreeMap<u64, Part>,
    turns: BTreeMap<PartKey, u64>,
    next: u64,
}

impl Parts {
    pub fn len(&self) -> usize {
        self.by_turn.len()
    }

    /// Adds a partition or replaces what is asked of it.
    pub fn put(&mut self, mut part: Part) {
        let key = part.key();
        if let Some(turn) = self.turns.get(&key) {
            let known = self.by_turn.get_mut(turn).expect("both maps agree");
            part.told = known.told;
            *known = part;
            return;
        }
        self.turns.insert(key, self.next);
        self.by_turn.insert(self.next, part);
        self.next += 1;
    }

    pub fn remove(&mut self, key: &PartKey) {
        if let Some(turn) = self.turns.remove(key) {
            self.by_turn.remove(&turn);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.by_turn.values()
    }

    /// Takes note of what was told, and moves the partition to the end if it gave records.
    pub fn tell(&mut self, key: &PartKey, told: Told, gave: bool) {
        let Some(turn) = self.turns.get(key).copied() else { return };
        let part = self.by_turn.get_mut(&turn).expect("both maps agree");
        part.told = Some(told);
        if gave {
            let part = self.by_turn.remove(&turn).expect("just seen");
            self.by_turn.insert(self.next, part);
            self.turns.insert(key.clone(), self.next);
            self.next += 1;
        }
    }
}

/// One session.
#[derive(Debug, Default)]
pub struct Session {
    /// The epoch that the next request must have.
    pub epoch: i32,
    pub parts: Parts,
}

/// The sessions of a connection.
#[derive(Debug, Default)]
pub struct Sessions {
    known: BTreeMap<i32, Session>,
}

impl Sessions {
    /// A new session with these partitions; its id. The oldest gives way to it.
    pub fn begin(&mut self, parts: Parts, random: &mut dyn Random) -> i32 {
        while self.known.len() >= SESSIONS_MAX {
            self.known.pop_first();
        }
        loop {
            let id = (random.next() as i32 & i32::MAX).max(1);
            if let Entry::Vacant(place) = self.known.entry(id) {
                place.insert(Session { epoch: 1, parts });
                return id;
            }
        }
    }

    pub fn get(&mut self, id: i32) -> Option<&mut Session> {
        self.known.get_mut(&id)
    }

    pub fn end(&mut self, id: i32) {
        self.known.remove(&id);
    }
}

/// After the largest comes 1: 0 and -1 have meanings of their own.
pub fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}
