//! `cargo xtask clients`: runs the suites under `clients/`, each of them unmodified third-party
//! software, against a broker, and sums up what passed, failed, was skipped or could not run.
//!
//! Not here: the process under test (`broker`), how a suite is set up and started (`suite`), and
//! reading its results (`report`).

mod broker;
mod report;
mod suite;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use broker::Broker;
use report::{Case, Verdict};
use suite::Suite;

const USAGE: &str = "usage: cargo xtask clients [options]
  --bootstrap HOST:PORT  test a broker that runs already, a peer (default: start `sabir`, one for
                         each suite, on a fresh data directory)
  --binary PATH          start this instead of building and starting `sabir`
  --peer                 the started binary is not Sabir: leave out what only Sabir does
  --only SUITE           one suite: librdkafka, kcat, java or raw (may be repeated)
  --all                  make the random tests longer
  --jobs N               suites at a time (default 2)";

/// What was asked for on the command line.
#[derive(Debug, Default)]
struct Options {
    bootstrap: Option<String>,
    binary: Option<PathBuf>,
    peer: bool,
    only: Vec<String>,
    all: bool,
    jobs: usize,
}

/// How one suite ended.
struct Outcome {
    suite: &'static Suite,
    client: String,
    seconds: u64,
    cases: Vec<Case>,
    /// What was wrong with the suite or the broker as a whole, if anything.
    trouble: Vec<String>,
    /// What is missing on this machine, if the suite could not be run.
    missing: Option<String>,
}

impl Outcome {
    fn count(&self, wanted: fn(&Verdict) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(&case.verdict)).count()
    }

    fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Passed))
    }

    fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    fn skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Skipped(_)))
    }

    fn is_bad(&self, missing_is_bad: bool) -> bool {
        self.failed() > 0 || !self.trouble.is_empty() || (missing_is_bad && self.missing.is_some())
    }
}

/// Runs the suites; an error when a test failed, a suite ran nothing, the broker misbehaved, or
/// (with `CI=true`) a runtime is missing.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    let Some(options) = parse(args)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let root = suite::repository();
    let chosen: Vec<&'static Suite> =
        suite::SUITES.iter().filter(|s| options.wants(s.name)).collect();
    let binary = match (&options.bootstrap, &options.binary) {
        (Some(_), _) => None,
        (None, Some(path)) => Some(path.canonicalize().context("--binary")?),
        (None, None) => Some(build_sabir(&root)?),
    };
    let queue = Mutex::new(chosen.into_iter());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some(suite) = next(&queue) {
                    let outcome = run_suite(suite, &root, &options, binary.as_deref());
                    print_line(&outcome);
                    outcomes.lock().expect("no holder panics").push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no holder panics");
    print_summary(&outcomes, &root);
    let missing_is_bad = std::env::var("CI").is_ok_and(|value| value == "true");
    let bad: Vec<&str> =
        outcomes.iter().filter(|o| o.is_bad(missing_is_bad)).map(|o| o.suite.name).collect();
    ensure!(bad.is_empty(), "failed: {}", bad.join(", "));
    ensure!(outcomes.iter().any(|o| o.missing.is_none()), "no suite could be run");
    Ok(())
}

fn next(queue: &Mutex<impl Iterator<Item = &'static Suite>>) -> Option<&'static Suite> {
    queue.lock().expect("no holder panics").next()
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn is_peer(&self) -> bool {
        self.peer || self.bootstrap.is_some()
    }
}

/// Reads the command line; `None` when help was asked for.
fn parse(args: &[String]) -> anyhow::Result<Option<Options>> {
    let mut options = Options { jobs: 2, ..Options::default() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--bootstrap" => options.bootstrap = Some(value()?),
            "--binary" => options.binary = Some(value()?.into()),
            "--peer" => options.peer = true,
            "--only" => options.only.push(value()?),
            "--all" => options.all = true,
            "--jobs" => options.jobs = value()?.parse().context("--jobs")?,
            "--help" | "-h" => return Ok(None),
            _ => bail!("unknown option {arg}\n{USAGE}"),
        }
    }
    for name in &options.only {
        let known = suite::SUITES.iter().any(|suite| suite.name == name);
        ensure!(known, "--only {name}: no such suite\n{USAGE}");
    }
    ensure!(options.jobs > 0, "--jobs needs at least 1");
    ensure!(
        options.bootstrap.is_none() || options.binary.is_none(),
        "--bootstrap and --binary exclude each other"
    );
    Ok(Some(options))
}

