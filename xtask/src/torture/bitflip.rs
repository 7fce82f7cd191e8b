//! One flipped bit in each kind of file a broker keeps: it must be found and named, nothing wrong
//! may be served, and nothing behind it may be dropped. What each kind allows is a table.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::broker::{Berth, Launch, Start};
use super::client::Clients;
use super::disk::Disk;
use super::history::{Counted, History, Rule, Violation};
use super::lots::Lots;
use super::process::call;
use super::report::Tally;

/// What a broker may make of a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Every record is there and right: the bit carries no meaning, or can be computed again.
    Harmless,
    /// It does not start, and says which file is damaged.
    RefusedStart,
    /// It answers a range of offsets with an error and serves all others.
    RefusedRange,
}

/// A kind of file: where it lies, what a damage of it may lead to, and whether every bit of it
/// counts, so that `sabir inspect` must name it even if nothing was lost.
struct Kind {
    name: &'static str,
    within: &'static str,
    end: &'static str,
    allowed: &'static [Outcome],
    every_bit_counts: bool,
}

use Outcome::{Harmless, RefusedRange, RefusedStart};

const KINDS: [Kind; 7] = [
    Kind {
        name: "identity",
        within: "/",
        end: "/IDENT",
        allowed: &[RefusedStart],
        every_bit_counts: true,
    },
    Kind {
        name: "write-ahead log", // what lies behind its last frame carries no meaning
        within: "/wal/",
        end: ".wal",
        allowed: &[Harmless, RefusedStart],
        every_bit_counts: false,
    },
    Kind {
        name: "state", // has free pages
        within: "/",
        end: "/state.redb",
        allowed: &[Harmless, RefusedStart],
        every_bit_counts: false,
    },
    Kind {
        name: "bundle",
        within: "/b/",
        end: "",
        allowed: &[RefusedRange, RefusedStart, Harmless],
        every_bit_counts: true,
    },
    Kind {
        name: "segment",
        within: "/s/",
        end: ".log",
        allowed: &[RefusedRange, RefusedStart],
        every_bit_counts: true,
    },
    Kind {
        name: "segment index",
        within: "/s/",
        end: ".ix",
        allowed: &[Harmless, RefusedRange, RefusedStart],
        every_bit_counts: true,
    },
    Kind {
        name: "big body",
        within: "/big/",
        end: "",
        allowed: &[RefusedRange],
        every_bit_counts: true,
    },
];

/// Kinds that this load does not bring about.
const NOT_LOADED: [&str; 1] = ["big body"];
/// How long the load may take until each kind of file is there.
const LOAD: Duration = Duration::from_secs(45);
/// The load goes on so long at least.
const LOAD_LEAST: Duration = Duration::from_secs(3);
/// The larger part of all records is never the damaged range of one bit.
const REFUSED_SHARE_MAX: f64 = 0.5;

/// The kind of a file, by its path relative to the data directory.
fn kind_of(relative: &Path) -> Option<&'static Kind> {
    let path = format!("/{}", relative.display());
    KINDS.iter().find(|kind| path.contains(kind.within) && path.ends_with(kind.end))
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The files of one kind that have something in them.
fn files_of(data: &Path, kind: &Kind) -> Result<Vec<PathBuf>> {
    let mut found = files(data)?;
    found.retain(|path| {
        let relative = path.strip_prefix(data).unwrap_or(path);
        let same = kind_of(relative).is_some_and(|other| other.name == kind.name);
        same && fs::metadata(path).is_ok_and(|found| found.len() > 0)
    });
    Ok(found)
}

/// Flips one bit of a file and says which. Most of a preallocated file is zero and says nothing, so
/// three times in four a byte is looked for that is not.
fn flip(path: &Path, lots: &mut Lots) -> Result<(u64, u32)> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut byte = [0];
    let mut at = lots.below(length);
    if lots.chance(0.75) {
        for _ in 0..2000 {
            file.read_exact_at(&mut byte, at)?;
            if byte[0] != 0 {
                break;
            }
            at = lots.below(length);
        }
    }
    let bit = lots.below(8) as u32;
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ (1 << bit)], at)?;
    Ok((at, bit))
}

/// The broker under test, its disk, and what it must still have.
pub struct Bitflip<'a> {
    pub berth: Berth,
    pub clients: &'a Clients,
    pub disk: Disk,
    pub logs: PathBuf,
    pub lots: Lots,
    /// Tries for each kind of file and each way of ending the broker.
    pub flips: usize,
}

