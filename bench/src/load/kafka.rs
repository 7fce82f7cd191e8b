//! Kafka: batches encoded once and produced again and again, and fetches that read no further than
//! the headers of batches. One broker must lead all partitions; no compression, TLS or groups.

mod batch;
mod fetch;
mod wire;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::engine::{Answers, Consumer, Plan, Publisher, Stamp, Taken};
use super::options::{KafkaOptions, share};
use super::{Protocol, connect};
use fetch::{FETCH, FetchReader, Fetches};
use wire::{Api, Fields, Request, answer_len, check};

const PRODUCE: Api = Api { name: "Produce", key: 0, version: 8 };
const LIST_OFFSETS: Api = Api { name: "ListOffsets", key: 2, version: 1 };
const METADATA: Api = Api { name: "Metadata", key: 3, version: 4 };
const API_VERSIONS: Api = Api { name: "ApiVersions", key: 18, version: 0 };
const CREATE_TOPICS: Api = Api { name: "CreateTopics", key: 19, version: 2 };
const DELETE_TOPICS: Api = Api { name: "DeleteTopics", key: 20, version: 1 };

const TOPIC_ALREADY_EXISTS: i16 = 36;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// How long a new topic may take until every partition of it answers.
const TOPIC_READY_WITHIN: Duration = Duration::from_secs(20);
const REQUEST_TIMEOUT_MS: i32 = 30_000;

/// A run against a Kafka server.
pub struct Kafka {
    options: KafkaOptions,
    records: usize,
    now_ms: i64,
}

impl Kafka {
    /// # Errors
    /// Options that exclude each other or lie outside of what the protocol can say.
    pub fn new(options: KafkaOptions) -> Result<Self> {
        let size = options.common.size;
        let records = match (options.batch, options.batch_bytes) {
            (Some(_), Some(_)) => bail!("--batch and --batch-bytes exclude each other"),
            (Some(records), None) => records,
            (None, bytes) => batch::records_within(bytes.unwrap_or(1 << 20), size),
        };
        let bytes = records.checked_mul(size + 32).filter(|&bytes| bytes < 1 << 30);
        ensure!(bytes.is_some() && records > 0, "a batch holds 1 record to 1 GiB of them");
        ensure!((1..=100_000).contains(&options.partitions), "--partitions is 1 to 100000");
        ensure!(options.common.name.len() <= 200, "--name is at most 200 bytes");
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self { records, now_ms: i64::try_from(now.as_millis())?, options })
    }

    fn open(&self) -> Result<TcpStream> {
        connect(&self.options.common.server)
    }

    fn topic(&self) -> &str {
        &self.options.common.name
    }

    /// The requests that send `records` records at once to each of `partitions` in turn.
    fn plan(&self, partitions: &[usize], records: usize) -> Result<Plan> {
        let batch = batch::encode(records, self.options.common.size, self.now_ms);
        let len = i32::try_from(batch.bytes.len())?;
        let mut heads = Vec::new();
        for &partition in partitions {
            let request = Request::new(PRODUCE)
                .i16(-1) // no transaction
                .i16(self.options.acks)
                .i32(REQUEST_TIMEOUT_MS)
                .i32(1)
                .string(self.topic())
                .i32(1)
                .i32(i32::try_from(partition)?)
                .i32(len);
            heads.push(request.finish(batch.bytes.len()));
        }
        let stamp = (self.options.common.size >= 8)
            .then_some(Stamp { at: batch.value_at, seal: batch::seal });
        Ok(Plan { heads, body: batch.bytes, messages: records as u64, stamp })
    }

    /// The offset of `partition` at `time`, which is `EARLIEST` or `LATEST`.
    fn offset(&self, stream: &mut TcpStream, partition: usize, time: i64) -> Result<i64> {
        let request = Request::new(LIST_OFFSETS).i32(-1).i32(1).string(self.topic());
        let request = request.i32(1).i32(i32::try_from(partition)?).i64(time);
        let answer = call(stream, request)?;
        let mut fields = Fields::new(&answer);
        fields.i32()?;
        fields.string()?;
        fields.i32()?;
        fields.i32()?;
        check(fields.i16()?, "ListOffsets")?;
        fields.i64()?;
        fields.i64()
    }

    fn create_topic(&self, stream: &mut TcpStream) -> Result<()> {
        let mut request = Request::new(CREATE_TOPICS)
            .i32(1)
            .string(self.topic())
            .i32(i32::try_from(self.options.partitions)?)
            .i16(1)
            .i32(0)
            .i32(i32::try_from(self.options.topic_config.len())?);
        for (key, value) in &self.options.topic_config {
            request = request.string(key).string(value);
        }
        let answer = call(stream, request.i32(REQUEST_TIMEOUT_MS).i8(0))?;
        let mut fields = Fields::new(&answer);
        fields.i32()?;
        fields.i32()?;
        fields.string()?;
        match fields.i16()? {
            TOPIC_ALREADY_EXISTS => Ok(()),
            code => check(code, "CreateTopics"),
        }
    }

    /// Whether every partition has a leader that answers: Kafka announces one before it leads.
    fn check_topic(&self, stream: &mut TcpStream) -> Result<()> {
        let partitions = partitions_of(stream, self.topic())?;
        ensure!(
            partitions >= self.options.partitions,
            "the topic has {partitions} partitions, not {}: take another --name",
            self.options.partitions
        );
        for partition in 0..self.options.partitions {
            self.offset(stream, partition, LATEST)?;
        }
        Ok(())
    }

    fn consumed(&self, index: usize) -> Vec<usize> {
        let of = if self.options.common.fanout { 1 } else { self.options.common.subs };
        share(self.options.partitions, index % of, of)
    }
}

