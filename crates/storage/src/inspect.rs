//! Looks through a data directory, checks every checksum in it, and reports what is there and what
//! is damaged. Changes nothing. What effects and rows mean is told by whoever calls
//! ([`Decoder`]); how a report is printed is not known here.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::export;
use crate::frame::Secret;
use crate::ident::{self, Ident};
use crate::log::LogId;
use crate::repair::quarantine;
use crate::state::Key;

mod blobs;
mod state;
mod unwritten;
mod wal;

pub(crate) use unwritten::Unwritten;

/// What is found in files whose content the storage does not know.
pub trait Decoder {
    /// Counts the effects of a section by kind; the text says why they cannot be read.
    fn effects(&self, section: &Bytes) -> std::result::Result<BTreeMap<&'static str, u64>, String>;
    /// Reads a row that is none of the storage's own; the text says why it cannot be read. Rows
    /// come in the order of their keys, each once.
    fn row(&mut self, key: Key, row: &[u8]) -> std::result::Result<(), String>;
    /// What does not fit together in the rows; asked after the last one.
    fn contradictions(&self) -> Vec<String>;
    /// How people call a log.
    fn log_name(&self, log: LogId) -> Option<String>;
}

/// A value in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Number(u64),
    Text(String),
}

/// Named values, in the order in which they are shown.
pub type Facts = Vec<(&'static str, Fact)>;

/// One file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// Relative to the data directory.
    pub path: String,
    pub bytes: u64,
    pub kind: &'static str,
    pub facts: Facts,
    /// Its frames, stretches or rows; only of files that were asked for by their path.
    pub parts: Vec<Facts>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: String,
    /// Bytes of the file.
    pub range: Range<u64>,
    pub what: String,
    /// What follows from it.
    pub means: String,
}

/// Something worth knowing that is no damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub path: String,
    pub what: String,
}

/// What a data directory holds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of their paths.
    pub files: Vec<FileReport>,
    pub damages: Vec<Damage>,
    pub notes: Vec<Note>,
}

impl Report {
    pub fn is_intact(&self) -> bool {
        self.damages.is_empty()
    }

    fn damage(&mut self, path: &str, range: Range<u64>, what: impl ToString, means: &str) {
        assert!(range.start <= range.end, "{path}: bytes {range:?} are none");
        let (path, what, means) = (path.to_owned(), what.to_string(), means.to_owned());
        self.damages.push(Damage { path, range, what, means });
    }

    fn note(&mut self, path: &str, what: impl ToString) {
        self.notes.push(Note { path: path.to_owned(), what: what.to_string() });
    }

    fn file(&mut self, path: &str, bytes: u64, kind: &'static str, facts: Facts) {
        let (path, parts) = (path.to_owned(), Vec::new());
        self.files.push(FileReport { path, bytes, kind, facts, parts });
    }
}

/// Looks through the directory on `disk`. With `paths`, only what lies at or below one of them is
/// reported, and with its parts; the rows are read in any case, because they say what is needed.
///
/// # Errors
/// `NotFound` if it is no data directory, or a path names nothing in it; else what the device
/// says. Damage is no error.
pub fn inspect(disk: Arc<dyn Disk>, decoder: &mut dyn Decoder, paths: &[String]) -> Result<Report> {
    let disk: Arc<dyn Disk> = Arc::new(Unwritten(disk));
    refuse_strange(&*disk)?;
    let mut look = Look { disk, decoder, paths, report: Report::default() };
    let secret = look.identity()?;
    let rows = look.state()?;
    look.blobs(&rows)?;
    look.wal(secret, &rows)?;
    look.others()?;
    let mut report = look.report;
    let wanted = |path: &str| is_wanted(paths, path);
    report.files.retain(|file| wanted(&file.path));
    report.damages.retain(|damage| wanted(&damage.path));
    report.notes.retain(|note| wanted(&note.path));
    report.files.sort_by(|a, b| a.path.cmp(&b.path));
    if !paths.is_empty() && report.files.is_empty() && report.is_intact() {
        let what = format!("{} is not in this data directory", paths.join(", "));
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    Ok(report)
}

/// Refuses a directory that has no file of ours.
///
/// # Errors
/// `NotFound` if so; what the disk says.
pub fn refuse_strange(disk: &dyn Disk) -> Result<()> {
    if disk.list("")?.iter().any(|entry| OURS.contains(&entry.name.as_str())) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, "it is no data directory of this program"))
}

/// Names that only a data directory of ours has.
const OURS: [&str; 6] =
    [ident::PATH, ident::FRESH, "state.redb", "state.mark", crate::wal::files::DIR, "blob"];

