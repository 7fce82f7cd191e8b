//! `kafka`: the cases of the Kafka protocol, on Sabir alone or in turn with Apache Kafka. Every
//! run has a fresh broker on an empty directory.

mod shown;

use std::path::Path;

use anyhow::{Result, ensure};
use clap::Args;

use crate::bench::{Bench, Options as Shared, note};
use crate::broker::Product;
use crate::latency::Summary;
use crate::load::report::Report;
use crate::machine;
use crate::start;
use crate::table::{Table, figure, maybe};
use shown::Shown;

/// Options of `kafka`.
#[derive(Args)]
pub struct Options {
    /// Measure Sabir alone.
    #[arg(long = "self")]
    alone: bool,
    /// Measure Sabir and Apache Kafka in turn.
    #[arg(long, conflicts_with = "alone")]
    peer: bool,
    /// With --peer: also Apache Kafka with a sync for every message, as durable as Sabir.
    #[arg(long, requires = "peer")]
    durable_peer: bool,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

/// A load that runs for a while.
struct Case {
    name: &'static str,
    line: &'static str,
    /// Requests of the run in which the kernel counts: in all, and with `--quick`.
    counted: [u64; 2],
}

const RATES: &[Case] = &[
    Case {
        name: "1 KiB in 1 MiB batches, 2 producers, 16 partitions",
        line: "--pubs 2 --partitions 16 --batch-bytes 1048576",
        counted: [2000, 200],
    },
    Case {
        name: "1 KiB in 1 MiB batches, 4 producers, 16 partitions",
        line: "--pubs 4 --partitions 16 --batch-bytes 1048576",
        counted: [2000, 200],
    },
    Case {
        name: "1 KiB in 16 KiB batches, 4 producers, 5 in flight",
        line: "--pubs 4 --partitions 16 --batch-bytes 16384",
        counted: [50_000, 2000],
    },
    Case {
        name: "1 KiB in 16 KiB batches, 4 producers, 50 in flight",
        line: "--pubs 4 --partitions 16 --batch-bytes 16384 --window 50",
        counted: [50_000, 2000],
    },
    Case {
        name: "one 1 KiB record per request, 4 producers, 5 in flight",
        line: "--pubs 4 --partitions 4 --batch 1",
        counted: [100_000, 5000],
    },
    Case {
        name: "one 1 KiB record per request, 8 producers, 200 in flight",
        line: "--pubs 8 --partitions 8 --batch 1 --window 200",
        counted: [200_000, 5000],
    },
    Case {
        name: "100 B in 1 MiB batches, 2 producers, 16 partitions",
        line: "--pubs 2 --partitions 16 --batch-bytes 1048576 --size 100",
        counted: [2000, 200],
    },
    Case {
        name: "1 KiB, 1 producer and 1 tail consumer, 16 partitions",
        line: "--pubs 1 --subs 1 --partitions 16 --batch-bytes 1048576",
        counted: [2000, 200],
    },
    Case {
        name: "1 KiB, 1 producer and 3 tail consumers of everything",
        line: "--pubs 1 --subs 3 --fanout --partitions 16 --batch-bytes 1048576",
        counted: [2000, 200],
    },
];

const LATENCIES: [(&str, &str); 2] = [
    ("1,000/s", "--rate 1000 --pubs 1 --subs 1 --partitions 2 --batch 1"),
    ("5,000/s", "--rate 5000 --pubs 1 --subs 1 --partitions 2 --batch 1"),
];

/// Runs all cases and writes the results.
pub fn main(options: Options) -> Result<()> {
    ensure!(options.alone || options.peer, "say --self or --peer");
    let bench = Bench::new(options.shared)?;
    let mut products = vec![bench.sabir()];
    if options.peer {
        products.push(apache_kafka("Kafka, no sync", &[]));
    }
    if options.durable_peer {
        products.push(apache_kafka("Kafka, synced", &["log.flush.interval.messages=1"]));
    }
    let cases = Cases { bench: &bench, products: &products, only: options.only };
    let mut body = String::new();
    if cases.wanted("start") {
        body += &start::cases(&bench, &products)?;
    }
    body += &cases.rates()?;
    body += &cases.latencies()?;
    body += &cases.catch_up()?;
    bench.finish(if options.peer { "kafka-peer" } else { "kafka-self" }, &products, &body)
}

fn apache_kafka(name: &'static str, settings: &'static [&'static str]) -> Product {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/kafka/kafka");
    Product::Kafka { script, name, settings }
}

struct Cases<'a> {
    bench: &'a Bench,
    products: &'a [Product],
    only: Option<String>,
}

impl Cases<'_> {
    fn wanted(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Lets the products do the same in turn, A B A B, each time on an empty directory, and in the
    /// last round once more for `requests` requests while the kernel counts.
    fn in_turn(&self, name: &str, line: &str, requests: Option<u64>) -> Result<Vec<Shown>> {
        let mut shown: Vec<_> = self.products.iter().map(|p| Shown::new(p.name())).collect();
        let rounds = self.bench.either(1, 2);
        let seconds = self.bench.either("--seconds 2 --warmup 1", "--seconds 10 --warmup 5");
        for round in 1..=rounds {
            for (product, shown) in self.products.iter().zip(&mut shown) {
                let load = machine::load();
                note(&format!("{name}: {}, {round} of {rounds}; load {load}", product.name()));
                self.bench.with_broker(product, |broker, dir| {
                    let timed = self.bench.load(broker, &format!("{line} {seconds}"))?;
                    let per_request = timed.messages_per_request;
                    shown.reports.push(timed);
                    let peak = broker.memory()?.peak as f64 / 1024.0;
                    shown.peak_mib = shown.peak_mib.max(peak);
                    if let Some(requests) = requests.filter(|_| round == rounds) {
                        let count = requests * per_request;
                        let line = format!("{line} --name counted --count {count}");
                        let (report, counts) = self.bench.counted(broker, dir, &line)?;
                        let messages = report.published.max(report.delivered);
                        shown.counted = counts.map(|counts| (messages, counts));
                    }
                    Ok(())
                })?;
            }
        }
        Ok(shown)
    }

    fn rates(&self) -> Result<String> {
        let mut text = String::new();
        for case in RATES.iter().filter(|case| self.wanted(case.name)) {
            let requests = self.bench.either(case.counted[1], case.counted[0]);
            let shown = self.in_turn(case.name, case.line, Some(requests))?;
            text += &format!("\n### {}\n\n{}", case.name, shown::tables(&shown));
        }
        if text.is_empty() {
            return Ok(text);
        }
        let head = "\n## Rates\n\nAcks=all; 5 requests in flight per producer unless it says more. \
                    What the kernel counts is over an exact number of messages. Where the \
                    generator takes more than half of the server's CPU time (marked *), the \
                    server's time is the result, not the rate.\n";
        Ok(format!("{head}{text}"))
    }

    fn latencies(&self) -> Result<String> {
        let mut table = Table::new(&[
            "µs from the due time",
            "ack p50",
            "p99",
            "p99.9",
            "max",
            "delivery p50",
            "p99",
            "p99.9",
            "max",
            "send lag p99",
            "server µs/msg",
        ]);
        let wanted = LATENCIES.iter().filter(|(name, _)| self.wanted(&format!("latency {name}")));
        let wanted: Vec<_> = wanted.collect();
        for (name, line) in &wanted {
            let shown = self.in_turn(&format!("latency at {name}"), line, None)?;
            for (product, shown) in self.products.iter().zip(&shown) {
                let mut row = vec![format!("{name}, {}", product.name())];
                for kind in [|r: &Report| r.ack_us.clone(), |r: &Report| r.delivery_us.clone()] {
                    for at in [
                        |us: Summary| us.p50,
                        |us: Summary| us.p99,
                        |us: Summary| us.p99_9,
                        |us: Summary| us.max,
                    ] {
                        row.push(maybe(shown.mean(|report| kind(report).map(at))));
                    }
                }
                row.push(maybe(shown.mean(|r| r.send_lag_us.as_ref().map(|us| us.p99))));
                row.push(maybe(shown.server(|cost| cost.us_per_message)));
                table.row(row);
            }
        }
        if wanted.is_empty() {
            return Ok(String::new());
        }
        let head = "One 1 KiB record per request, 2 partitions, one producer and one tail \
                    consumer, acks=all; an open loop. Where the send lag comes near the latencies, \
                    the machine is too busy for them to say much.";
        Ok(format!("\n## Latency at a fixed rate\n\n{head}\n\n{}", table.text()))
    }

    fn catch_up(&self) -> Result<String> {
        if !self.wanted("catch-up") {
            return Ok(String::new());
        }
        let mut table = Table::new(&[
            "reading from the start",
            "messages/s",
            "MB/s",
            "server µs/msg",
            "ms/MiB",
            "generator µs/msg",
        ]);
        let records = self.bench.either(200_000, 2_000_000);
        for product in self.products {
            note(&format!("catch-up: {}", product.name()));
            self.bench.with_broker(product, |broker, _| {
                let fill = format!("--pubs 2 --partitions 16 --name old --count {records}");
                self.bench.load(broker, &fill)?;
                let line = "--pubs 0 --subs 1 --partitions 16 --from-start --name old";
                let dropped = machine::drop_page_cache();
                for what in [if dropped { "cold" } else { "as it is" }, "again", "and again"] {
                    let report = self.bench.load(broker, line)?;
                    ensure!(report.delivered == records, "{} were delivered", report.delivered);
                    table.row([
                        format!("{}, {what}", product.name()),
                        figure(report.delivered_per_s),
                        figure(report.delivered_mb_per_s),
                        maybe(report.server.map(|cost| cost.us_per_message)),
                        maybe(report.server.map(|cost| cost.ms_per_mib)),
                        figure(report.generator.us_per_message),
                    ]);
                }
                Ok(())
            })?;
        }
        let head = format!("{records} records of 1 KiB in 16 partitions, one consumer.");
        Ok(format!("\n## Catch-up\n\n{head}\n\n{}", table.text()))
    }
}
