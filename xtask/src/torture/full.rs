//! A disk that really fills up: publishes are refused so that a client tries again, readers go on,
//! nothing acknowledged is lost, writing resumes when there is space, and a full disk is no reason
//! not to start.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::broker::{Berth, Broker, Start};
use super::client::{Clients, Workload};
use super::disk::Disk;
use super::history::{Counted, History, Rule, Violation};
use super::report::Tally;

/// Space that is taken from the beginning and freed when the disk is full, twice.
const BALLAST: [&str; 2] = ["ballast-1", "ballast-2"];
const BALLAST_BYTES: usize = 20 << 20;
/// How long it may take to fill the disk.
const FILL: Duration = Duration::from_secs(120);
/// Refused records that show that the disk is full.
const REFUSALS: u64 = 30;
/// From free space to the first reply.
const RESUME: Duration = Duration::from_secs(5);

/// What a broker must leave free on a disk of this size: room for a checkpoint and a restart.
const FREE_MIN_KB: u64 = 1024;

/// Errors after which a Kafka client sends again by itself.
const RETRIABLE: [&str; 9] = [
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "REQUEST_TIMED_OUT",
    "NETWORK_EXCEPTION",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "KAFKA_STORAGE_ERROR",
    "THROTTLING_QUOTA_EXCEEDED",
    "COORDINATOR_LOAD_IN_PROGRESS",
];

pub struct Full<'a> {
    pub berth: Berth,
    pub clients: &'a Clients,
    pub disk: Disk,
    pub logs: PathBuf,
}

/// What happened so far.
#[derive(Default)]
struct Course {
    history: History,
    tally: Tally,
    runs: usize,
}

impl Course {
    fn flag(&mut self, place: &str, rule: Rule, about: impl Into<String>) {
        let violation = Violation::new(rule, about);
        eprintln!("full: {place}: {violation}");
        self.tally.flag(place, &violation);
    }
}

