//! `cargo xtask fuzz [--seconds N] [TARGET]`: builds the targets listed in `fuzz/Cargo.toml` with
//! libFuzzer's instrumentation on stable Rust, runs each for its share of N seconds, and fails on
//! any finding: a crash, a failed assertion, a hang, or too much memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::codegen;

/// Seconds for all targets together unless `--seconds` says otherwise.
const SECONDS: u64 = 60;

/// Instrumentation by rustc itself; cargo-fuzz and a nightly compiler are not needed.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Memory and time that one input may take: more is a finding.
const LIMITS: [&str; 3] = ["-rss_limit_mb=512", "-malloc_limit_mb=64", "-timeout=5"];

/// Time a target may take beyond its share, to start and to run its seeds, before it is stopped.
const GRACE: Duration = Duration::from_secs(60);

pub fn run(args: &[String]) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    let (seconds, only) = arguments(args)?;
    let folder = root.join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    let mut targets = targets(&manifest);
    if let Some(only) = only {
        ensure!(targets.contains(&only), "no target {only:?}; there are {targets:?}");
        targets = vec![only];
    }
    ensure!(!targets.is_empty(), "fuzz/Cargo.toml lists no target");
    let binaries = build(&folder)?;
    let parallel = std::thread::available_parallelism()?.get().min(targets.len());
    let turns = targets.len().div_ceil(parallel);
    let share = (seconds / u64::try_from(turns)?).max(1);
    println!("{} targets, {parallel} at a time, {share} s each", targets.len());
    let mut findings = 0;
    for turn in targets.chunks(parallel) {
        let runs: Vec<Run> = turn
            .iter()
            .map(|target| Run::start(root, &binaries, target, share))
            .collect::<anyhow::Result<_>>()?;
        for run in runs {
            findings += usize::from(!run.finish()?);
        }
    }
    ensure!(findings == 0, "{findings} of {} targets have a finding", targets.len());
    Ok(())
}

fn arguments(args: &[String]) -> anyhow::Result<(u64, Option<String>)> {
    let (mut seconds, mut target) = (SECONDS, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                seconds = args.next().context("--seconds of what number?")?.parse()?;
            }
            name if !name.starts_with('-') && target.is_none() => target = Some(name.to_owned()),
            _ => bail!("usage: cargo xtask fuzz [--seconds N] [TARGET]"),
        }
    }
    Ok((seconds, target))
}

/// The names in the `[[bin]]` tables of a manifest.
fn targets(manifest: &str) -> Vec<String> {
    let mut table = "";
    let mut targets = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            table = line.trim_end();
        } else if table == "[[bin]]"
            && line.split('=').next().is_some_and(|key| key.trim() == "name")
        {
            targets.extend(line.split('"').nth(1).map(str::to_owned));
        }
    }
    targets
}

/// Builds all targets; returns the folder of the binaries.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let version = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let version = String::from_utf8(version.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    let target_dir = folder.join("target");
    // The target is named although it is the host's, so that build scripts are not instrumented.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--release", "--bins", "--target", host])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", RUSTFLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cargo build")?;
    ensure!(status.success(), "the fuzz targets do not build");
    Ok(target_dir.join(host).join("release"))
}

/// A target that is running.
struct Run {
    target: String,
    child: Child,
    log: PathBuf,
    artifacts: PathBuf,
    deadline: Instant,
}

impl Run {
    fn start(root: &Path, binaries: &Path, target: &str, seconds: u64) -> anyhow::Result<Self> {
        let folder = root.join("fuzz");
        let corpus = folder.join("corpus").join(target);
        let artifacts = folder.join("artifacts").join(target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let seeds = folder.join("seeds").join(target);
        write_seeds(root, target, &corpus)?;
        let log = artifacts.join("log.txt");
        let mut command = Command::new(binaries.join(target));
        command.arg(&corpus);
        if seeds.is_dir() {
            command.arg(&seeds);
        }
        let child = command
            .args(LIMITS)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1")
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {target}"))?;
        let deadline = Instant::now() + Duration::from_secs(seconds) + GRACE;
        Ok(Self { target: target.to_owned(), child, log, artifacts, deadline })
    }

    /// Waits for the end, reports it, and says whether nothing was found.
    fn finish(mut self) -> anyhow::Result<bool> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > self.deadline {
                self.child.kill()?;
                self.child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let statistic = |name: &str| {
            let line = log.lines().find(|line| line.starts_with(&format!("stat::{name}:")));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or("?").to_owned()
        };
        println!(
            "{:<24} {:>12} executions, {:>4} MB at most",
            self.target,
            statistic("number_of_executed_units"),
            statistic("peak_rss_mb"),
        );
        if status.is_some_and(|status| status.success()) {
            return Ok(true);
        }
        let ending = status.map_or("did not stop in time".to_owned(), |status| status.to_string());
        let last: Vec<&str> = log.lines().rev().take(40).collect();
        for line in last.into_iter().rev() {
            eprintln!("    {line}");
        }
        eprintln!("{}: {ending}; inputs are in {}", self.target, self.artifacts.display());
        Ok(false)
    }
}

/// Writes seeds that are made from other files of the repository into the corpus.
fn write_seeds(root: &Path, target: &str, corpus: &Path) -> anyhow::Result<()> {
    let side = match target {
        "kafka_request" => "request",
        "kafka_response" => "response",
        "settings" => {
            fs::copy(root.join("sabir.toml"), corpus.join("seed-all"))?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    let mut seeds = codegen::golden_bodies(root, side)?;
    if side == "request" {
        // Produce v9 with 5,400 topics of three bytes, the input that takes most memory per byte.
        let head = [0, 9, 0, 0, 1, 0, 0, 0, 0, 0x99, 0x2a];
        seeds.push([&head[..], &[1, 1, 0].repeat(5400), &[0]].concat());
    }
    for (place, seed) in seeds.into_iter().enumerate() {
        fs::write(corpus.join(format!("seed-{place}")), seed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn targets_are_the_names_of_the_binaries() {
        let manifest = "# the [[bin]] list\n[package]\nname = \"x\"\n\
                        [[bin]]\nname = \"a\"\npath = \"b\"\n\n\
                        [[bin]]\npath = \"d\"\nname = \"c\"\n";
        assert_eq!(super::targets(manifest), ["a", "c"]);
    }
}
