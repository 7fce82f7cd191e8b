//! `sabir stats` and `sabir exposure`: what the server is doing, and what is open.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::client::{InNamespace, ServerArgs};
use super::table::table;
use crate::admin::shapes::{Exposure, ListenerStats, Stats, TopicCounts};
use crate::exposure;

#[derive(Debug, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    namespace: InNamespace,
}

pub fn run(args: &StatsArgs) -> Result<()> {
    args.server.show("GET", &args.namespace.path("/v1/stats"), None::<&()>, show)
}

pub fn run_exposure(server: &ServerArgs) -> Result<()> {
    let show = |answer: Exposure| exposure::table(&answer.listeners);
    server.show("GET", "/v1/exposure", None::<&()>, show)
}

fn show(stats: Stats) -> String {
    let Stats { wal, memory, disk, groups, .. } = &stats;
    let up = Duration::from_secs(stats.uptime_ms / 1000);
    let full = if disk.full { ": FULL, publishes are refused" } else { "" };
    let lines = [
        ("version", stats.version.clone()),
        ("up", format!("{up:?}")),
        (
            "memory",
            format!(
                "{}; recent records {} ({} only in the log), cold reads {}",
                mib(stats.memory_bytes),
                mib(memory.recent_bytes),
                mib(memory.unbundled_bytes),
                mib(memory.cold_bytes),
            ),
        ),
        (
            "disk",
            format!(
                "{} free of {}, {} kept free{full}",
                mib(disk.free_bytes),
                mib(disk.total_bytes),
                mib(disk.kept_free_bytes),
            ),
        ),
        (
            "log",
            format!(
                "{} frames, {} written, {} syncs, backlog {}, staged {}",
                wal.frames,
                mib(wal.bytes),
                wal.syncs,
                mib(wal.backlog_bytes),
                mib(wal.staged_bytes),
            ),
        ),
        ("durable", format!("frame {} of {}", wal.durable, wal.written)),
        (
            "groups",
            format!(
                "{} stable, {} preparing, {} completing, {} empty",
                groups.stable, groups.preparing, groups.completing, groups.empty
            ),
        ),
        ("panics", stats.panics.to_string()),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:8} {value}");
    }
    format!("{text}\n{}\n{}", listeners(&stats.listeners), topics(&stats.topics))
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn listeners(all: &[ListenerStats]) -> String {
    let rows: Vec<[String; 7]> = all
        .iter()
        .map(|at| {
            let [open, accepted, refused, received, sent, panics] =
                [at.open, at.accepted, at.refused, at.received_bytes, at.sent_bytes, at.panics]
                    .map(|number| number.to_string());
            [at.name.clone(), open, accepted, refused, received, sent, panics]
        })
        .collect();
    table(["listener", "open", "accepted", "refused", "received", "sent", "panics"], &rows)
}

fn topics(all: &[TopicCounts]) -> String {
    let rows: Vec<[String; 7]> = all
        .iter()
        .map(|at| {
            let [partitions, records, bytes, records_in, batches_in, bytes_in] = [
                at.partitions.into(),
                at.records,
                at.bytes,
                at.records_in,
                at.batches_in,
                at.bytes_in,
            ]
            .map(|number: u64| number.to_string());
            [at.name.clone(), partitions, records, bytes, records_in, batches_in, bytes_in]
        })
        .collect();
    let head = ["topic", "partitions", "records", "bytes", "records in", "batches in", "bytes in"];
    table(head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::shapes::DiskStats;

    #[test]
    fn shows_a_full_disk_and_what_came_in() {
        let topic = TopicCounts { name: "a".into(), records: 7, bytes_in: 9, ..Default::default() };
        let disk = DiskStats { total_bytes: 3 << 20, full: true, ..DiskStats::default() };
        let shown = show(Stats { disk, topics: vec![topic], ..Stats::default() });
        let disk =
            "disk     0.0 MiB free of 3.0 MiB, 0.0 MiB kept free: FULL, publishes are refused\n";
        assert!(shown.contains(disk), "{shown}");
        let topic = "\na               0        7      0           0           0         9\n";
        assert!(shown.ends_with(topic), "{shown}");
    }
}