impl Protocol for Kafka {
    fn prepare(&self) -> Result<()> {
        let mut stream = self.open()?;
        let served = served(&mut stream)?;
        for api in [PRODUCE, FETCH, LIST_OFFSETS, METADATA] {
            ensure!(served.takes(api), "the server does not take {} {}", api.name, api.version);
        }
        if served.takes(CREATE_TOPICS) {
            self.create_topic(&mut stream)?;
        }
        let began = Instant::now();
        while let Err(error) = self.check_topic(&mut stream) {
            if began.elapsed() > TOPIC_READY_WITHIN {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn messages_per_request(&self) -> u64 {
        self.records as u64
    }

    fn publisher(&self, index: usize, messages: Option<u64>) -> Result<Publisher> {
        let partitions = share(self.options.partitions, index, self.options.common.pubs);
        let per_request = self.records as u64;
        let rest = usize::try_from(messages.unwrap_or(0) % per_request)?;
        Ok(Publisher {
            stream: self.open()?,
            plan: self.plan(&partitions, self.records)?,
            requests: messages.map_or(u64::MAX, |messages| messages / per_request),
            last: (rest > 0).then(|| self.plan(&partitions[..1], rest)).transpose()?,
            answers: (self.options.acks != 0).then(|| Box::new(ProduceAnswers) as Box<dyn Answers>),
        })
    }

    fn consumer(&self, index: usize) -> Result<Consumer> {
        let mut stream = self.open()?;
        let from = if self.options.from_start { EARLIEST } else { LATEST };
        let mut next = BTreeMap::new();
        for partition in self.consumed(index) {
            let offset = self.offset(&mut stream, partition, from)?;
            next.insert(i32::try_from(partition)?, offset);
        }
        let reader = FetchReader::new(Fetches {
            topic: self.topic().to_owned(),
            bytes_max: self.options.fetch_bytes,
            wait_ms: self.options.max_wait_ms,
            next,
        });
        Ok(Consumer { stream, deliveries: Box::new(reader) })
    }

    fn backlog(&self) -> Result<u64> {
        let mut stream = self.open()?;
        let mut total = 0;
        for partition in 0..self.options.partitions {
            let end = self.offset(&mut stream, partition, LATEST)?;
            total += (end - self.offset(&mut stream, partition, EARLIEST)?).cast_unsigned();
        }
        Ok(total)
    }

    fn clean_up(&self) -> Result<()> {
        let mut stream = self.open()?;
        if !served(&mut stream)?.takes(DELETE_TOPICS) {
            return Ok(());
        }
        let request = Request::new(DELETE_TOPICS).i32(1).string(self.topic());
        let answer = call(&mut stream, request.i32(REQUEST_TIMEOUT_MS))?;
        let mut fields = Fields::new(&answer);
        fields.i32()?;
        fields.i32()?;
        fields.string()?;
        check(fields.i16()?, "DeleteTopics")
    }
}

/// Whether a server at `address` answers Metadata, which is what a client asks first.
///
/// # Errors
/// It cannot be reached or does not answer as a broker that is ready.
pub fn probe(address: &str) -> Result<()> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let answer = call(&mut stream, Request::new(METADATA).i32(0).i8(0))?;
    let mut fields = Fields::new(&answer);
    fields.i32()?;
    ensure!(fields.len()? > 0, "the server names no broker yet");
    Ok(())
}

/// The ranges of versions that a server takes.
struct Served(Vec<(i16, i16, i16)>);

impl Served {
    fn takes(&self, api: Api) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|&(key, low, high)| key == api.key && (low..=high).contains(&api.version))
    }
}

