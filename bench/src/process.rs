//! Processes as `/proc` shows them: CPU time and memory. Linux only.

use std::fs;

use anyhow::{Context, Result};

/// CPU seconds, user and system, of all threads of a process, in steps of a clock tick (10 ms).
///
/// # Errors
/// No such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} has another form"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Fields 14 and 15, counted behind the name, which may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub resident: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

/// # Errors
/// No such process.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name| kib(&status, name).with_context(|| format!("{path} has no {name}"));
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// The number behind `name` in a table such as `/proc/meminfo`.
pub fn kib(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Asks the kernel to end sleeps on time; threads that are started later inherit it.
pub fn end_sleeps_on_time() {
    // Where it is refused, sleeps end up to 50 µs late: latencies are a little worse, not wrong.
    let _ = fs::write("/proc/self/timerslack_ns", "1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_behind_an_awkward_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn own_memory_and_time_are_there() {
        let memory = memory(std::process::id()).expect("this process lives");
        assert!(memory.resident > 100 && memory.peak >= memory.resident, "{memory:?}");
        assert!(cpu_seconds(std::process::id()).expect("this process lives") >= 0.0);
        assert!(cpu_seconds(u32::MAX).is_err());
    }

    #[test]
    fn tables_of_proc() {
        let table = "VmPeak:\t  9 kB\nVmRSS:\t    12345 kB\nThreads:\t2\n";
        assert_eq!(kib(table, "VmRSS:"), Some(12345));
        assert_eq!(kib(table, "Threads:"), None);
        assert_eq!(kib(table, "None:"), None);
    }
}
