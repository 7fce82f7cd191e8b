//! How much memory there is: the machine's, or less where a control group says so.

use std::fs;

/// What is assumed where nothing can be read.
const UNKNOWN_BYTES: u64 = 1 << 30;
const BUDGET_BYTES_MIN: u64 = 64 << 20;

/// A quarter of what there is.
pub fn budget() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    let there = machine.into_iter().chain(group).min().unwrap_or(UNKNOWN_BYTES);
    (there / 4).max(BUDGET_BYTES_MIN)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Refuses huge pages until there is work: the allocator asks for them, and a few bytes in one cost
/// 2 MiB. An idle broker is half as large without.
pub fn keep_pages_small() {
    // A kernel without the call has no such pages to refuse.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    sabir_broker::before_large_buffers(let_pages_grow);
}

/// Allows them: direct writes out of many small pages are slow.
fn let_pages_grow() {
    let _ = rustix::thread::disable_transparent_huge_pages(false);
}

/// Resident memory of this process, in bytes.
pub fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_forms() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24592764 kB\n"), Some(24592764 << 10));
        assert_eq!(total("nothing"), None);
        assert!(budget() >= BUDGET_BYTES_MIN);
        assert!(resident().is_some_and(|bytes| bytes > 100_000));
    }
}
