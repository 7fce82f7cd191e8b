//! The crash loops: a broker under load is killed, or its disk loses power, again and again on the
//! same data directory; after each restart everything is read back and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::broker::{Berth, Broker, Launch, Start};
use super::cache::{Moment, Survival};
use super::client::{Clients, Workload, root};
use super::control;
use super::disk::{Backing, Disk, FileSystem};
use super::history::{Counted, History, Rule, Violation};
use super::lots::Lots;
use super::process::call;
use super::report::{Cycle, Tally};

/// Cycles on one data directory before a new one.
const FRESH_EVERY: usize = 5;
/// Of these, the shares in which the very first start is hit, a restart is hit, and the clients
/// live through the crash.
const FIRST_START_HIT: f64 = 0.5;
const RESTART_HIT: f64 = 0.2;
const RIDE_THROUGH: f64 = 0.35;
/// Of the power cuts, the share that hits a flush: between these little is in the cache.
const AT_A_FLUSH: f64 = 0.7;
/// A disk has room for what a few cycles write.
const DISK_MB: u64 = 1536;
/// How long a client may wait for the first reply of a broker that is ready.
const FIRST_ACK: Duration = Duration::from_secs(30);
/// Failed cycles whose files are kept.
const KEPT_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Kill,
    Power,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Kill => "kill",
            Mode::Power => "power",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub mode: Mode,
    pub cycles: usize,
    pub fs: FileSystem,
    /// Without root a kill needs no file system of its own.
    pub root: bool,
    /// The share of the cuts in which a part of the cache survives.
    pub torn: f64,
    pub seed: u64,
    /// One data directory for all cycles.
    pub keep: bool,
    /// Seconds between the first reply and the crash.
    pub window: (f64, f64),
    /// Sync the disk after the first reply, so that only later records are at risk: for brokers
    /// that do not survive a power cut before their files came down by themselves.
    pub settle: bool,
}

/// One broker, its disk, its clients and its history.
pub struct Lane {
    name: String,
    plan: Plan,
    clients: Clients,
    berth: Berth,
    /// As it was asked for; every other directory runs with small files.
    launch: Launch,
    directories: usize,
    disk: Disk,
    logs: PathBuf,
    lots: Lots,
    history: History,
    broker: Option<Broker>,
    /// Distinct for each workload on a directory.
    runs: usize,
    kept: usize,
}

impl Lane {
    pub fn new(
        name: String,
        plan: Plan,
        launch: Launch,
        clients: Clients,
        scratch: &Path,
    ) -> Result<Lane> {
        let backing = match (plan.mode, plan.root) {
            (Mode::Power, _) => Backing::Cached(plan.fs),
            (Mode::Kill, true) => Backing::Plain(plan.fs),
            (Mode::Kill, false) => Backing::Folder,
        };
        let disk = Disk::new(backing, DISK_MB, scratch)?;
        let mut lots = Lots::new(plan.seed);
        let berth = Berth::new(launch.clone(), scratch, &mut lots)?;
        Ok(Lane {
            name,
            plan,
            clients,
            berth,
            launch,
            directories: 0,
            disk,
            logs: scratch.to_owned(),
            lots,
            history: History::default(),
            broker: None,
            runs: 0,
            kept: 0,
        })
    }

    /// All cycles; an error means that the run proves nothing.
    pub fn run(&mut self) -> Result<Tally> {
        let mut tally = Tally::new(self.plan.mode.name());
        if self.plan.mode == Mode::Power {
            control::check(&mut self.disk, self.plan.torn > 0.0)?;
            eprintln!("{}: controls passed", self.name);
        }
        let mut fresh = true;
        for number in 0..self.plan.cycles {
            let began = Instant::now();
            let acked = if fresh { 0 } else { self.history.acked() };
            let mut cycle = Cycle { torn: self.is_torn(number), ..Cycle::default() };
            self.cycle(fresh, &mut cycle)?;
            self.disk.check_alive()?;
            cycle.acked = self.history.acked() - acked;
            tally.add(number, &cycle);
            self.tell(number, &cycle, began.elapsed());
            if !cycle.violations.is_empty() {
                self.keep_files(number)?;
            }
            let due = !self.plan.keep && (number + 1) % FRESH_EVERY == 0;
            fresh = due || !cycle.violations.is_empty();
        }
        self.broker = None;
        if tally.acked == 0 {
            bail!("nothing was acknowledged: {}", self.berth.log().display());
        }
        if self.plan.mode == Mode::Power && tally.cycles >= 20 && tally.non_empty == 0 {
            bail!("no cut hit a cache with something in it");
        }
        Ok(tally)
    }

