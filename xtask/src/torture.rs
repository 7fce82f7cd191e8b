//! `cargo xtask torture`: crashes of every kind under load, and the count of what they cost. This
//! file reads the command line, runs the parts and writes the report.

mod bitflip;
mod broker;
mod cache;
mod client;
mod control;
mod crash;
mod disk;
mod full;
mod history;
mod lots;
mod mend;
mod options;
mod powerdisk;
mod process;
mod report;
mod sys;
mod writer;

use std::path::Path;

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use bitflip::Bitflip;
use broker::{Berth, Launch};
use client::Clients;
use crash::{Lane, Mode, Plan};
use disk::{Backing, Disk, Scratch};
use full::Full;
use history::{Rule, Violation};
use lots::Lots;
use options::{Options, What};
use report::Tally;

/// Seconds between the first reply and a crash, full and quick.
const WINDOW: (f64, f64) = (0.1, 2.0);
const WINDOW_QUICK: (f64, f64) = (0.1, 1.2);
/// Room for a load that makes every kind of file, twice, and the copy that is damaged.
const BITFLIP_MB: u64 = 4096;
/// Cycles within which the planted bug must be found.
const SELFTEST_CYCLES: usize = 5;

/// Ends the process with 1 after violations and with 2 when the run proves nothing.
pub fn run(args: &[String]) -> Result<()> {
    if let Some(done) = run_role(args) {
        return done;
    }
    let options = Options::try_parse_from(args).unwrap_or_else(|problem| problem.exit());
    match torture(&options, args) {
        Ok(true) => Ok(()),
        Ok(false) => std::process::exit(1),
        Err(problem) => {
            eprintln!("torture proves nothing: {problem:#}");
            std::process::exit(2)
        }
    }
}

/// The roles in which this program starts itself again.
fn run_role(args: &[String]) -> Option<Result<()>> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["powerdisk", image, path] => powerdisk::serve(Path::new(image), Path::new(path)),
        ["with-parent", ..] => process::run_with_parent(&args[1..]),
        ["line-server", path, way] => writer::serve(Path::new(path), way),
        ["line-check", way, cycles, kind] => line_check(way, cycles, kind),
        _ => return None,
    })
}

fn line_check(way: &str, cycles: &str, kind: &str) -> Result<()> {
    own_the_mounts()?;
    writer::check(way, cycles.parse()?, kind.parse().map_err(anyhow::Error::msg)?)
}

fn own_the_mounts() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "needs root");
    sys::private_mounts().context("no private mounts")
}

/// Runs what was asked for; false if there were violations.
fn torture(options: &Options, args: &[String]) -> Result<bool> {
    let began = Instant::now();
    let root = rustix::process::geteuid().is_root();
    if root {
        own_the_mounts()?;
    }
    let rootless = matches!(options.what, What::Kill | What::Bitflip | What::All);
    ensure!(root || rootless, "needs root");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let clients = Clients::prepare()?;
    let seed = options.seed.unwrap_or_else(seed_from_clock);
    let scratch = Scratch::new()?;
    let run = Run { options, seed, root, clients, scratch: &scratch };
    let tallies = run.parts()?;
    drop(scratch);
    let command = format!("cargo xtask torture {}", args.join(" "));
    let text = report::markdown(command.trim(), seed, began.elapsed(), &tallies);
    print!("{text}");
    if let Some(path) = &options.report {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(tallies.iter().all(Tally::passed))
}

fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.subsec_nanos().into())
}

/// One call of the command.
struct Run<'a> {
    options: &'a Options,
    seed: u64,
    root: bool,
    clients: Clients,
    scratch: &'a Scratch,
}

