//! `storage`: durable ingest as a share of what the disk can do by itself in the same run; start,
//! idle memory, and the restart after a kill with much data.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, Options, note};
use crate::counters::Counts;
use crate::disk::{self, Yardstick};
use crate::load::report::Report;
use crate::machine;
use crate::start;
use crate::table::{Table, figure, maybe};

/// What must stay free on the disk after a case.
const SPARE_BYTES: u64 = 8 << 30;
const INGEST: &str = "--partitions 16 --batch-bytes 1048576 --size 1024 --window 5 --name ingest";
/// Records of the restart's data: 5 GB of 1 KiB each.
const RESTART_RECORDS: u64 = 5_000_000_000 / 1024;

/// Runs all cases and writes the results.
pub fn main(options: Options) -> Result<()> {
    let bench = Bench::new(options)?;
    let mut body = start::cases(&bench, &[bench.sabir()])?;
    body += &start::binary_size(&bench)?;
    body += &ingest(&bench)?;
    body += &restart(&bench)?;
    bench.finish("storage", &[bench.sabir()], &body)
}

/// One ingest run.
struct Ingest {
    report: Report,
    peak_mib: f64,
    /// What the kernel counted, and over how many MiB.
    counts: Option<(f64, Counts)>,
    /// Messages that the kernel counted over.
    messages: u64,
}

fn ingest(bench: &Bench) -> Result<String> {
    let wanted = bench.either(3.0, 60.0);
    note(&format!("yardstick, {wanted} s"));
    machine::settle()?;
    let before = disk::measure(&bench.dir, wanted)?;
    let seconds = bounded(bench, wanted, before.large.mb_per_s * 1e6)?;
    let mut runs = Vec::new();
    for producers in [2, 4] {
        runs.push((producers, ingest_run(bench, producers, seconds)?));
    }
    note("yardstick again");
    machine::settle()?;
    let after = disk::measure(&bench.dir, seconds)?;
    Ok(ingest_text(&before, &after, &runs))
}

/// So much of `seconds` as the disk has room for at `bytes_per_s`.
fn bounded(bench: &Bench, seconds: f64, bytes_per_s: f64) -> Result<f64> {
    let room = disk::free_bytes(&bench.dir)?.saturating_sub(SPARE_BYTES) as f64 / bytes_per_s;
    ensure!(room >= 1.0, "too little space is free on {}", bench.dir.display());
    Ok(seconds.min(room))
}

fn ingest_run(bench: &Bench, producers: usize, seconds: f64) -> Result<Ingest> {
    bench.with_broker(&bench.sabir(), |broker, dir| {
        let line = format!("{INGEST} --pubs {producers}");
        let report = bench.load(broker, &format!("{line} --seconds {seconds} --warmup 1"))?;
        let peak_mib = broker.memory()?.peak as f64 / 1024.0;
        let count = report.messages_per_request * bench.either(500, 2000);
        let (counted, counts) = bench.counted(broker, dir, &format!("{line} --count {count}"))?;
        let mib = counted.published as f64 * counted.size as f64 / f64::from(1 << 20);
        let counts = counts.map(|counts| (mib, counts));
        Ok(Ingest { report, peak_mib, counts, messages: counted.published })
    })
}

fn ingest_text(before: &Yardstick, after: &Yardstick, runs: &[(usize, Ingest)]) -> String {
    let yardstick = (before.large.mb_per_s + after.large.mb_per_s) / 2.0;
    format!(
        "\n## Durable ingest\n\nThe yardstick: 1 MiB writes past the page cache into a growing \
         file, each followed by fdatasync; 4 KiB likewise over a file of zeros.\n\n{}\n1 KiB \
         records in 1 MiB batches, 16 partitions, acks=all, 5 requests in flight per producer, \
         fresh space. The share is of the mean of both yardsticks ({} MB/s).\n\n{}",
        disk_table(before, after),
        figure(yardstick),
        ingest_table(yardstick, runs)
    )
}