    fn is_torn(&self, number: usize) -> bool {
        let share = |cycles: usize| (cycles as f64 * self.plan.torn).floor();
        self.plan.mode == Mode::Power && share(number + 1) > share(number)
    }

    fn tell(&self, number: usize, cycle: &Cycle, took: Duration) {
        let restarts: Vec<_> = cycle.restarts.iter().map(|each| each.as_millis()).collect();
        let cut = cycle
            .cut
            .map_or(String::new(), |cut| format!(", cache {} B, kept {} B", cut.held, cut.kept));
        eprintln!(
            "{} {}/{}: acked {} ({} here), restart {restarts:?} ms{cut}, {} violations, {:.1} s",
            self.name,
            number + 1,
            self.plan.cycles,
            cycle.acked,
            self.history.acked(),
            cycle.violations.len(),
            took.as_secs_f64(),
        );
        for violation in cycle.violations.iter().take(5) {
            eprintln!("{}   {violation}", self.name);
        }
    }

    /// What a failed cycle leaves for the one who looks for the reason.
    fn keep_files(&mut self, number: usize) -> Result<()> {
        self.broker = None;
        self.kept += 1;
        if self.kept > KEPT_MAX {
            return Ok(());
        }
        let place = root().join(".cache/torture").join(format!("{}-{number}", self.name));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place)?;
        let mut words = vec!["cp".into(), "-a".into(), "--sparse=always".into()];
        for entry in fs::read_dir(&self.logs)? {
            let path = entry?.path();
            let kinds = ["out", "errors", "log", "json"];
            if path.extension().is_some_and(|end| kinds.iter().any(|kind| end == *kind)) {
                words.push(path.into_os_string());
            }
        }
        words.push(self.disk.data().into_os_string());
        words.push(place.clone().into_os_string());
        let said = call(words);
        let result = said.map_or_else(|problem| problem.to_string(), |_| "kept".to_owned());
        eprintln!("{}   files in {}: {result}", self.name, place.display());
        Ok(())
    }

    fn cycle(&mut self, fresh: bool, cycle: &mut Cycle) -> Result<()> {
        if fresh {
            self.renew(cycle)?;
        }
        if self.broker.is_none() && !self.start(cycle)? {
            return Ok(());
        }
        let output = self.logs.join("workload.out");
        let run = self.runs.to_string();
        let seed = self.plan.seed.to_string();
        self.runs += 1;
        self.history.begin_run();
        let arguments = ["--run", &run, "--seed", &seed];
        let mut workload = self.clients.workload(&self.berth, &output, &arguments)?;
        if !workload.wait_first_ack(FIRST_ACK)? {
            let about = format!("no reply to a first record: {}", workload.last_words()?);
            cycle.violations.push(Violation::new(Rule::Stuck, about));
            return Ok(());
        }
        if self.plan.settle {
            self.disk.sync()?;
        }
        self.sleep(self.plan.window.0, self.plan.window.1);
        if self.has_died(&mut workload, cycle)? {
            return Ok(());
        }
        let ride = self.lots.chance(RIDE_THROUGH);
        let before = workload.printed()?;
        self.crash(cycle)?;
        if !ride {
            std::thread::sleep(Duration::from_millis(100)); // it reads what the broker had sent
            workload.kill()?;
        }
        self.take(&mut workload, before)?;
        if self.lots.chance(RESTART_HIT) {
            self.broker = Some(self.berth.start(&self.disk.data())?);
            self.sleep_into_start();
            self.crash(cycle)?;
            self.history.take(&workload.lines(None)?, Counted::No)?;
        }
        if !self.start(cycle)? {
            return Ok(());
        }
        if ride {
            self.ride(&mut workload, cycle)?;
        }
        self.verify(cycle)
    }

    fn sleep(&mut self, from: f64, to: f64) {
        std::thread::sleep(Duration::from_secs_f64(self.lots.between(from, to)));
    }

    /// A start takes some ten milliseconds; the background work behind it, longer.
    fn sleep_into_start(&mut self) {
        let upto = if self.lots.chance(0.5) { 0.03 } else { 0.4 };
        self.sleep(0.0, upto);
    }

    /// A new data directory; in a share of the cycles its first start is hit by a crash.
    fn renew(&mut self, cycle: &mut Cycle) -> Result<()> {
        self.broker = None;
        self.history = History::default();
        self.runs = 0;
        self.disk.fresh()?;
        let small = self.directories % 2 == 1;
        self.berth.launch =
            if small { self.launch.with_small_files() } else { self.launch.clone() };
        self.directories += 1;
        if small {
            eprintln!("{}: a directory with small files", self.name);
        }
        if self.lots.chance(FIRST_START_HIT) && !self.plan.settle {
            self.broker = Some(self.berth.start(&self.disk.data())?);
            self.sleep_into_start();
            self.crash(cycle)?;
        }
        Ok(())
    }

    /// A broker or a workload that ends by itself.
    fn has_died(&mut self, workload: &mut Workload, cycle: &mut Cycle) -> Result<bool> {
        let broker = self.broker.as_mut().expect("it was started");
        let about = if broker.has_ended()? {
            format!("the broker ended by itself: {}", broker.last_words()?)
        } else if workload.has_ended()? {
            format!("the workload ended by itself: {}", workload.last_words()?)
        } else {
            return Ok(false);
        };
        cycle.violations.push(Violation::new(Rule::Stuck, about));
        Ok(true)
    }

    /// Ends the broker, and in a power run all that was not flushed.
    fn crash(&mut self, cycle: &mut Cycle) -> Result<()> {
        cycle.crashes += 1;
        if self.plan.mode == Mode::Power {
            let survival = Survival {
                granule: if self.lots.chance(0.5) { 512 } else { 4096 },
                chance: if cycle.torn { self.lots.unit() } else { 0.0 },
                seed: self.lots.next(),
            };
            let flush = self.lots.chance(AT_A_FLUSH);
            let moment = if flush { Moment::Flush } else { Moment::Now };
            let cut = self.disk.cut(survival, moment)?;
            let sum = cycle.cut.get_or_insert_default();
            sum.held += cut.held;
            sum.kept += cut.kept;
        }
        if let Some(broker) = self.broker.take() {
            broker.kill()?;
        }
        if self.plan.mode == Mode::Power {
            self.disk.unmount()?;
            self.disk.mount()?;
        }
        Ok(())
    }

    /// Takes what a workload printed: what came from a machine that was already off does not count,
    /// what a killed broker had sent does.
    fn take(&mut self, workload: &mut Workload, before: u64) -> Result<()> {
        if self.plan.mode == Mode::Power {
            self.history.take(&workload.lines(Some(before))?, Counted::Yes)?;
            self.history.take(&workload.lines(None)?, Counted::No)
        } else {
            self.history.take(&workload.lines(None)?, Counted::Yes)
        }
    }

    /// Starts the broker; false, and a violation, if it does not become ready.
    fn start(&mut self, cycle: &mut Cycle) -> Result<bool> {
        let mut broker = self.berth.start(&self.disk.data())?;
        let about = match broker.wait_ready()? {
            Start::Ready(took) => {
                cycle.restarts.push(took);
                if took > self.berth.launch.restart_limit() {
                    let about = format!("ready after {} ms", took.as_millis());
                    cycle.violations.push(Violation::new(Rule::NoRestart, about));
                }
                self.broker = Some(broker);
                return Ok(true);
            }
            Start::Ended(said) => format!("it ended: {said}"),
            Start::Silent => format!("it does not get ready: {}", broker.last_words()?),
        };
        cycle.violations.push(Violation::new(Rule::NoRestart, about));
        Ok(false)
    }

    /// The clients go on against the restarted broker, and then get all their replies.
    fn ride(&mut self, workload: &mut Workload, cycle: &mut Cycle) -> Result<()> {
        self.sleep(0.2, 0.8);
        match workload.finish()? {
            Some(status) if status.success() || status.code() == Some(3) => (), // it says `stuck`
            other => {
                let about =
                    format!("the workload ended with {other:?}: {}", workload.last_words()?);
                cycle.violations.push(Violation::new(Rule::Stuck, about));
            }
        }
        self.history.take(&workload.lines(None)?, Counted::Yes)
    }

    fn verify(&mut self, cycle: &mut Cycle) -> Result<()> {
        let output = self.logs.join("verify.out");
        match self.clients.verify(&self.berth, &output, &[])? {
            Ok(reading) => cycle.violations.extend(self.history.check(&reading)),
            Err(reason) => {
                let about = format!("what it has cannot be read: {reason}");
                cycle.violations.push(Violation::new(Rule::NoRestart, about));
            }
        }
        Ok(())
    }
}
