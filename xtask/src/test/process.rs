//! One child process: its output in a log, its time bounded, its end told.

use super::steps::Step;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a child is looked at, and how often a waiting reader hears of it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Runs the step's command with its output in `log`; `Some` says how it failed.
///
/// # Errors
/// When the command cannot be started or the log cannot be written.
pub fn run(
    step: &Step,
    root: &Path,
    log: &Path,
    limit: Duration,
) -> anyhow::Result<Option<String>> {
    let file = File::create(log)?;
    let mut command = command(step.command, root);
    command.envs(step.env.iter().copied()).stdin(Stdio::null());
    command.stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn()?;
    let began = Instant::now();
    let mut told = began;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| format!("{status}")));
        }
        if began.elapsed() > limit {
            end_tree(child.id());
            child.wait()?;
            return Ok(Some(format!("ended after {} s", limit.as_secs())));
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            println!("      {} s: {}", began.elapsed().as_secs(), tail(log, 1));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether a probe runs and succeeds, its output unseen.
pub fn succeeds(probe: &[&str], root: &Path) -> bool {
    let quiet = command(probe, root).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// The last lines of a log.
pub fn tail(log: &Path, count: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A command at the root, without what Cargo set for this process: a child Cargo would take it as
/// changed input and build again.
fn command(words: &[&str], root: &Path) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(root);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Ends a process and everything it started, children first found first.
fn end_tree(pid: u32) {
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        family.extend(children(family[at]));
        at += 1;
    }
    let pids = family.iter().map(u32::to_string);
    // A process that ended meanwhile is what was wanted.
    let _ = Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The fourth field of `/proc/PID/stat`; the second is a name that may hold anything up to `)`.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