impl Bitflip<'_> {
    pub fn run(&mut self) -> Result<Tally> {
        let mut tally = Tally::new("bitflip");
        self.disk.fresh()?;
        let history = self.load(&mut tally)?;
        tally.acked = history.acked();
        let mut seen: Vec<(String, Outcome)> = Vec::new();
        for ending in ["killed", "stopped"] {
            let reference = self.disk.point().join(ending);
            for kind in &KINDS {
                for number in 0..self.flips {
                    let place = format!("{} {number} after it was {ending}", kind.name);
                    if files_of(&reference, kind)?.is_empty() {
                        continue;
                    }
                    let (outcome, violations) = self.try_one(&reference, kind, &history)?;
                    tally.cycles += 1;
                    for violation in &violations {
                        eprintln!("bitflip: {place}: {violation}");
                        tally.flag(&place, violation);
                    }
                    seen.extend(outcome.map(|outcome| (kind.name.to_owned(), outcome)));
                }
            }
        }
        for kind in &KINDS {
            let count = |wanted| {
                seen.iter()
                    .filter(|(name, outcome)| name == kind.name && *outcome == wanted)
                    .count()
            };
            tally.notes.push(format!(
                "{}: {} harmless, {} refused at the start, {} refused a range",
                kind.name,
                count(Harmless),
                count(RefusedStart),
                count(RefusedRange)
            ));
        }
        Ok(tally)
    }

    /// Loads the broker until each kind of file is there, and leaves two copies of its directory:
    /// as `kill -9` left it, and as a clean end did.
    fn load(&mut self, tally: &mut Tally) -> Result<History> {
        let data = self.disk.data();
        let mut history = History::default();
        let mut broker = self.berth.start(&data)?;
        self.must_be_ready(broker.wait_ready()?)?;
        let output = self.logs.join("workload.out");
        let arguments = ["--run", "0", "--rate", "25e6", "--no-tail"];
        let mut workload = self.clients.workload(&self.berth, &output, &arguments)?;
        let began = Instant::now();
        let mut missing = self.missing(&data)?;
        while began.elapsed() < LOAD && (!missing.is_empty() || began.elapsed() < LOAD_LEAST) {
            std::thread::sleep(Duration::from_millis(200));
            ensure!(!workload.has_ended()?, "the workload ended: {}", workload.last_words()?);
            missing = self.missing(&data)?;
        }
        workload.finish()?.context("the workload does not end")?;
        history.take(&workload.lines(None)?, Counted::Yes)?;
        // Idle for a moment: the mark of the last frame is written, so a flip in it is a damage.
        std::thread::sleep(Duration::from_millis(300));
        broker.kill()?;
        if !missing.is_empty() {
            let ours = matches!(self.berth.launch, Launch::Sabir { .. });
            ensure!(!ours, "the load brought about no {}", missing.join(", no "));
            tally.notes.push(format!("not there: {}", missing.join(", ")));
        }
        copy(&data, &self.disk.point().join("killed"))?;
        let mut broker = self.berth.start(&data)?;
        self.must_be_ready(broker.wait_ready()?)?;
        let reading = self.clients.verify(&self.berth, &self.logs.join("verify.out"), &[])?;
        let reading = reading.map_err(anyhow::Error::msg)?;
        for violation in history.check(&reading) {
            tally.flag("before any flip", &violation);
        }
        broker.stop()?;
        copy(&data, &self.disk.point().join("stopped"))?;
        eprintln!("bitflip: loaded {} records in {:.1?}", history.acked(), began.elapsed());
        Ok(history)
    }

    fn must_be_ready(&self, start: Start) -> Result<()> {
        match start {
            Start::Ready(_) => Ok(()),
            other => bail!("the broker does not start: {other:?}"),
        }
    }

    fn missing(&self, data: &Path) -> Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        for kind in &KINDS {
            // Files may vanish while they are listed.
            let there = files_of(data, kind).is_ok_and(|found| !found.is_empty());
            if !there && !NOT_LOADED.contains(&kind.name) {
                missing.push(kind.name);
            }
        }
        Ok(missing)
    }

    /// Flips one bit of one file of a kind in a copy, and looks what comes of it.
    fn try_one(
        &mut self,
        reference: &Path,
        kind: &Kind,
        history: &History,
    ) -> Result<(Option<Outcome>, Vec<Violation>)> {
        let data = self.disk.data();
        copy(reference, &data)?;
        let files = files_of(&data, kind)?;
        let file = &files[self.lots.below(files.len() as u64) as usize];
        let (at, bit) = flip(file, &mut self.lots)?;
        let relative = file.strip_prefix(&data).unwrap_or(file);
        let name = file.file_name().context("it has a name")?.to_string_lossy().into_owned();
        let about = format!("bit {bit} of byte {at} of {}", relative.display());
        let inspected = self.inspect(&data)?;
        let (outcome, mut violations) = self.serve(&data, &name, history)?;
        if let Some(outcome) = outcome
            && !kind.allowed.contains(&outcome)
        {
            violations.push(Violation::new(Rule::Damaged, format!("{outcome:?} is not allowed")));
        }
        let counts = kind.every_bit_counts || outcome != Some(Harmless);
        match inspected {
            Some((true, said)) if counts && said.contains(&name) => (),
            Some((failed, _)) if counts => {
                let how = if failed { "fails without naming it" } else { "finds nothing" };
                violations.push(Violation::new(Rule::Damaged, format!("inspect {how}")));
            }
            _ => (),
        }
        violations.extend(self.mend(&data, history)?);
        for violation in &mut violations {
            violation.about = format!("{about}: {}", violation.about);
        }
        eprintln!("bitflip: {about}: {outcome:?}");
        Ok((outcome, violations))
    }

    /// Whether `sabir inspect` fails, and what it says; nothing for another broker.
    fn inspect(&self, data: &Path) -> Result<Option<(bool, String)>> {
        let Launch::Sabir { binary, .. } = &self.berth.launch else { return Ok(None) };
        Ok(Some(match call([binary.as_os_str(), "inspect".as_ref(), data.as_os_str()]) {
            Ok(said) => (false, said),
            Err(said) => (true, said.to_string()),
        }))
    }

    /// Starts the broker on a damaged directory and reads what it serves.
    fn serve(
        &self,
        data: &Path,
        name: &str,
        history: &History,
    ) -> Result<(Option<Outcome>, Vec<Violation>)> {
        let mut broker = self.berth.start(data)?;
        match broker.wait_ready()? {
            Start::Ready(_) => (),
            Start::Ended(_) if broker.said()?.contains(name) => {
                return Ok((Some(RefusedStart), Vec::new()));
            }
            other => {
                let about = format!("it does not start and does not name the file: {other:?}");
                return Ok((None, vec![Violation::new(Rule::NoRestart, about)]));
            }
        }
        let output = self.logs.join("verify.out");
        let arguments = ["--tolerant", "--patience", "1.5"];
        let reading = match self.clients.verify(&self.berth, &output, &arguments)? {
            Ok(reading) => reading,
            Err(reason) => {
                let about = format!("what it has cannot be read: {reason}");
                return Ok((None, vec![Violation::new(Rule::NoRestart, about)]));
            }
        };
        let mut violations = history.clone().check(&reading);
        let refused: i64 = reading.refused.iter().map(|(_, from, to)| to - from).sum();
        let all: i64 = reading.ends.values().map(|(low, high)| high - low).sum();
        if refused as f64 > all as f64 * REFUSED_SHARE_MAX {
            let about = format!("{refused} of {all} records are refused");
            violations.push(Violation::new(Rule::Lost, about));
        }
        broker.kill()?;
        Ok((Some(if refused > 0 { RefusedRange } else { Harmless }), violations))
    }
}