/// Builds the release binary with cargo, which also says where it is.
fn build_sabir(root: &Path) -> anyhow::Result<PathBuf> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["build", "--release", "--bin", "sabir", "--message-format=json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build")?;
    ensure!(output.status.success(), "cargo build --release --bin sabir failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "sabir")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo named no executable `sabir`")
}

/// Sets one suite up, gives it a broker, runs it and collects what happened.
fn run_suite(
    suite: &'static Suite,
    root: &Path,
    options: &Options,
    binary: Option<&Path>,
) -> Outcome {
    let begin = Instant::now();
    let mut outcome = Outcome {
        suite,
        client: String::new(),
        seconds: 0,
        cases: Vec::new(),
        trouble: Vec::new(),
        missing: None,
    };
    match suite.prepare(root) {
        Err(missing) => outcome.missing = Some(missing),
        Ok(client) => {
            outcome.client = client;
            if let Err(error) = test_broker(suite, root, options, binary, &mut outcome) {
                outcome.trouble.push(format!("{error:#}"));
            }
            if outcome.passed() + outcome.failed() == 0 {
                outcome.trouble.push("not one test ran".into());
            }
        }
    }
    if !outcome.is_bad(false) {
        // Hundreds of megabytes that only a failure makes worth keeping; absent for a peer.
        let _ = std::fs::remove_dir_all(suite.place(root).join("data"));
    }
    outcome.seconds = begin.elapsed().as_secs();
    outcome
}

fn test_broker(
    suite: &Suite,
    root: &Path,
    options: &Options,
    binary: Option<&Path>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let place = suite.place(root);
    if place.exists() {
        std::fs::remove_dir_all(&place).context("cannot clear the last run's results")?;
    }
    std::fs::create_dir_all(&place)?;
    let broker = match binary {
        Some(binary) => Some(Broker::start(binary, &place, options.is_peer())?),
        None => None,
    };
    let bootstrap = match (&broker, &options.bootstrap) {
        (Some(broker), _) => broker.address()?,
        (None, Some(address)) => address.clone(),
        (None, None) => bail!("neither a binary nor an address"),
    };
    let mut environment = BTreeMap::from([("SABIR_BOOTSTRAP", bootstrap)]);
    if options.is_peer() {
        environment.insert("SABIR_PEER", "1".into());
    }
    if options.all {
        environment.insert("SABIR_ALL", "1".into());
    }
    if let Some(broker) = &broker {
        environment.insert("SABIR_CONTROL", broker.control().display().to_string());
        if !options.is_peer() {
            environment.insert("SABIR_DATA", broker.data().display().to_string());
        }
    }
    let ended = suite.run(root, &environment);
    outcome.cases = report::read_all(&place)?;
    if let Err(error) = ended {
        outcome.trouble.push(format!("{error:#}"));
    }
    if let Some(broker) = broker {
        outcome.trouble.extend(broker.finish());
    }
    Ok(())
}

/// One line as soon as a suite has ended, so that nobody stares at nothing.
fn print_line(outcome: &Outcome) {
    let word = match &outcome.missing {
        Some(_) => "not run",
        None if outcome.is_bad(false) => "FAILED",
        None => "passed",
    };
    println!("clients: {} {word} after {} s", outcome.suite.name, outcome.seconds);
}

fn print_summary(outcomes: &[Outcome], root: &Path) {
    println!(
        "\n{:<12} {:<26} {:>7} {:>7} {:>8} {:>6}",
        "suite", "client", "passed", "failed", "skipped", "time"
    );
    for outcome in outcomes.iter().filter(|outcome| outcome.missing.is_none()) {
        println!(
            "{:<12} {:<26} {:>7} {:>7} {:>8} {:>4} s",
            outcome.suite.name,
            outcome.client,
            outcome.passed(),
            outcome.failed(),
            outcome.skipped(),
            outcome.seconds
        );
    }
    for outcome in outcomes {
        let name = outcome.suite.name;
        if let Some(missing) = &outcome.missing {
            println!("\n{name}: NOT RUN: {missing}");
        }
        for trouble in &outcome.trouble {
            println!("\n{name}: {trouble}");
        }
        let mut skips: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for case in &outcome.cases {
            match &case.verdict {
                Verdict::Passed => {}
                Verdict::Failed(why) => println!("\n{name}: FAILED {}\n  {why}", case.name),
                Verdict::Skipped(why) => skips.entry(why).or_default().push(&case.name),
            }
        }
        for (why, names) in skips {
            println!("\n{name}: skipped {}: {why}\n  {}", names.len(), names.join("\n  "));
        }
        if outcome.is_bad(false) {
            println!("{name}: see {}", outcome.suite.place(root).display());
        }
    }
}