impl Full<'_> {
    pub fn run(&mut self) -> Result<Tally> {
        let mut course = Course { tally: Tally::new("full"), ..Course::default() };
        self.disk.fresh()?;
        for name in BALLAST {
            let mut file = File::create(self.disk.point().join(name))?;
            file.write_all(&vec![1; BALLAST_BYTES])?;
            file.sync_all()?;
        }
        self.act(&mut course)?;
        course.tally.cycles = 1;
        course.tally.acked = course.history.acked();
        let mut refused: Vec<_> = course.history.failed().iter().collect();
        refused.sort();
        course.tally.notes.push(format!("refused: {refused:?}"));
        Ok(course.tally)
    }

    /// The scenes; the rest is left out when the broker does not live on.
    fn act(&self, course: &mut Course) -> Result<()> {
        let Some(mut broker) = self.start(course, "first start")? else { return Ok(()) };
        let mut workload = self.workload(course)?;
        if !self.fill(course, &mut workload, &mut broker, "first fill")? {
            return Ok(());
        }
        self.check_refusals(course);
        self.verify(course, &mut workload, "reading on a full disk")?;
        self.free(course, &mut workload, BALLAST[0])?;
        if !self.fill(course, &mut workload, &mut broker, "second fill")? {
            return Ok(());
        }
        broker.kill()?;
        course.tally.crashes += 1;
        std::thread::sleep(Duration::from_millis(100));
        workload.kill()?;
        course.history.take(&workload.lines(None)?, Counted::Yes)?;
        let Some(broker) = self.start(course, "start on a full disk after kill -9")? else {
            return Ok(());
        };
        self.verify(course, &mut workload, "reading after a start on a full disk")?;
        if let Err(problem) = broker.stop() {
            course.flag("stop on a full disk", Rule::Stuck, problem.to_string());
        }
        let Some(_broker) = self.start(course, "start on a full disk after a stop")? else {
            return Ok(());
        };
        self.resume(course)
    }

    fn start(&self, course: &mut Course, place: &str) -> Result<Option<Broker>> {
        let mut broker = self.berth.start(&self.disk.data())?;
        match broker.wait_ready()? {
            Start::Ready(took) => {
                course.tally.slowest = course.tally.slowest.max(took);
                if took > self.berth.launch.restart_limit() {
                    let about = format!("ready after {} ms", took.as_millis());
                    course.flag(place, Rule::NoRestart, about);
                }
                Ok(Some(broker))
            }
            other => {
                course.flag(place, Rule::NoRestart, format!("{other:?}"));
                Ok(None)
            }
        }
    }

    fn workload(&self, course: &mut Course) -> Result<Workload> {
        let output = self.logs.join(format!("workload-{}.out", course.runs));
        let run = course.runs.to_string();
        course.runs += 1;
        course.history.begin_run();
        let arguments = ["--run", &run, "--no-retries", "--rate", "20e6"];
        self.clients.workload(&self.berth, &output, &arguments)
    }

    /// Lets the workload go on until records are refused; false if that did not come about, or the
    /// broker ended.
    fn fill(
        &self,
        course: &mut Course,
        workload: &mut Workload,
        broker: &mut Broker,
        place: &str,
    ) -> Result<bool> {
        let began = Instant::now();
        let refused = |course: &Course| course.history.failed().values().sum::<u64>();
        let before = refused(course);
        while refused(course) < before + REFUSALS {
            if broker.has_ended()? {
                let about = format!("the broker ended: {}", broker.last_words()?);
                course.flag(place, Rule::Stuck, about);
                return Ok(false);
            }
            ensure!(!workload.has_ended()?, "the workload ended: {}", workload.last_words()?);
            ensure!(began.elapsed() < FILL, "the disk was not filled within {FILL:?}");
            std::thread::sleep(Duration::from_millis(50));
            course.history.take(&workload.lines(None)?, Counted::Yes)?;
        }
        let free = rustix::fs::statvfs(self.disk.point())?;
        let free_kb = free.f_bavail * free.f_frsize / 1024;
        eprintln!(
            "full: {place}: {} acknowledged, {free_kb} KB free, after {:.1?}",
            course.history.acked(),
            began.elapsed()
        );
        course.tally.notes.push(format!("{place}: {free_kb} KB free when records were refused"));
        if free_kb < FREE_MIN_KB {
            let about = format!("only {free_kb} KB are left of the reserve of {FREE_MIN_KB} KB");
            course.flag(place, Rule::Stuck, about);
        }
        Ok(true)
    }

    fn check_refusals(&self, course: &mut Course) {
        let names: Vec<String> = course.history.failed().keys().cloned().collect();
        for name in names.iter().filter(|name| !RETRIABLE.contains(&name.as_str())) {
            let about = format!("{name} does not make a client send again");
            course.flag("first fill", Rule::Stuck, about);
        }
    }

    fn verify(&self, course: &mut Course, workload: &mut Workload, place: &str) -> Result<()> {
        // Only what was acknowledged before the reading can be expected in it; what is tried
        // meanwhile may be in it.
        let mut history = course.history.clone();
        let reading = self.clients.verify(&self.berth, &self.logs.join("verify.out"), &[])?;
        history.take(&workload.lines_ahead()?, Counted::No)?;
        match reading {
            Ok(reading) => {
                for violation in history.check(&reading) {
                    course.flag(place, violation.rule, violation.about);
                }
            }
            Err(reason) => course.flag(place, Rule::NoRestart, reason),
        }
        Ok(())
    }

    /// Frees space under a running workload and waits for the first reply.
    fn free(&self, course: &mut Course, workload: &mut Workload, ballast: &str) -> Result<()> {
        course.history.take(&workload.lines(None)?, Counted::Yes)?;
        let before = course.history.acked();
        fs::remove_file(self.disk.point().join(ballast))?;
        let began = Instant::now();
        while course.history.acked() == before {
            if began.elapsed() > RESUME {
                let about = format!("no reply within {RESUME:?} after space was freed");
                course.flag(ballast, Rule::Stuck, about);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
            course.history.take(&workload.lines(None)?, Counted::Yes)?;
        }
        let note =
            format!("{ballast}: first reply {} ms after it was freed", began.elapsed().as_millis());
        course.tally.notes.push(note);
        Ok(())
    }

    /// After a start on the full disk: free space, write, and read everything back.
    fn resume(&self, course: &mut Course) -> Result<()> {
        fs::remove_file(self.disk.point().join(BALLAST[1]))?;
        let began = Instant::now();
        let mut workload = self.workload(course)?;
        if !workload.wait_first_ack(RESUME)? {
            let about = format!("no reply within {RESUME:?} after space was freed");
            course.flag(BALLAST[1], Rule::Stuck, about);
        }
        let took = began.elapsed().as_millis();
        course
            .tally
            .notes
            .push(format!("{}: first reply {took} ms after it was freed", BALLAST[1]));
        workload.finish()?;
        course.history.take(&workload.lines(None)?, Counted::Yes)?;
        self.verify(course, &mut workload, "the last reading")
    }
}