/// Makes `to` a copy of the folder `from`, with its holes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let words = ["cp", "-a", "--sparse=auto", "--reflink=auto"].map(AsRef::as_ref);
    call(words.into_iter().chain([from.as_os_str(), to.as_os_str()]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_kind() {
        let cases = [
            ("IDENT", Some("identity")),
            ("LOCK", None),
            ("wal/0000000000000042.wal", Some("write-ahead log")),
            ("state.redb", Some("state")),
            ("blob/003/b/0000a1", Some("bundle")),
            ("blob/003/s/7/0/00000000000000000000.log", Some("segment")),
            ("blob/003/s/7/0/00000000000000000000.ix", Some("segment index")),
            ("blob/big/12", Some("big body")),
        ];
        for (path, name) in cases {
            assert_eq!(kind_of(Path::new(path)).map(|kind| kind.name), name, "{path}");
        }
    }

    #[test]
    fn one_bit_is_flipped() {
        let path = std::env::temp_dir().join(format!("sabir-flip-{}", std::process::id()));
        let mut before = vec![0; 10_000];
        before[5000] = 0xff;
        for seed in 0..20 {
            fs::write(&path, &before).expect("a temporary file");
            let (at, bit) = flip(&path, &mut Lots::new(seed)).expect("flip");
            let after = fs::read(&path).expect("a temporary file");
            let mut expected = before.clone();
            expected[at as usize] ^= 1 << bit;
            assert_eq!(after, expected);
        }
        fs::remove_file(&path).expect("a temporary file");
    }
}
