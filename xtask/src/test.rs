//! `cargo xtask test`: every test of the project, within its time budget, and a table at the end.
//!
//! It runs the steps as child processes, watches the clock and sums up. What a step does is in the
//! command that it names; nothing is tested here.

mod process;
mod report;
mod steps;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use report::{Outcome, Report};
use std::path::{Path, PathBuf};
use std::time::Instant;
use steps::{Budget, STEPS, Step};

const USAGE: &str = "options: --list, --only STEP[,STEP…], --skip STEP[,STEP…]";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    list: bool,
    only: Vec<String>,
    skip: Vec<String>,
}

/// Runs the chosen steps in their order.
///
/// # Errors
/// When a step failed, hung, or, with `CI=true`, was not run.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    let options = parse(args)?;
    let chosen: Vec<&Step> = STEPS.iter().filter(|step| options.chooses(step)).collect();
    if options.list {
        for Step { name, what, budget, .. } in chosen {
            println!("{name:<12} {what} ({}, {} s)", budget.name, budget.seconds);
        }
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies nowhere")?;
    let logs = logs(root)?;
    let mut report = Report::default();
    for (number, step) in chosen.iter().enumerate() {
        println!("[{}/{}] {}: {}", number + 1, chosen.len(), step.name, step.what);
        let began = Instant::now();
        let outcome = run_step(step, root, &logs, &report)?;
        let seconds = began.elapsed().as_secs_f64();
        println!("      {} in {seconds:.1} s", outcome.word());
        report.add(step, seconds, outcome);
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    print!("\n{}", report.table());
    let faults = report.faults(ci);
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    println!("\nall passed");
    Ok(())
}

fn parse(args: &[String]) -> anyhow::Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let list = match name {
            "--list" => {
                options.list = true;
                continue;
            }
            "--only" => &mut options.only,
            "--skip" => &mut options.skip,
            _ => bail!("unknown option `{arg}`; {USAGE}"),
        };
        let value = value.or_else(|| args.next().cloned());
        let value = value.with_context(|| format!("{name} names no step; {USAGE}"))?;
        for step in value.split(',') {
            let known = STEPS.iter().any(|known| known.name == step);
            anyhow::ensure!(known, "no step is called `{step}`: see --list");
            list.push(step.to_owned());
        }
    }
    Ok(options)
}

impl Options {
    fn chooses(&self, step: &Step) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == step.name);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

/// The folder of the logs, emptied of those of an earlier run.
fn logs(root: &Path) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let logs = root.join(target).join("test-logs");
    match std::fs::remove_dir_all(&logs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", logs.display()));
        }
        _ => std::fs::create_dir_all(&logs)?,
    }
    Ok(logs)
}

fn run_step(step: &Step, root: &Path, logs: &Path, done: &Report) -> anyhow::Result<Outcome> {
    if let Some(before) = step.after.filter(|before| done.failed(before)) {
        return Ok(Outcome::Failed(format!("not started, since {before} failed")));
    }
    if let Some(need) = step.needs.iter().find(|need| !process::succeeds(need.probe, root)) {
        return Ok(Outcome::Passed(vec![format!("{}: {}", step.name, need.install)]));
    }
    let log = logs.join(format!("{}.log", step.name));
    let budget: &Budget = step.budget;
    let limit = std::time::Duration::from_secs(budget.seconds * report::KILLED_AT);
    let ended = process::run(step, root, &log, limit)?;
    if let Some(fault) = ended {
        println!("--- the end of {}", log.display());
        println!("{}\n---", process::tail(&log, 60));
        return Ok(Outcome::Failed(format!("{fault}, see {}", log.display())));
    }
    Ok(Outcome::Passed(report::not_run(&std::fs::read_to_string(&log).unwrap_or_default())))
}
