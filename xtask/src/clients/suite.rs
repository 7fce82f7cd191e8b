//! The suites under `clients/`: what each needs on this machine, how it is set up, and the command
//! that runs it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// No suite may take longer; what hangs is killed and has failed. A peer's restarts take seconds.
const SUITE_LIMIT: Duration = Duration::from_secs(420);
const PEER_LIMIT: Duration = Duration::from_secs(900);

/// One folder under `clients/`.
pub struct Suite {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    /// pytest; the name of the client's package, if there is one.
    Python(Option<&'static str>),
    Kcat,
    Maven,
}

/// The longest first, so that two at a time end together.
pub const SUITES: &[Suite] = &[
    Suite { name: "java", kind: Kind::Maven },
    Suite { name: "librdkafka", kind: Kind::Python(Some("confluent-kafka")) },
    Suite { name: "kcat", kind: Kind::Kcat },
    Suite { name: "raw", kind: Kind::Python(None) },
];

/// The repository's root, where `clients/` lies.
pub fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the repository").to_owned()
}

impl Suite {
    /// Where the last run's results, logs and data are kept.
    pub fn place(&self, root: &Path) -> PathBuf {
        root.join(".cache/clients").join(self.name)
    }

    /// Installs what can be installed without asking. Returns the client and its version, or what
    /// a person has to install.
    pub fn prepare(&self, root: &Path) -> Result<String, String> {
        let pins = root.join("clients/requirements.txt");
        match self.kind {
            Kind::Python(package) => {
                python(root)?;
                let pinned = fs::read_to_string(pins).unwrap_or_default();
                let line = package.and_then(|p| pinned.lines().find(|line| line.starts_with(p)));
                Ok(line.unwrap_or("hand-made frames").replace("==", " "))
            }
            Kind::Kcat => {
                python(root)?;
                kcat()
            }
            Kind::Maven => maven(root),
        }
    }

    /// Runs the tests; their output and results land in `place`. An error when the command could
    /// not be started, hung, or ended in another way than "passed" or "some failed".
    pub fn run(
        &self,
        root: &Path,
        environment: &BTreeMap<&'static str, String>,
    ) -> anyhow::Result<()> {
        let place = self.place(root);
        let mut command = match self.kind {
            Kind::Python(_) | Kind::Kcat => {
                let mut command = Command::new(venv(root).join("bin/python"));
                command.args(["-m", "pytest", "-q", "--tb=short"]);
                command.arg(format!("--junitxml={}", place.join("report.xml").display()));
                command.arg(root.join("clients").join(self.name));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Kind::Maven => {
                let mut command = maven_command(root);
                command.args(["-o", "test"]);
                command.arg(format!("-Dreports={}", place.display()));
                command
            }
        };
        let output = File::create(place.join("output.log"))?;
        command.current_dir(root).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        command.envs(environment);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let is_peer = environment.contains_key("SABIR_PEER");
        let limit = if is_peer { PEER_LIMIT } else { SUITE_LIMIT };
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                // pytest and Maven both end with 1 when tests failed; the report names them.
                return match status.code() {
                    Some(0 | 1) => Ok(()),
                    _ => bail!("the suite broke off: {status}; see {:?}", place.join("output.log")),
                };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill()?;
        child.wait()?;
        bail!("the suite was killed after {limit:?}")
    }
}

fn venv(root: &Path) -> PathBuf {
    root.join(".cache/venv")
}

/// The virtual environment with the pinned packages, made once and again when the pins change.
fn python(root: &Path) -> Result<(), String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().expect("no holder panics");
    let pins = root.join("clients/requirements.txt");
    let venv = venv(root);
    let installed = venv.join("clients-requirements.txt");
    let wanted = fs::read(&pins).map_err(|error| format!("{}: {error}", pins.display()))?;
    if fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let made = quiet(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    made.map_err(|why| format!("install python3 (3.9 or newer) with its venv module: {why}"))?;
    let pip = venv.join("bin/pip");
    quiet(Command::new(pip).args(["install", "--quiet", "--requirement"]).arg(&pins))
        .map_err(|why| format!("pip could not install the pinned packages: {why}"))?;
    fs::write(&installed, wanted).map_err(|error| error.to_string())
}

/// kcat comes with the distribution; root may install it.
fn kcat() -> Result<String, String> {
    if let Some(version) = kcat_version() {
        return Ok(version);
    }
    if rustix::process::geteuid().is_root() {
        // Old package lists make the install fail, and then the answer below says what to do.
        let _ = quiet(Command::new("apt-get").args(["-q", "update"]));
        let _ = quiet(Command::new("apt-get").args(["-q", "-y", "install", "kcat"]));
    }
    kcat_version().ok_or_else(|| "install kcat (Debian, Ubuntu: apt-get install kcat)".into())
}

fn kcat_version() -> Option<String> {
    let output = Command::new("kcat").arg("-V").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("Version "))?;
    Some(format!("kcat {}", version.split_whitespace().next()?))
}

fn maven_command(root: &Path) -> Command {
    let mut command = Command::new("mvn");
    command.args(["-B", "-q", "-f"]).arg(root.join("clients/java/pom.xml"));
    command
}

/// Downloads the pinned artifacts and compiles the tests, so that the run itself needs no network.
fn maven(root: &Path) -> Result<String, String> {
    quiet(Command::new("java").arg("-version")).map_err(|_| "install Java 17 or newer (JDK)")?;
    quiet(Command::new("mvn").arg("--version")).map_err(|_| "install Maven 3.8 or newer")?;
    // `-DskipTests` compiles them and makes Maven fetch the test engine as well.
    quiet(maven_command(root).args(["test", "-DskipTests"]))
        .map_err(|why| format!("Maven could not set the suite up: {why}"))?;
    let pom = fs::read_to_string(root.join("clients/java/pom.xml")).unwrap_or_default();
    let version = pom.split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next());
    Ok(format!("kafka-clients {}", version.unwrap_or("?")))
}

/// Runs a set-up command; on failure the last lines that it printed.
fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let lines: Vec<&str> = text.lines().collect();
    Err(lines[lines.len().saturating_sub(8)..].join("\n  "))
}
