//! Repairing a data directory that no broker opens: what is whole is kept, what is lost is named,
//! and what is damaged is moved aside. Works like a start: rows, then the write-ahead log; but over
//! gaps, which become empty batches, and it ends with a checkpoint, whose one commit is the moment
//! from which the directory is repaired.

mod cover;
mod frames;
mod pass;
mod report;
mod run;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use sabir_storage::disk::{DirLock, Disk, OsDisk};

use crate::inspect::Damage;

/// Offsets of a partition of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub topic: String,
    pub partition: usize,
    pub offsets: Range<i64>,
    /// Times of what lies before and behind, in milliseconds since 1970, where that is known.
    pub after_ms: Option<i64>,
    pub before_ms: Option<i64>,
}

/// What is the matter with a directory, and what a repair makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    pub damages: Vec<Damage>,
    pub lost: Vec<Lost>,
    /// What else is lost, or may be.
    pub doubts: Vec<String>,
    pub actions: Vec<String>,
    /// Files that go into the quarantine.
    pub moved: Vec<String>,
    /// Why nothing can be done, where that is so.
    pub refused: Option<String>,
    /// Where the damaged pieces are; None as long as nothing was done.
    pub quarantine: Option<String>,
}

impl Repair {
    /// Nothing is damaged, and nothing has to be done.
    pub fn is_healthy(&self) -> bool {
        self.damages.is_empty() && self.actions.is_empty() && self.refused.is_none()
    }
}

/// Says what a repair of the directory at `root` would do; with `time_ms`, the time in milliseconds
/// since 1970, it is done. Repeating it changes nothing.
///
/// # Errors
/// `WouldBlock` while a broker has the directory; `NotFound` if it is no data directory; what the
/// disk says.
pub fn repair(root: &Path, time_ms: Option<i64>) -> io::Result<Repair> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::there(root)?);
    crate::inspect::refuse_strange(&*disk)?;
    let _lock = DirLock::take(root)?;
    on_disk(disk, time_ms)
}

/// The same for a directory that lies on `disk`; nobody else may use it meanwhile.
///
/// # Errors
/// As [`repair`].
pub fn on_disk(disk: Arc<dyn Disk>, time_ms: Option<i64>) -> io::Result<Repair> {
    let plan = run::plan(&disk)?;
    match time_ms {
        Some(time_ms) if !plan.is_healthy() && plan.refused.is_none() => {
            run::run(&disk, plan, time_ms)
        }
        _ => Ok(plan),
    }
}
