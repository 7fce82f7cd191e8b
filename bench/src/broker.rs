//! A broker under test: how each product is started, when it is ready, how it is stopped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::allocations::{self, Allocated};
use crate::load::kafka::probe;
use crate::machine::said_by;
use crate::process::{Memory, memory};

const READY_WITHIN: Duration = Duration::from_secs(120);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// How often one looks for the ready file of a starting broker, and how often one asks it.
const LOOK_EVERY: Duration = Duration::from_micros(200);
const ASK_EVERY: Duration = Duration::from_millis(2);

/// What a broker prints goes to this file of its directory.
const LOG: &str = "log";

/// What can be started.
#[derive(Clone, Debug)]
pub enum Product {
    Sabir {
        binary: PathBuf,
    },
    /// Apache Kafka, by the script beside its `pom.xml`.
    Kafka {
        script: PathBuf,
        name: &'static str,
        settings: &'static [&'static str],
    },
}

impl Product {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sabir { .. } => "Sabir",
            Self::Kafka { name, .. } => name,
        }
    }

    pub fn version(&self) -> String {
        match self {
            Self::Sabir { binary } => said_by(&binary.to_string_lossy(), &["--version"]),
            Self::Kafka { script, .. } => said_by(&script.to_string_lossy(), &["version"]),
        }
    }

    /// Starts the broker on loopback with its data in `dir`, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time; its log is in `dir`.
    pub fn start(&self, dir: &Path) -> Result<Broker> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let log = File::create(dir.join(LOG))?;
        let ready_file = dir.join("ready.json");
        let _ = fs::remove_file(&ready_file); // of a start before
        let (mut command, port) = self.command(dir, &ready_file)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {}", self.name()))?;
        let (address, admin) = (String::new(), None);
        let mut broker = Broker { child, address, admin, ready: Duration::ZERO };
        loop {
            let found = match port {
                None => ready_at(&ready_file),
                Some(port) => probed(format!("127.0.0.1:{port}")),
            };
            if let Some(Listeners { kafka, http }) = found {
                broker.ready = began.elapsed();
                (broker.address, broker.admin) = (kafka, http);
                return Ok(broker);
            }
            let ended = broker.child.try_wait()?;
            if ended.is_some() || began.elapsed() > READY_WITHIN {
                let what = if ended.is_some() { "has ended" } else { "does not become ready" };
                bail!("{} {what}:\n{}", self.name(), last_words(dir));
            }
            thread::sleep(if port.is_some() { ASK_EVERY } else { LOOK_EVERY });
        }
    }

    /// The command, and the port where it cannot choose one.
    fn command(&self, dir: &Path, ready_file: &Path) -> Result<(Command, Option<u16>)> {
        match self {
            Self::Sabir { binary } => {
                let mut command = Command::new(binary);
                command.arg("serve").arg("--data").arg(dir.join("data"));
                command.args(["--listen", "kafka=127.0.0.1:0", "--listen", "http=127.0.0.1:0"]);
                command.arg("--ready-file").arg(ready_file);
                Ok((command, None))
            }
            Self::Kafka { script, settings, .. } => {
                let port = free_ports()?;
                let mut command = Command::new(script);
                command.arg("serve").arg(dir).arg(port.to_string()).args(*settings);
                Ok((command, Some(port)))
            }
        }
    }
}

/// The end of the log of a broker that was started in `dir`.
pub fn last_words(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join(LOG)).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[derive(Deserialize)]
struct Ready {
    listeners: Listeners,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Listeners {
    kafka: String,
    http: Option<String>,
}

/// The one listener of a broker that writes no ready file, once it answers.
fn probed(address: String) -> Option<Listeners> {
    probe(&address).is_ok().then_some(Listeners { kafka: address, http: None })
}

/// None while the file is missing or written only in part.
fn ready_at(path: &Path) -> Option<Listeners> {
    let ready: Ready = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(ready.listeners)
}

/// A port that is free, as is the next one.
fn free_ports() -> Result<u16> {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no two free ports side by side")
}

/// A running broker; killed where it is dropped.
pub struct Broker {
    child: Child,
    pub address: String,
    /// Where it shows its metrics.
    admin: Option<String>,
    /// From the start of the process until it was ready.
    pub ready: Duration,
}

impl Broker {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn memory(&self) -> Result<Memory> {
        memory(self.pid())
    }

    /// What it has allocated so far; None unless it was built to count that.
    ///
    /// # Errors
    /// Its metrics cannot be read.
    pub fn allocated(&self) -> Result<Option<Allocated>> {
        self.admin.as_deref().map_or(Ok(None), allocations::read)
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It does not end in time, and is killed.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("stopping the broker")?;
        let began = Instant::now();
        while began.elapsed() < STOPPED_WITHIN {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the broker does not end within {STOPPED_WITHIN:?} of SIGTERM")
    }

    /// Ends it without notice, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_files_count_when_they_are_whole() {
        let path = std::env::temp_dir().join(format!("ready-{}", std::process::id()));
        let check = |text: &str, address: Option<&str>| {
            fs::write(&path, text).expect("a temporary file");
            assert_eq!(ready_at(&path).map(|at| at.kafka).as_deref(), address, "{text}");
        };
        check("", None);
        check(r#"{"listeners":{"kaf"#, None);
        check(r#"{"listeners":{"http":"127.0.0.1:1"}}"#, None);
        check(r#"{"listeners":{"kafka":"127.0.0.1:9","http":"x"}}"#, Some("127.0.0.1:9"));
        fs::remove_file(&path).expect("written above");
        assert_eq!(ready_at(&path), None);
    }

    #[test]
    fn a_product_that_ends_is_named_with_its_last_words() {
        let dir = std::env::temp_dir().join(format!("broker-{}", std::process::id()));
        let product = Product::Sabir { binary: "/bin/false".into() };
        let error = product.start(&dir).err().expect("it cannot start").to_string();
        assert!(error.contains("Sabir has ended"), "{error}");
        fs::remove_dir_all(&dir).expect("made by the start");
    }
}
