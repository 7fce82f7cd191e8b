//! Processes that are started and killed here: each ends with us, writes to files, and is killed
//! with all its descendants by their ids.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Longest wait for a command or a process of ours, which takes less than a second.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program with its arguments and the environment variables that are added to ours.
#[derive(Clone, Debug, Default)]
pub struct Words {
    pub words: Vec<OsString>,
    pub env: Vec<(String, String)>,
}

impl Words {
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Words {
        Words { words: words.into_iter().map(Into::into).collect(), env: Vec::new() }
    }
}

/// Runs a short command to its end; what it said is the error when it fails.
pub fn call<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Result<String> {
    let words = Words::new(words).words;
    let output = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", words[0].display()))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    if !output.status.success() {
        let line: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        bail!("{}: {said}", line.join(" "));
    }
    Ok(said)
}

/// A running process; dropping it kills it and all its descendants.
pub struct Job {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Job {
    /// Starts a program that is killed when this process ends, with both outputs going to files
    /// (appended).
    pub fn start(program: &Words, stdout: &Path, stderr: &Path) -> Result<Job> {
        let append = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        let child = Command::new(own_program()?)
            .args(["torture", "with-parent"])
            .args(&program.words)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(append(stdout)?)
            .stderr(append(stderr)?)
            .spawn()
            .context("cannot start a process")?;
        Ok(Job { child, ended: None })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Waits for its end; none if it takes longer than `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let began = Instant::now();
        loop {
            let ended = self.ended()?;
            if ended.is_some() || began.elapsed() > patience {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks it to end (SIGTERM).
    pub fn ask_to_end(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            kill_process(self.pid(), Signal::TERM)?;
        }
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).expect("a child's id is not 0")
    }

    /// `kill -9` for it and all its descendants; returns when all have ended.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let family = family(self.pid());
        for member in &family {
            let _ = kill_process(*member, Signal::KILL); // it may have ended meanwhile
        }
        let began = Instant::now();
        if self.wait(PATIENCE)?.is_none() {
            bail!("process {} does not end", self.child.id());
        }
        for member in &family[1..] {
            while is_running(*member) {
                let _ = waitpid(Some(*member), WaitOptions::NOHANG); // orphans become our children
                if began.elapsed() > PATIENCE {
                    bail!("process {member} does not end");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The root and all its descendants, parents first.
fn family(root: Pid) -> Vec<Pid> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let parsed = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = parsed.and_then(Pid::from_raw)
            && let Some((_, parent)) = state_of(pid)
        {
            pairs.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next].as_raw_nonzero().get();
        found.extend(pairs.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        next += 1;
    }
    found
}

fn is_running(pid: Pid) -> bool {
    state_of(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State letter and parent of a process, from /proc/PID/stat.
fn state_of(pid: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// This very program, to be run again in another role.
pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("where is this program?")
}

/// The role `with-parent`: becomes the given program, which then is killed when the thread ends
/// that started it.
pub fn run_with_parent(words: &[String]) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let (program, args) = words.split_first().context("no program was given")?;
    Err(Command::new(program).args(args).exec()).with_context(|| format!("cannot run {program}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_holds_children() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("sleep");
        let pid = Pid::from_raw(child.id() as i32).expect("not 0");
        assert!(family(rustix::process::getpid()).contains(&pid));
        assert!(is_running(pid));
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert!(!is_running(pid));
    }
}
