//! `micro`: the same core behind the locks of its shards and behind mailboxes, under the same load,
//! inside of this process. What it finds is in `docs/decisions/0004-shards-behind-locks.md`.

mod door;
pub mod publish;
mod run;
mod sink;

use std::fs;

use anyhow::Result;
use clap::Args;

use crate::bench::{Bench, Options as Shared, note};
use crate::machine;
use crate::process;
use crate::table::{Table, figure, maybe, median};
use run::{Case, Kind, Place, Seen};

/// Options of `micro`.
#[derive(Args)]
pub struct Options {
    /// Write to the real disk; by default everything but the writing itself is done.
    #[arg(long)]
    real: bool,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

/// Name, what a connection does, and arrivals per second of the open loop.
const KINDS: [(&str, Kind, f64); 3] = [
    ("append, 5 out", Kind::Appends(5), 20_000.0),
    ("append, flush of 64", Kind::Flush(64), 1_000.0),
    ("fetch 64 KiB, 5 out", Kind::Fetches(5), 20_000.0),
];
const CONNECTIONS: [usize; 3] = [1, 100, 10_000];
const PARTITIONS: [u32; 2] = [1, 16];
const ROUNDS: usize = 5;

const HEAD: &str = "\
The core as the server runs it, appended to and fetched from by tasks that stand for connections,
on as many threads as there are cores. *lock*: the task itself enters the shard. *mailbox*: a task
per shard takes up to 64 works out of a bounded channel, enters once for all of them, and answers
each by a channel per connection. Appends are batches of one 1 KiB record; a fetch finds batches
of 16 KiB in memory. With one partition all work is for one shard, with 16 for 16.

Latency is from a request's arrival at its connection until its outcome, which is not yet durable;
of a flush, until its last outcome. *Flat out* is a closed loop: requests wait for their
connection's turn, so their latency is the number of requests that are out over the rate, and says
nothing by itself. *At a rate* they arrive from a thread of their own, over all connections in
turn. CPU time is that of the process, with the WAL's threads and the bundler, per append or
fetch. *Waits* are for room in the stage, which takes 4 MiB. Lock and mailbox take turns; each
figure is the median of its rounds.
";

/// Runs all cases and writes the results.
pub fn main(options: Options) -> Result<()> {
    let bench = Bench::new(options.shared)?;
    process::end_sleeps_on_time();
    let mut table = Table::new(&[
        "case",
        "connections",
        "partitions",
        "shard behind",
        "flat out: ops/s",
        "CPU µs/op",
        "waits/1000 ops",
        "p50 µs",
        "p99",
        "p99.9",
        "at a rate: p50 µs",
        "p99",
        "p99.9",
    ]);
    for (name, kind, rate) in KINDS {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        for connections in CONNECTIONS {
            for partitions in PARTITIONS {
                let of = |mailboxes| Case { kind, connections, partitions, mailboxes };
                let cases = [of(false), of(true)];
                for (case, seen) in cases.iter().zip(in_turn(&bench, cases, options.real, rate)?) {
                    table.row(row(name, case, &seen));
                }
            }
        }
    }
    let rates = KINDS.map(|(name, _, rate)| format!("{name}: {}/s", figure(rate))).join("; ");
    let disk = if options.real {
        "The broker writes to the real disk."
    } else {
        "The WAL and the bundler do their work, but what they write is dropped, and a sync takes \
         100 µs."
    };
    let text = format!("\n{HEAD}\nArrivals at a rate: {rates}. {disk}\n\n{}", table.text());
    bench.finish(if options.real { "micro-real" } else { "micro" }, &[], &text)
}

/// What was seen of one case: flat out and at a rate, by round.
#[derive(Default)]
struct Rounds {
    flat_out: Vec<Seen>,
    at_rate: Vec<Seen>,
}

/// Runs both cases in turn, so that whatever else the machine does meets both.
fn in_turn(bench: &Bench, cases: [Case; 2], real: bool, rate: f64) -> Result<[Rounds; 2]> {
    let mut rounds = [Rounds::default(), Rounds::default()];
    for _ in 0..bench.either(1, ROUNDS) {
        for (case, rounds) in cases.iter().zip(&mut rounds) {
            note(&format!("{case:?}; load {}", machine::load()));
            rounds.flat_out.push(one(bench, *case, real, None)?);
            rounds.at_rate.push(one(bench, *case, real, Some(rate))?);
        }
    }
    Ok(rounds)
}

fn one(bench: &Bench, case: Case, real: bool, rate: Option<f64>) -> Result<Seen> {
    let dir = bench.fresh_dir();
    fs::create_dir_all(&dir)?;
    let seconds = bench.either(0.2, 0.7);
    let seen = run::run(case, Place { dir: &dir, real }, rate, seconds);
    fs::remove_dir_all(&dir)?;
    seen
}

fn row(name: &str, case: &Case, rounds: &Rounds) -> [String; 13] {
    let middle =
        |seen: &[Seen], figure: fn(&Seen) -> f64| maybe(median(seen.iter().map(figure).collect()));
    let (flat_out, at_rate) = (&rounds.flat_out, &rounds.at_rate);
    [
        name.to_owned(),
        case.connections.to_string(),
        case.partitions.to_string(),
        (if case.mailboxes { "mailbox" } else { "lock" }).to_owned(),
        middle(flat_out, |seen| seen.per_s),
        middle(flat_out, |seen| seen.cpu_us),
        middle(flat_out, |seen| seen.waits * 1e3),
        middle(flat_out, |seen| seen.us.p50),
        middle(flat_out, |seen| seen.us.p99),
        middle(flat_out, |seen| seen.us.p99_9),
        middle(at_rate, |seen| seen.us.p50),
        middle(at_rate, |seen| seen.us.p99),
        middle(at_rate, |seen| seen.us.p99_9),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_doors_let_every_kind_of_work_in() {
        let dir = std::env::temp_dir().join(format!("micro-{}", std::process::id()));
        for kind in [Kind::Appends(5), Kind::Flush(8), Kind::Fetches(2)] {
            for (mailboxes, rate) in [(false, None), (true, None), (true, Some(1000.0))] {
                let case = Case { kind, connections: 3, partitions: 2, mailboxes };
                fs::create_dir_all(&dir).expect("a temporary directory");
                let seen = run::run(case, Place { dir: &dir, real: false }, rate, 0.1);
                let seen = seen.expect("it runs");
                assert!(seen.per_s > 10.0 && seen.us.count > 0, "{case:?}: {}/s", seen.per_s);
                fs::remove_dir_all(&dir).expect("made above");
            }
        }
    }
}
