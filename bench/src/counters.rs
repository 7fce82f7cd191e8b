//! What the kernel counts while a broker works: system calls, syncs, faults, switches. By `perf`,
//! whose tracepoints cost next to nothing; where it is missing or not allowed, by `strace`, which
//! slows the broker down and counts the calls only.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::allocations::Allocated;

const EVENTS: [&str; 8] = [
    "raw_syscalls:sys_enter",
    "syscalls:sys_enter_fdatasync",
    "syscalls:sys_enter_fsync",
    "syscalls:sys_enter_pwrite64",
    "syscalls:sys_enter_pwritev",
    "syscalls:sys_enter_pwritev2",
    "page-faults",
    "context-switches",
];

/// How often each happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub tool: &'static str,
    pub syscalls: u64,
    /// `fdatasync` and `fsync`.
    pub syncs: u64,
    /// `pwrite64`, `pwritev` and `pwritev2`, which may be durable by themselves (`O_DSYNC`).
    pub file_writes: u64,
    pub page_faults: Option<u64>,
    pub context_switches: Option<u64>,
    /// Counted by the server itself, where it is built to.
    pub allocated: Option<Allocated>,
}

/// Counts what the process `pid` does while `program` runs with `arguments`; returns what the
/// program prints. No counts where neither tool works.
///
/// # Errors
/// The program fails.
pub fn during(
    pid: u32,
    program: &Path,
    arguments: &[String],
    scratch: &Path,
) -> Result<(String, Option<Counts>)> {
    let out = scratch.join("counts");
    if works(Command::new("perf").args(["stat", "-e", &EVENTS.join(","), "true"])) {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", &EVENTS.join(","), "-p", &pid.to_string(), "-o"]);
        let text = printed_by(perf.arg(&out).arg("--").arg(program).args(arguments))?;
        let counts = perf_counts(&fs::read_to_string(&out).context("what perf wrote")?);
        return Ok((text, Some(counts)));
    }
    let strace = works(Command::new("strace").arg("true")).then(|| Strace::attach(pid, &out));
    let text = printed_by(Command::new(program).args(arguments))?;
    let counts = strace.transpose()?.map(Strace::counts).transpose()?;
    Ok((text, counts))
}

fn works(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs a program to its end and returns what it prints.
pub fn printed_by(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::piped()).output().with_context(|| name.clone())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name}: {}", errors.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Lines such as `123,,raw_syscalls:sys_enter,456,100.00,,`.
fn perf_counts(text: &str) -> Counts {
    let count = |event: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.split(',');
            let count = fields.next()?.parse().ok()?;
            (fields.nth(1)? == event).then_some(count)
        })
    };
    let sum = |events: &[&str]| events.iter().filter_map(|event| count(event)).sum();
    Counts {
        tool: "perf",
        syscalls: sum(&EVENTS[..1]),
        syncs: sum(&EVENTS[1..3]),
        file_writes: sum(&EVENTS[3..6]),
        page_faults: count(EVENTS[6]),
        context_switches: count(EVENTS[7]),
        allocated: None,
    }
}

/// A `strace` that counts the calls of a process.
struct Strace {
    child: Child,
    out: std::path::PathBuf,
}

impl Strace {
    fn attach(pid: u32, out: &Path) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-p", &pid.to_string(), "-o"]).arg(out);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let strace = Self { child, out: out.to_owned() };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            if status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
                return Ok(strace);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("strace does not attach to process {pid}")
    }

    fn counts(mut self) -> Result<Counts> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).context("stopping strace")?;
        self.child.wait()?;
        Ok(strace_counts(&fs::read_to_string(&self.out).context("what strace wrote")?))
    }
}

/// Lines such as ` 12.34    0.000123           4        30         2 futex`, and a total.
fn strace_counts(text: &str) -> Counts {
    let calls = |name: &str| -> u64 {
        let of = |line: &str| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            (fields.last() == Some(&name)).then(|| fields.get(3)?.parse::<u64>().ok())?
        };
        text.lines().filter_map(of).sum()
    };
    Counts {
        tool: "strace",
        syscalls: calls("total"),
        syncs: calls("fdatasync") + calls("fsync"),
        file_writes: calls("pwrite64") + calls("pwritev") + calls("pwritev2"),
        page_faults: None,
        context_switches: None,
        allocated: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_writes() {
        let text = "# started on Sat\n\n8032,,raw_syscalls:sys_enter,1000,100.00,,\n\
                    12,,syscalls:sys_enter_fdatasync,1000,100.00,,\n\
                    3,,syscalls:sys_enter_fsync,1000,100.00,,\n\
                    <not supported>,,syscalls:sys_enter_pwritev2,0,100.00,,\n\
                    5,,syscalls:sys_enter_pwrite64,1000,100.00,,\n\
                    77,,page-faults,1000,100.00,0.1,K/sec\n";
        let counts = Counts {
            tool: "perf",
            syscalls: 8032,
            syncs: 15,
            file_writes: 5,
            page_faults: Some(77),
            context_switches: None,
            allocated: None,
        };
        assert_eq!(perf_counts(text), counts);
    }

    #[test]
    fn what_strace_writes() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    \x20 60.00    0.000600           6       100        10 futex\n\
                    \x20 40.00    0.000400          20        20           fdatasync\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.001000           8       120        10 total\n";
        let counts = strace_counts(text);
        assert_eq!((counts.syscalls, counts.syncs, counts.file_writes), (120, 20, 0));
    }
}
