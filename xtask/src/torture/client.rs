//! The clients of the crash loops: librdkafka, driven by the programs in `clients/torture`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::broker::Berth;
use super::history::Reading;
use super::process::{Job, Words, call};

/// A verifier that reads a few hundred megabytes takes a few seconds.
const VERIFY_PATIENCE: Duration = Duration::from_secs(120);

/// The Python environment and the programs.
#[derive(Clone, Debug)]
pub struct Clients {
    python: PathBuf,
    programs: PathBuf,
}

/// The repository's root.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies in the repository").to_owned()
}

impl Clients {
    /// Makes the environment in `.cache/venv-torture` unless it is there and as it should be.
    pub fn prepare() -> Result<Clients> {
        let root = root();
        let programs = root.join("clients/torture");
        let home = root.join(".cache/venv-torture");
        let python = home.join("bin/python");
        let wanted = fs::read_to_string(programs.join("requirements.txt"))?;
        let stamp = home.join("requirements.txt");
        if fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
            eprintln!("torture: making the Python environment in {}", home.display());
            call(
                ["python3", "-m", "venv", "--clear"]
                    .map(AsRef::as_ref)
                    .into_iter()
                    .chain([home.as_os_str()]),
            )
            .context("Python 3.9 or later with its venv module is needed")?;
            let words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
            let requirements = programs.join("requirements.txt");
            let words = [python.as_os_str()]
                .into_iter()
                .chain(words.map(AsRef::as_ref))
                .chain([requirements.as_os_str()]);
            call(words).context("the client library could not be installed")?;
            fs::write(stamp, wanted)?;
        }
        Ok(Clients { python, programs })
    }

    fn program(&self, name: &str, berth: &Berth, arguments: &[&str]) -> Words {
        let mut words = Words::new([&self.python, &self.programs.join(name)]);
        words.words.extend(["--bootstrap".into(), berth.address().into()]);
        words.words.extend(arguments.iter().map(Into::into));
        words
    }

    /// Starts a workload; `arguments` are its own.
    pub fn workload(&self, berth: &Berth, output: &Path, arguments: &[&str]) -> Result<Workload> {
        let words = self.program("workload.py", berth, arguments);
        let errors = output.with_extension("errors");
        fs::write(output, "")?;
        let job = Job::start(&words, output, &errors)?;
        Ok(Workload { job, output: output.to_owned(), errors, taken: 0 })
    }

    /// Reads everything back; the reason if that cannot be done.
    pub fn verify(
        &self,
        berth: &Berth,
        output: &Path,
        arguments: &[&str],
    ) -> Result<Result<Reading, String>> {
        let words = self.program("verify.py", berth, arguments);
        let errors = output.with_extension("errors");
        for path in [output, &errors] {
            fs::write(path, "")?;
        }
        let ended = Job::start(&words, output, &errors)?.wait(VERIFY_PATIENCE)?;
        let said = fs::read_to_string(&errors)?;
        Ok(match ended {
            None => Err(format!("reading back takes longer than {VERIFY_PATIENCE:?}")),
            Some(status) if !status.success() => Err(format!("{status}: {}", last_lines(&said))),
            Some(_) => Ok(Reading::parse(&fs::read_to_string(output)?)?),
        })
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// A running workload and its output.
pub struct Workload {
    job: Job,
    output: PathBuf,
    errors: PathBuf,
    taken: usize,
}

impl Workload {
    /// How many bytes it has printed.
    pub fn printed(&self) -> Result<u64> {
        Ok(fs::metadata(&self.output)?.len())
    }

    /// Waits for the first reply to a record; false if it ended or took longer than `patience`.
    pub fn wait_first_ack(&mut self, patience: Duration) -> Result<bool> {
        let began = Instant::now();
        while began.elapsed() < patience && self.job.ended()?.is_none() {
            if fs::read(&self.output)?.windows(5).any(|bytes| bytes == b"\nack ") {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(false)
    }

    /// The whole lines from where the last call ended up to `until` bytes, or to the end.
    pub fn lines(&mut self, until: Option<u64>) -> Result<String> {
        let bytes = fs::read(&self.output)?;
        let end = until.map_or(bytes.len(), |until| until as usize);
        let new = &bytes[self.taken..end];
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.taken += whole;
        Ok(String::from_utf8_lossy(&new[..whole]).into_owned())
    }

    /// The whole lines that the next call of `lines` will give, too.
    pub fn lines_ahead(&mut self) -> Result<String> {
        let taken = self.taken;
        let lines = self.lines(None);
        self.taken = taken;
        lines
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Result<()> {
        self.job.kill()
    }

    /// Asks it to wait for its last replies and end; none if it does not.
    pub fn finish(&mut self) -> Result<Option<ExitStatus>> {
        self.job.ask_to_end()?;
        let ended = self.job.wait(Duration::from_secs(45))?;
        self.job.kill()?;
        Ok(ended)
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.job.ended()?.is_some())
    }

    /// The last lines of its error output.
    pub fn last_words(&self) -> Result<String> {
        Ok(last_lines(&fs::read_to_string(&self.errors)?))
    }
}

/// Builds a package's release binary and gives its path; the features go to a target folder of
/// their own, so that such a binary never stands where the real one is expected.
pub fn build(features: Option<&str>) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let own = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let mut target = own.unwrap_or_else(|| root().join("target"));
    let mut words: Vec<std::ffi::OsString> = vec![cargo];
    words.extend(["build", "--release", "--quiet", "--package", "sabir-server"].map(Into::into));
    if let Some(features) = features {
        target = root().join(".cache/torture-target");
        // The storage is named too, so that its features can be chosen from here.
        words.extend(["--package", "sabir-storage", "--features", features].map(Into::into));
    }
    words.extend(["--target-dir".into(), target.clone().into(), "--manifest-path".into()]);
    words.push(root().join("Cargo.toml").into());
    call(words)?;
    let built = target.join("release/sabir");
    let mode = fs::metadata(&built).context("no binary was built")?.permissions().mode();
    if mode & 0o100 == 0 {
        bail!("{} is not a program", built.display());
    }
    Ok(built)
}
