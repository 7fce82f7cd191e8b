//! `cargo xtask torture`: crashes of every kind under load, and the count of what they cost. This
//! file reads the command line, runs the parts and writes the report.

mod broker;
mod cache;
mod client;
mod control;
mod crash;
mod disk;
mod history;
mod lots;
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

use broker::Launch;
use client::Clients;
use crash::{Lane, Mode, Plan};
use disk::Scratch;
use options::{Options, What};
use report::Tally;

/// Seconds between the first reply and a crash, full and quick.
const WINDOW: (f64, f64) = (0.1, 2.0);
const WINDOW_QUICK: (f64, f64) = (0.1, 1.2);

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
    ensure!(root || options.what == What::Kill || options.what == What::Bitflip, "needs root");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let clients = Clients::prepare()?;
    let launch = launch(options)?;
    let seed = options.seed.unwrap_or_else(seed_from_clock);
    let scratch = Scratch::new()?;
    let tallies = run_lanes(options, seed, root, &launch, &clients, &scratch)?;
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

fn launch(options: &Options) -> Result<Launch> {
    if let Some(line) = &options.start {
        return Ok(Launch::Command(line.clone()));
    }
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().context("no such binary")?,
        None => client::build(None)?,
    };
    let arguments = options.serve.split_whitespace().map(str::to_owned).collect();
    Ok(Launch::Sabir { binary, arguments, env: Vec::new() })
}

/// The crash loops that were asked for, side by side.
fn run_lanes(
    options: &Options,
    seed: u64,
    root: bool,
    launch: &Launch,
    clients: &Clients,
    scratch: &Scratch,
) -> Result<Vec<Tally>> {
    let modes: &[(Mode, usize, usize)] = match options.what {
        What::Kill => &[(Mode::Kill, 200, 40)],
        What::Power => &[(Mode::Power, 100, 20)],
        What::All => &[(Mode::Kill, 200, 40), (Mode::Power, 100, 20)],
        _ => &[],
    };
    let window = if options.quick { WINDOW_QUICK } else { WINDOW };
    let window = options.seconds_per_cycle.as_ref().map_or(window, |both| (both[0], both[1]));
    let mut lanes = Vec::new();
    for (mode, full, quick) in modes {
        let cycles = options.cycles.unwrap_or(if options.quick { *quick } else { *full });
        let count = options.lanes.clamp(1, cycles.max(1));
        for number in 0..count {
            let plan = Plan {
                mode: *mode,
                cycles: cycles * (number + 1) / count - cycles * number / count,
                fs: options.fs,
                root,
                torn: options.torn,
                seed: seed.wrapping_add((lanes.len() as u64) << 32),
                keep: options.keep,
                window,
            };
            let name = format!("{}-{number}", mode.name());
            let folder = scratch.folder(&name)?;
            lanes.push(Lane::new(name, plan, launch.clone(), clients.clone(), &folder)?);
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
