//! The command line of `load`: what all protocols share, and what only one of them knows.

use anyhow::{Context, Result, ensure};
use clap::Args;

/// Options of every protocol.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub server: String,
    /// The server's process, whose CPU time is to be reported.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Payload bytes of one message.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Publishing connections.
    #[arg(long, default_value_t = 1)]
    pub pubs: usize,
    /// Consuming connections.
    #[arg(long, default_value_t = 0)]
    pub subs: usize,
    /// Every consumer takes everything, instead of a share.
    #[arg(long)]
    pub fanout: bool,
    /// Requests that a publisher may have unanswered [default: 5; with --rate 10000].
    #[arg(long)]
    pub window: Option<u64>,
    /// Messages per second in all: an open loop, latencies counted from the due time.
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// With --rate: wait busily, which costs a core and avoids late wake-ups.
    #[arg(long)]
    pub spin: bool,
    /// Publish exactly so many messages; without publishers, read so many.
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "warmup"])]
    pub count: Option<u64>,
    /// Measure so long.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds that the load runs before it is measured.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Name of the topic; without --keep the process id is appended.
    #[arg(long, default_value = "sabir-bench")]
    pub name: String,
    /// Use just that name and leave the topic in place; otherwise it is deleted at the end.
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// Checks what the parser cannot, and settles the defaults that depend on other options.
    ///
    /// # Errors
    /// Options that make no sense, named.
    pub fn resolve(mut self) -> Result<Self> {
        ensure!(self.pubs + self.subs > 0, "neither publishers nor consumers: --pubs or --subs");
        ensure!(self.pubs <= 10_000 && self.subs <= 10_000, "--pubs and --subs are at most 10000");
        ensure!(self.size <= 1 << 28, "--size is at most 256 MiB");
        ensure!(self.window != Some(0), "--window is at least 1");
        ensure!(self.seconds > 0.0 && self.warmup >= 0.0, "--seconds and --warmup are positive");
        if let Some(rate) = self.rate {
            ensure!(rate > 0.0 && rate.is_finite(), "--rate is positive");
            ensure!(self.pubs > 0, "--rate needs publishers");
            ensure!(self.size >= 8, "--rate puts a time stamp of 8 bytes into the payload: --size");
        }
        if !self.keep {
            self.name = format!("{}-{}", self.name, std::process::id());
        }
        Ok(self)
    }

    /// Requests in flight per publisher.
    pub fn requests_in_flight(&self) -> u64 {
        self.window.unwrap_or(if self.rate.is_some() { 10_000 } else { 5 })
    }
}

/// Options of Kafka.
#[derive(Args, Clone, Debug)]
pub struct KafkaOptions {
    #[command(flatten)]
    pub common: Common,
    /// Partitions of the topic, shared out in turn.
    #[arg(long, default_value_t = 1)]
    pub partitions: usize,
    /// Records per batch and request.
    #[arg(long, value_name = "RECORDS")]
    pub batch: Option<usize>,
    /// Or as many as fit into so many bytes [default: 1048576].
    #[arg(long, value_name = "BYTES")]
    pub batch_bytes: Option<usize>,
    /// Who must have the record before it is acknowledged: all, 1 or 0.
    #[arg(long, default_value = "all", value_parser = acks)]
    pub acks: i16,
    /// Consume from the first record on, instead of the next.
    #[arg(long)]
    pub from_start: bool,
    /// Bytes per partition and fetch.
    #[arg(long, default_value_t = 1 << 20)]
    pub fetch_bytes: i32,
    /// How long a fetch may wait for records.
    #[arg(long, default_value_t = 500)]
    pub max_wait_ms: i32,
    /// Setting of the topic to be created.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub topic_config: Vec<(String, String)>,
}

fn acks(text: &str) -> Result<i16> {
    match text {
        "all" | "-1" => Ok(-1),
        "0" => Ok(0),
        "1" => Ok(1),
        _ => anyhow::bail!("all, 1 or 0"),
    }
}

fn key_value(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').context("KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Which of `things` the connection `index` of `connections` takes: in turn, at least one.
pub fn share(things: usize, index: usize, connections: usize) -> Vec<usize> {
    if things <= connections {
        return vec![index % things];
    }
    (index..things).step_by(connections).collect()
}

/// The part of `total` that falls to `index` of `parts`, the first ones taking one more.
pub fn portion(total: u64, index: usize, parts: usize) -> u64 {
    let (index, parts) = (index as u64, parts as u64);
    total / parts + u64::from(index < total % parts)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: KafkaOptions,
    }

    fn parse(line: &str) -> Result<KafkaOptions> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let mut options = Line::try_parse_from(words)?.options;
        options.common = options.common.resolve()?;
        Ok(options)
    }

    #[test]
    fn values_and_defaults() {
        let o = parse("--size 16 --pubs=3 --acks all --topic-config a=b=c --keep --name x");
        let o = o.expect("well formed");
        assert_eq!((o.common.size, o.common.pubs, o.common.subs, o.acks), (16, 3, 0, -1));
        assert_eq!(o.topic_config, [("a".to_owned(), "b=c".to_owned())]);
        assert_eq!((o.common.name.as_str(), o.common.requests_in_flight()), ("x", 5));
        let o = parse("--rate 10").expect("well formed");
        assert_eq!(o.common.requests_in_flight(), 10_000);
        assert_eq!(o.common.name, format!("sabir-bench-{}", std::process::id()));
        assert_eq!(parse("--rate 10 --window 7").expect("fine").common.requests_in_flight(), 7);
    }

    #[test]
    fn mistakes_are_named() {
        let refuse = |line: &str, part: &str| {
            let error = parse(line).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(part), "{line}: {error}");
        };
        refuse("--pubs 0", "neither");
        refuse("--acks 2", "all, 1 or 0");
        refuse("--size big", "invalid digit");
        refuse("--rate 0", "--rate is positive");
        refuse("--rate 5 --size 7", "--size");
        refuse("--rate 5 --pubs 0 --subs 1", "needs publishers");
        refuse("--window 0", "--window");
        refuse("--count 5 --seconds 2", "cannot be used");
        refuse("--topic-config a", "KEY=VALUE");
        refuse("--seconds 0", "--seconds");
        refuse("--no-such", "unexpected");
    }

    #[test]
    fn partitions_are_shared_out_in_turn() {
        assert_eq!(share(5, 0, 2), [0, 2, 4]);
        assert_eq!(share(5, 1, 2), [1, 3]);
        assert_eq!(share(5, 6, 7), [1]);
        for (total, parts) in [(10, 3), (2, 5), (0, 1), (7, 7)] {
            let sum: u64 = (0..parts).map(|index| portion(total, index, parts)).sum();
            assert_eq!(sum, total);
        }
    }
}