fn is_wanted(paths: &[String], path: &str) -> bool {
    let below = |of: &String| path.strip_prefix(of.as_str()).is_some_and(|r| r.starts_with('/'));
    paths.is_empty() || paths.iter().any(|of| of == path || below(of))
}

/// A look in progress.
struct Look<'a> {
    disk: Arc<dyn Disk>,
    decoder: &'a mut dyn Decoder,
    paths: &'a [String],
    report: Report,
}

impl Look<'_> {
    /// True if the parts of a file are to be listed.
    fn in_detail(&self, path: &str) -> bool {
        !self.paths.is_empty() && is_wanted(self.paths, path)
    }

    /// False if a file need not be looked at.
    fn is_wanted(&self, path: &str) -> bool {
        is_wanted(self.paths, path)
    }

    fn log_name(&self, log: LogId) -> String {
        self.decoder.log_name(log).unwrap_or_else(|| format!("log {log}"))
    }

    /// The secret, without which nothing of the write-ahead log can be checked.
    fn identity(&mut self) -> Result<Option<Secret>> {
        const MEANS: &str = "no broker starts, and the write-ahead log cannot be checked: restore \
                             this one file from any backup of the directory";
        let entries = self.disk.list("")?;
        let len = entries.iter().find(|entry| entry.name == ident::PATH).map(|entry| entry.len);
        match (Ident::read(&*self.disk), len) {
            (Ok(Some(ident)), Some(len)) => {
                let cluster = ident.cluster.iter().map(|byte| format!("{byte:02x}")).collect();
                let facts = vec![
                    ("cluster", Fact::Text(cluster)),
                    ("level", Fact::Number(ident::LEVEL.into())),
                    ("shards", Fact::Number(ident.shards.into())),
                ];
                self.report.file(ident::PATH, len, "identity", facts);
                Ok(Some(ident.secret))
            }
            (Ok(_), _) => {
                self.report.damage(ident::PATH, 0..0, "it is not there", MEANS);
                Ok(None)
            }
            (Err(error), len) => {
                let len = len.unwrap_or(0);
                self.report.file(ident::PATH, len, "identity", Vec::new());
                self.report.damage(ident::PATH, 0..len, error, MEANS);
                Ok(None)
            }
        }
    }

    /// Exports of the rows, each read whole.
    fn exports(&mut self) -> Result<()> {
        const MEANS: &str = "nothing is lost; the rows could not be restored from it";
        for entry in self.disk.list(export::DIR)? {
            let path = format!("{}/{}", export::DIR, entry.name);
            if export::checkpoint_of(&entry.name).is_none() {
                self.report.file(&path, entry.len, "unfinished", Vec::new());
                continue;
            }
            let mut facts = Vec::new();
            match export::read(&*self.disk, &path) {
                Ok(export) => {
                    facts.push(("checkpoint", Fact::Number(export.checkpoint)));
                    facts.push(("rows", Fact::Number(export.rows.len() as u64)));
                    facts.push(("taken at ms", Fact::Number(export.head.taken_ms.unsigned_abs())));
                }
                Err(error) => self.report.damage(&path, 0..entry.len, error, MEANS),
            }
            self.report.file(&path, entry.len, "export", facts);
        }
        Ok(())
    }

    /// What lies at the top and was not spoken of.
    fn others(&mut self) -> Result<()> {
        for entry in self.disk.list("")? {
            match entry.name.as_str() {
                "LOCK" => self.report.file("LOCK", entry.len, "lock", Vec::new()),
                ident::FRESH | "state.redb.new" | "state.mark.new" | "REPAIR.new" => {
                    self.report.file(&entry.name, entry.len, "unfinished", Vec::new());
                    self.report.note(&entry.name, "left by a start that did not come to its end");
                }
                ident::PATH | "state.redb" | "state.mark" => {}
                crate::wal::files::DIR | "blob" if entry.is_dir => {}
                export::DIR if entry.is_dir => self.exports()?,
                quarantine::DIR if entry.is_dir => {
                    self.report.file(&entry.name, 0, "quarantine", Vec::new());
                }
                quarantine::UNDER_WAY => {
                    self.report.file(&entry.name, entry.len, "unfinished", Vec::new());
                    self.report.note(&entry.name, "a repair did not come to its end: repeat it");
                }
                name => {
                    self.report.file(name, entry.len, "foreign", Vec::new());
                    self.report.note(name, "no file of ours; a broker leaves it alone");
                }
            }
        }
        Ok(())
    }
}
