//! The broker process under test: started on a fresh directory, killed and restarted when a test
//! asks over a Unix socket, and judged at the end: alive, no panic logged, stops on SIGTERM.
//!
//! Not here: anything a client sees.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a start and a stop may take: Sabir, and a peer (a Java virtual machine).
const START_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(5);
const PEER_LIMIT: Duration = Duration::from_secs(60);

/// So that the clients also meet checkpoints, and records that only files have any more.
const CHECKPOINTS: [&str; 2] = ["--set", "storage.checkpoint_ms=2000"];

/// A running broker that this program owns. Dropping it kills the process.
pub struct Broker {
    process: Arc<Mutex<Process>>,
    control: PathBuf,
}

struct Process {
    binary: PathBuf,
    place: PathBuf,
    is_peer: bool,
    /// HOST:PORT, known after the first start and kept over restarts.
    address: Option<String>,
    child: Option<Child>,
}

impl Broker {
    /// Starts `binary` with its data and log under `place`, and the socket that tests talk to.
    pub fn start(binary: &Path, place: &Path, is_peer: bool) -> anyhow::Result<Self> {
        let mut process = Process {
            binary: binary.to_owned(),
            place: place.to_owned(),
            is_peer,
            address: None,
            child: None,
        };
        process.start()?;
        let suite = place.file_name().unwrap_or_default().to_string_lossy();
        // Not under `place`: the path of a Unix socket may have 107 bytes at most.
        let name = format!("sabir-clients-{}-{suite}.sock", std::process::id());
        let control = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&control).context("control socket")?;
        let process = Arc::new(Mutex::new(process));
        let shared = Arc::clone(&process);
        std::thread::spawn(move || serve_control(&listener, &shared));
        Ok(Self { process, control })
    }

    /// The socket that takes `kill`, `start` or `stop` in a line and answers `ok` or an error.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Where its data lies.
    pub fn data(&self) -> PathBuf {
        lock(&self.process).data()
    }

    /// Where clients connect, HOST:PORT.
    pub fn address(&self) -> anyhow::Result<String> {
        lock(&self.process).address.clone().context("the broker has no address yet")
    }

    /// Ends the broker; returns what was wrong with it, one line each.
    pub fn finish(self) -> Vec<String> {
        let mut process = lock(&self.process);
        let mut trouble = Vec::new();
        match process.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => {}
            Some(Ok(Some(status))) => trouble.push(format!("the broker died early: {status}")),
            Some(Err(error)) => trouble.push(format!("the broker cannot be asked: {error}")),
            None => trouble.push("a test left the broker stopped".into()),
        }
        if trouble.is_empty()
            && let Err(error) = process.stop()
        {
            trouble.push(format!("{error:#}"));
        }
        match process.panics() {
            Ok(lines) => trouble.extend(lines),
            Err(error) => trouble.push(format!("the broker's log cannot be read: {error}")),
        }
        trouble
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing can be reported from here; the process must only not outlive the run.
        let _ = lock(&self.process).kill();
        let _ = fs::remove_file(&self.control);
    }
}

fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().expect("no holder panics")
}

/// Answers the tests one at a time; ends with the program.
fn serve_control(listener: &UnixListener, process: &Mutex<Process>) {
    for stream in listener.incoming().flatten() {
        // A test that went away early takes its answer with it.
        let _ = answer(&stream, process);
    }
}

fn answer(mut stream: &UnixStream, process: &Mutex<Process>) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut process = lock(process);
    let done = match line.trim() {
        "kill" => process.kill(),
        "start" => process.start(),
        "stop" => process.stop(),
        other => Err(anyhow::anyhow!("unknown command {other:?}")),
    };
    match done {
        Ok(()) => writeln!(stream, "ok"),
        Err(error) => writeln!(stream, "{error:#}"),
    }
}

impl Process {
    fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    fn log(&self) -> PathBuf {
        self.place.join("broker.log")
    }

    /// Starts the process and waits for its ready file.
    fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the broker runs already");
        let ready = self.place.join("ready.json");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let address = self.address.as_deref().unwrap_or("127.0.0.1:0");
        let log: File = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(self.data());
        command.arg("--listen").arg(format!("kafka={address}")).arg("--ready-file").arg(&ready);
        if !self.is_peer {
            command.args(CHECKPOINTS);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.child = Some(child);
        let limit = if self.is_peer { PEER_LIMIT } else { START_LIMIT };
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = read_ready(&ready) {
                if let Some(wanted) = &self.address {
                    ensure!(*wanted == found, "it restarted on {found} instead of {wanted}");
                }
                self.address = Some(found);
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                self.child = None;
                bail!("the broker ended before it was ready: {status}; see {:?}", self.log());
            }
            ensure!(Instant::now() < deadline, "the broker was not ready within {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, and waits until the process is gone.
    fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the broker does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!("the broker had died before it was killed: {status}");
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM; Sabir must end within the limit and with exit code 0.
    fn stop(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the broker does not run")?;
        let pid = Pid::from_child(&child);
        if let Some(status) = child.try_wait()? {
            bail!("the broker had died before it was stopped: {status}");
        }
        kill_process(pid, Signal::TERM)?;
        let limit = if self.is_peer { PEER_LIMIT } else { STOP_LIMIT };
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return self.judge_stop(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        child.wait()?;
        bail!("the broker did not end within {limit:?} of SIGTERM")
    }

    /// A Java virtual machine ends by the signal's number even when it stops in good order.
    fn judge_stop(&self, status: ExitStatus) -> anyhow::Result<()> {
        let by_signal = status.code() == Some(143) || status.signal() == Some(15);
        ensure!(status.success() || (self.is_peer && by_signal), "stopped by SIGTERM: {status}");
        Ok(())
    }

    /// The first few lines of the log that tell of a panic.
    fn panics(&self) -> std::io::Result<Vec<String>> {
        let log = String::from_utf8_lossy(&fs::read(self.log())?).into_owned();
        let lines = log.lines().filter(|line| line.contains("panicked"));
        Ok(lines.take(3).map(|line| format!("the broker's log holds a panic: {line}")).collect())
    }
}

/// HOST:PORT of the Kafka listener; `None` until the file is there in full.
fn read_ready(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let ready: serde_json::Value = serde_json::from_str(&text).ok()?;
    ready["listeners"]["kafka"].as_str().map(str::to_owned)
}