fn served(stream: &mut TcpStream) -> Result<Served> {
    let answer = call(stream, Request::new(API_VERSIONS))?;
    let mut fields = Fields::new(&answer);
    check(fields.i16()?, API_VERSIONS.name)?;
    let count = fields.len()?;
    let ranges = (0..count).map(|_| Ok((fields.i16()?, fields.i16()?, fields.i16()?)));
    Ok(Served(ranges.collect::<Result<_>>()?))
}

fn partitions_of(stream: &mut TcpStream, topic: &str) -> Result<usize> {
    let answer = call(stream, Request::new(METADATA).i32(1).string(topic).i8(1))?;
    let mut fields = Fields::new(&answer);
    fields.i32()?;
    for _ in 0..fields.len()? {
        fields.i32()?;
        fields.string()?;
        fields.i32()?;
        fields.string()?;
    }
    fields.string()?;
    fields.i32()?;
    ensure!(fields.len()? == 1, "the server does not answer for the topic");
    check(fields.i16()?, "the topic")?;
    fields.string()?;
    fields.i8()?;
    let partitions = fields.len()?;
    for _ in 0..partitions {
        check(fields.i16()?, "a partition")?;
        fields.i32()?;
        fields.i32()?;
        for _ in 0..2 {
            let nodes = fields.len()?;
            fields.bytes(nodes * 4)?;
        }
    }
    Ok(partitions)
}

/// Sends a request and waits for the body of its answer.
fn call(stream: &mut TcpStream, request: Request) -> Result<Vec<u8>> {
    stream.write_all(&request.finish(0))?;
    let mut len = [0; 4];
    stream.read_exact(&mut len).context("no answer")?;
    let mut answer = vec![0; answer_len(len)?];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}

struct ProduceAnswers;

impl Answers for ProduceAnswers {
    fn take(&mut self, input: &[u8]) -> Result<Taken> {
        let mut taken = Taken::default();
        while let Some(len) = input[taken.bytes..].first_chunk() {
            let end = taken.bytes + 4 + answer_len(*len)?;
            let Some(answer) = input.get(taken.bytes + 8..end) else { break };
            let mut fields = Fields::new(answer);
            ensure!(fields.len()? == 1, "an answer to Produce without the topic");
            fields.string()?;
            ensure!(fields.len()? == 1, "an answer to Produce without the partition");
            let partition = fields.i32()?;
            check(fields.i16()?, &format!("Produce to partition {partition}"))?;
            taken.bytes = end;
            taken.requests += 1;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