fn disk_table(before: &Yardstick, after: &Yardstick) -> String {
    let mut table = Table::new(&[
        "the disk by itself",
        "MB/s",
        "GB",
        "p50 µs",
        "p99 µs",
        "4 KiB per s",
        "p50 µs",
        "p99 µs",
    ]);
    for (when, Yardstick { large, small }) in [("before", before), ("after", after)] {
        table.row([
            when.to_owned(),
            figure(large.mb_per_s),
            figure(large.bytes as f64 / 1e9),
            figure(large.us.p50),
            figure(large.us.p99),
            figure(small.per_s),
            figure(small.us.p50),
            figure(small.us.p99),
        ]);
    }
    table.text()
}

fn ingest_table(yardstick: f64, runs: &[(usize, Ingest)]) -> String {
    let mut table = Table::new(&[
        "durable ingest",
        "seconds",
        "MB/s",
        "share",
        "server ms/MiB",
        "generator ms/MiB",
        "syscalls/MiB",
        "fdatasync/MiB",
        "writes/MiB",
        "allocations/msg",
        "ack p50 ms",
        "p99 ms",
        "peak RSS MiB",
    ]);
    for (producers, run) in runs {
        let Ingest { report, peak_mib, counts, messages } = run;
        let per_mib = |count: fn(&Counts) -> u64| {
            maybe(counts.as_ref().map(|(mib, counts)| count(counts) as f64 / mib))
        };
        let allocated = counts.as_ref().and_then(|(_, counts)| counts.allocated);
        let ack = report.ack_us.as_ref();
        table.row([
            format!("{producers} producers"),
            figure(report.seconds),
            figure(report.published_mb_per_s),
            format!("{:.0} %", 100.0 * report.published_mb_per_s / yardstick),
            maybe(report.server.map(|cost| cost.ms_per_mib)),
            figure(report.generator.ms_per_mib),
            per_mib(|counts| counts.syscalls),
            per_mib(|counts| counts.syncs),
            per_mib(|counts| counts.file_writes),
            maybe(allocated.map(|allocated| allocated.blocks as f64 / *messages as f64)),
            maybe(ack.map(|ack| ack.p50 / 1e3)),
            maybe(ack.map(|ack| ack.p99 / 1e3)),
            figure(*peak_mib),
        ]);
    }
    table.text()
}

fn restart(bench: &Bench) -> Result<String> {
    let records = bench.either(200_000, RESTART_RECORDS);
    let product = bench.sabir();
    let dir = bench.fresh_dir();
    machine::settle()?;
    let mut broker = product.start(&dir)?;
    let line = "--partitions 16 --batch-bytes 1048576 --name restart";
    bench.load(&broker, &format!("{line} --pubs 2 --count {records}"))?;
    let mut table = Table::new(&["kill -9 under load, then start", "GB on disk", "ready ms"]);
    for turn in 1..=bench.either(1, 3) {
        let mut load = bench.load_beside(&broker, &format!("{line} --pubs 2 --seconds 600"))?;
        thread::sleep(Duration::from_secs(2));
        broker.kill()?;
        load.wait()?;
        let gigabytes = tree_bytes(&dir.join("data"))? as f64 / 1e9;
        broker = product.start(&dir)?;
        let ready = broker.ready.as_secs_f64() * 1e3;
        table.row([format!("{turn}"), figure(gigabytes), figure(ready)]);
    }
    let read = "--partitions 16 --name restart --pubs 0 --subs 1 --from-start";
    let mut reads = Table::new(&["then read from the start", "MB/s", "server ms/MiB", "records"]);
    let dropped = machine::drop_page_cache();
    for name in [if dropped { "cold" } else { "page cache not dropped" }, "again"] {
        let report = bench.load(&broker, read)?;
        ensure!(
            report.delivered >= records,
            "{records} records were acknowledged, {} are there",
            report.delivered
        );
        reads.row([
            name.to_owned(),
            figure(report.delivered_mb_per_s),
            maybe(report.server.map(|cost| cost.ms_per_mib)),
            report.delivered.to_string(),
        ]);
    }
    broker.stop().context("after the restart cases")?;
    fs::remove_dir_all(&dir)?;
    let (first, second) = (table.text(), reads.text());
    Ok(format!("\n## Restart\n\n{first}\n{records} records were acknowledged.\n\n{second}"))
}

/// Bytes of all files below `dir`.
fn tree_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { tree_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
