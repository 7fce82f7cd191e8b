//! The broker under test: started on a data directory, watched until it accepts, killed or stopped.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::lots::Lots;
use super::process::{Job, Words};

/// Settings that make a checkpoint and several files a second.
const SMALL_FILES: [&str; 4] = [
    "storage.checkpoint_ms=150",
    "storage.checkpoint_bytes=1 MiB",
    "storage.bundle_bytes=256 KiB",
    "topic.segment_bytes=1 MiB",
];

/// How a broker is started.
#[derive(Clone, Debug)]
pub enum Launch {
    /// Our own binary, with arguments that are added to its `serve`.
    Sabir { binary: PathBuf, arguments: Vec<String>, env: Vec<(String, String)> },
    /// Any command line, with `{data}` and `{port}` in it.
    Command(String),
}

impl Launch {
    fn words(&self, data: &Path, port: u16, ready: &Path) -> Words {
        match self {
            Launch::Sabir { binary, arguments, env } => {
                let listen = format!("kafka=127.0.0.1:{port}");
                let mut words = Words::new([binary]);
                words.words.extend(["serve", "--data"].map(Into::into));
                words.words.push(data.into());
                words.words.extend(["--listen", &listen, "--ready-file"].map(Into::into));
                words.words.push(ready.into());
                words.words.extend(arguments.iter().map(Into::into));
                words.env = env.clone();
                words
            }
            Launch::Command(line) => Words::new(line.split_whitespace().map(|word| {
                word.replace("{data}", &data.to_string_lossy()).replace("{port}", &port.to_string())
            })),
        }
    }

    /// The same, with checkpoints so frequent and files so small that a crash is likely to hit the
    /// making of one; for brokers of ours.
    pub fn with_small_files(&self) -> Launch {
        self.with(&SMALL_FILES)
    }

    /// The same, with its rows exported every second; for brokers of ours.
    pub fn with_exports(&self) -> Launch {
        self.with(&["storage.export_ms=1000"])
    }

    fn with(&self, settings: &[&str]) -> Launch {
        let mut launch = self.clone();
        if let Launch::Sabir { arguments, .. } = &mut launch {
            let set = settings.iter().flat_map(|setting| ["--set", setting]);
            arguments.extend(set.map(str::to_owned));
        }
        launch
    }

    /// A restart of ours takes 2 s at most; others are only measured.
    pub fn restart_limit(&self) -> Duration {
        match self {
            Launch::Sabir { .. } => Duration::from_secs(2),
            Launch::Command(_) => Duration::from_secs(90),
        }
    }

    /// How long a start may take before it counts as none.
    pub fn patience(&self) -> Duration {
        match self {
            Launch::Sabir { .. } => Duration::from_secs(30),
            Launch::Command(_) => Duration::from_secs(90),
        }
    }
}

/// Where brokers of one lane are started: always on the same port, so that clients find them again.
#[derive(Clone, Debug)]
pub struct Berth {
    pub launch: Launch,
    pub port: u16,
    /// Outside of the disk whose power is cut.
    logs: PathBuf,
}

pub struct Broker {
    job: Job,
    berth: Berth,
    began: Instant,
    /// Where this broker's own output begins in the log.
    log_from: u64,
}

/// How a start went.
#[derive(Debug)]
pub enum Start {
    /// It accepts, so long after its start.
    Ready(Duration),
    /// It ended by itself; the end of what it said.
    Ended(String),
    /// It neither accepts nor ends.
    Silent,
}

impl Berth {
    pub fn new(launch: Launch, logs: &Path, lots: &mut Lots) -> Result<Berth> {
        let logs = logs.to_owned();
        // Below the ports that clients are given, else one could hold ours, or talk to itself.
        for _ in 0..1000 {
            let port = 20_000 + lots.below(10_000) as u16;
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            if free(port) && free(port + 1) {
                return Ok(Berth { launch, port, logs });
            }
        }
        bail!("no free port between 20000 and 30000")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn ready_file(&self) -> PathBuf {
        self.logs.join("ready.json")
    }

    pub fn log(&self) -> PathBuf {
        self.logs.join("broker.log")
    }

    /// Starts a broker and does not wait.
    pub fn start(&self, data: &Path) -> Result<Broker> {
        ensure!(!self.accepts(), "something already listens on port {}", self.port);
        let ready = self.ready_file();
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let log = self.log();
        let log_from = fs::metadata(&log).map_or(0, |found| found.len());
        let began = Instant::now();
        let job = Job::start(&self.launch.words(data, self.port, &ready), &log, &log)?;
        Ok(Broker { job, berth: self.clone(), began, log_from })
    }

    fn accepts(&self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    }
}

impl Broker {
    /// Waits until it is ready, ends, or the patience of its launch does.
    pub fn wait_ready(&mut self) -> Result<Start> {
        let patience = self.berth.launch.patience();
        loop {
            if self.is_ready()? {
                return Ok(Start::Ready(self.began.elapsed()));
            }
            if let Some(status) = self.job.ended()? {
                return Ok(Start::Ended(format!("{status}: {}", self.last_words()?)));
            }
            if self.began.elapsed() > patience {
                return Ok(Start::Silent);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_ready(&self) -> Result<bool> {
        if let Launch::Command(_) = self.berth.launch {
            return Ok(self.berth.accepts());
        }
        let Ok(text) = fs::read_to_string(self.berth.ready_file()) else { return Ok(false) };
        let Ok(said) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(false) };
        let address = said["listeners"]["kafka"].as_str().context("no kafka listener is ready")?;
        ensure!(address == self.berth.address(), "it listens on {address} instead");
        Ok(true)
    }

    /// What this broker has said.
    pub fn said(&self) -> Result<String> {
        let bytes = fs::read(self.berth.log())?;
        Ok(String::from_utf8_lossy(&bytes[self.log_from as usize..]).into_owned())
    }

    /// The last lines that it said.
    pub fn last_words(&self) -> Result<String> {
        let said = self.said()?;
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        Ok(lines[lines.len().saturating_sub(3)..].join(" | "))
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.job.ended()?.is_some())
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.job.kill()
    }

    /// SIGTERM; an error if it does not end, or not well.
    pub fn stop(mut self) -> Result<()> {
        self.job.ask_to_end()?;
        match self.job.wait(Duration::from_secs(30))? {
            None => bail!("the broker does not stop"),
            // A Java machine ends with 128 + 15.
            Some(status) if status.success() || status.code() == Some(143) => Ok(()),
            Some(status) => bail!("the broker stopped with {status}: {}", self.last_words()?),
        }
    }
}
