//! State rows in memory, with failures on demand: for tests and the simulator. What was committed
//! is what a crash leaves.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

use super::{Changes, Key, Result, StateError, StateStore};

/// Where the next commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is changed.
    Before,
    /// Everything is changed, and the caller learns of a failure.
    After,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<Key, Vec<u8>>,
    number: u64,
    fault: Option<Fault>,
    commits: u64,
}

/// The simulated twin of [`super::redb::RedbState`].
#[derive(Default)]
pub struct MemState(Mutex<Inner>);

impl MemState {
    /// The next commit that gets past the number check fails as told.
    pub fn fail_next_commit(&self, fault: Fault) {
        self.0.lock().fault = Some(fault);
    }

    /// Commits that have taken effect.
    pub fn commits(&self) -> u64 {
        self.0.lock().commits
    }
}

impl StateStore for MemState {
    fn get(&self, key: Key) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().rows.get(&key).cloned())
    }

    fn scan(
        &self,
        from: Key,
        to: Key,
        visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()> {
        // A copy, so that the visitor may call the store and sees one commit only.
        let rows = if from < to {
            let inner = self.0.lock();
            inner.rows.range(from..to).map(|(key, value)| (*key, value.clone())).collect()
        } else {
            Vec::new()
        };
        rows.iter().try_for_each(|(key, value)| visit(*key, value))
    }

    fn commit(&self, expect: u64, next: u64, changes: &Changes) -> Result<()> {
        let mut inner = self.0.lock();
        if inner.number != expect {
            return Err(StateError::Conflict { expect, found: inner.number });
        }
        changes.check(expect, next)?;
        let fault = inner.fault.take();
        let failure = || StateError::io("state rows in memory", io::Error::other("as told"));
        if fault == Some(Fault::Before) {
            return Err(failure());
        }
        for (from, to) in &changes.delete_ranges {
            inner.rows.retain(|key, _| key < from || key >= to);
        }
        for key in &changes.delete {
            inner.rows.remove(key);
        }
        for (key, value) in &changes.put {
            inner.rows.insert(*key, value.clone());
        }
        inner.number = next;
        inner.commits += 1;
        if fault == Some(Fault::After) { Err(failure()) } else { Ok(()) }
    }

    fn number(&self) -> Result<u64> {
        Ok(self.0.lock().number)
    }
}