impl Run<'_> {
    /// Runs what was asked for.
    fn parts(&self) -> Result<Vec<Tally>> {
        let what = self.options.what;
        let all = what == What::All;
        if all && !self.root {
            let must = std::env::var("CI").as_deref() == Ok("true");
            ensure!(!must, "the power cuts and the full disk need root");
            eprintln!("torture: not run: the power cuts and the full disk, which need root");
        }
        if what == What::Selftest {
            return Ok(vec![self.selftest()?]);
        }
        let launch = self.launch()?;
        let mut tallies = self.lanes(&launch)?;
        if all || what == What::Bitflip {
            tallies.push(self.bitflip(&launch)?);
        }
        if (all && self.root) || what == What::Full {
            tallies.push(self.full(&launch)?);
        }
        Ok(tallies)
    }

    fn launch(&self) -> Result<Launch> {
        if let Some(line) = &self.options.start {
            return Ok(Launch::Command(line.clone()));
        }
        let binary = match &self.options.binary {
            Some(binary) => binary.canonicalize().context("no such binary")?,
            None => client::build(None)?,
        };
        Ok(Launch::Sabir { binary, arguments: self.arguments(), env: Vec::new() })
    }

    fn arguments(&self) -> Vec<String> {
        self.options.serve.split_whitespace().map(str::to_owned).collect()
    }

    fn plan(&self, mode: Mode, cycles: usize) -> Plan {
        let default = if self.options.quick { WINDOW_QUICK } else { WINDOW };
        let window = self.options.seconds_per_cycle.as_ref();
        let window = window.map_or(default, |both| (both[0], both[1]));
        Plan {
            mode,
            cycles,
            fs: self.options.fs,
            root: self.root,
            torn: self.options.torn,
            seed: self.seed,
            keep: self.options.keep,
            window,
            settle: self.options.settle,
        }
    }

    fn lane(&self, name: String, plan: Plan, launch: &Launch) -> Result<Lane> {
        let folder = self.scratch.folder(&name)?;
        Lane::new(name, plan, launch.clone(), self.clients.clone(), &folder)
    }

    /// The crash loops that were asked for, side by side.
    fn lanes(&self, launch: &Launch) -> Result<Vec<Tally>> {
        let options = self.options;
        let modes: &[(Mode, usize, usize)] = match options.what {
            What::Kill => &[(Mode::Kill, 200, 40)],
            What::Power => &[(Mode::Power, 100, 20)],
            What::All if self.root => &[(Mode::Kill, 200, 40), (Mode::Power, 100, 20)],
            What::All => &[(Mode::Kill, 200, 40)],
            _ => &[],
        };
        let mut lanes = Vec::new();
        for (mode, full, quick) in modes {
            let cycles = options.cycles.unwrap_or(if options.quick { *quick } else { *full });
            let count = options.lanes.clamp(1, cycles.max(1));
            for number in 0..count {
                let part = cycles * (number + 1) / count - cycles * number / count;
                let mut plan = self.plan(*mode, part);
                plan.seed = self.seed.wrapping_add((lanes.len() as u64) << 32);
                lanes.push(self.lane(format!("{}-{number}", mode.name()), plan, launch)?);
            }
        }
        let results: Vec<Result<Tally>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                lanes.iter_mut().map(|lane| scope.spawn(move || lane.run())).collect();
            threads.into_iter().map(|each| each.join().expect("a lane panicked")).collect()
        });
        let mut tallies: Vec<Tally> = Vec::new();
        for tally in results {
            let tally = tally?;
            match tallies.iter_mut().find(|other| other.name == tally.name) {
                Some(other) => other.join(tally),
                None => tallies.push(tally),
            }
        }
        Ok(tallies)
    }

    fn bitflip(&self, launch: &Launch) -> Result<Tally> {
        let logs = self.scratch.folder("bitflip")?;
        let mut lots = Lots::new(self.seed);
        let backing = if self.root { Backing::Plain(self.options.fs) } else { Backing::Folder };
        let mut part = Bitflip {
            berth: Berth::new(launch.with_exports(), &logs, &mut lots)?,
            clients: &self.clients,
            disk: Disk::new(backing, BITFLIP_MB, &logs)?,
            logs,
            lots,
            flips: self.options.flips.unwrap_or(if self.options.quick { 1 } else { 6 }),
        };
        part.run()
    }

    fn full(&self, launch: &Launch) -> Result<Tally> {
        let logs = self.scratch.folder("full")?;
        let mut part = Full {
            berth: Berth::new(launch.clone(), &logs, &mut Lots::new(self.seed))?,
            clients: &self.clients,
            disk: Disk::new(Backing::Plain(self.options.fs), self.options.full_size, &logs)?,
            logs,
        };
        part.run()
    }

    /// A broker that skips its sync must be found, else the power loop is blind.
    fn selftest(&self) -> Result<Tally> {
        let binary = match &self.options.binary {
            Some(binary) => binary.canonicalize().context("no such binary")?,
            None => client::build(Some("sabir-storage/planted-bugs"))?,
        };
        let env = vec![("SABIR_BUG_SKIP_FSYNC".to_owned(), "1".to_owned())];
        let launch = Launch::Sabir { binary, arguments: self.arguments(), env };
        let plan = self.plan(Mode::Power, self.options.cycles.unwrap_or(SELFTEST_CYCLES));
        let found = self.lane("selftest".to_owned(), plan, &launch)?.run()?;
        let mut tally = Tally::new("selftest");
        tally.cycles = found.cycles;
        tally.acked = found.acked;
        tally.crashes = found.crashes;
        let lost = found.violations.get(&Rule::Lost).copied().unwrap_or(0);
        tally.notes.push(format!(
            "SABIR_BUG_SKIP_FSYNC: {lost} acknowledged records lost, as they must be"
        ));
        if lost == 0 {
            let about = format!("the planted bug SABIR_BUG_SKIP_FSYNC in {} cycles", found.cycles);
            tally.flag("selftest", &Violation::new(Rule::Unfound, about));
        }
        Ok(tally)
    }
}
