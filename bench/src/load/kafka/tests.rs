//! Whole runs against a server that lives in a thread of the test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use clap::Parser;

use super::*;
use crate::load::report::Report;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: KafkaOptions,
}

/// A server that keeps the batches it is sent, answers Produce only when `hold` requests are
/// waiting on a connection (or nothing more comes), and serves what it keeps to consumers.
#[derive(Default)]
struct Fake {
    hold: usize,
    /// Whether it waits to see that no more than `hold` requests come.
    strict: bool,
    partitions: Vec<Mutex<Vec<Vec<u8>>>>,
    most_waiting: AtomicUsize,
    fails: AtomicBool,
}

impl Fake {
    fn start(self) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let fake = Arc::new(self);
        let server = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (server.clone(), stream.expect("accepted"));
                thread::spawn(move || server.serve(stream));
            }
        });
        (fake, address)
    }

    /// Ends with the connection.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut waiting = Vec::new();
        loop {
            let patience = Duration::from_millis(if self.strict { 60 } else { 5 });
            let idle = (!waiting.is_empty()).then_some(patience);
            stream.set_read_timeout(idle).ok()?;
            let mut len = [0; 4];
            if stream.read_exact(&mut len).is_err() {
                let answers: Vec<_> = waiting.drain(..).flatten().collect();
                stream.write_all(&answers).ok().filter(|()| !answers.is_empty())?;
                continue;
            }
            stream.set_read_timeout(None).ok()?;
            let mut request = vec![0; answer_len(len).ok()?];
            stream.read_exact(&mut request).ok()?;
            let mut fields = Fields::new(&request);
            let (key, _) = (fields.i16().ok()?, fields.i16().ok()?);
            let id = fields.i32().ok()?;
            fields.string().ok()?;
            let body = self.answer(key, &mut fields).ok()?;
            let len = i32::try_from(4 + body.len()).ok()?;
            let answer = [&len.to_be_bytes()[..], &id.to_be_bytes(), &body].concat();
            if key == PRODUCE.key {
                waiting.push(answer);
                self.most_waiting.fetch_max(waiting.len(), SeqCst);
                if self.strict || waiting.len() < self.hold {
                    continue;
                }
            } else {
                waiting.push(answer);
            }
            stream.write_all(&waiting.concat()).ok()?;
            waiting.clear();
        }
    }

    fn answer(&self, key: i16, fields: &mut Fields<'_>) -> Result<Vec<u8>> {
        let empty = || Body(Vec::new());
        let partitions = i32::try_from(self.partitions.len())?;
        Ok(match key {
            18 => {
                let keys = [PRODUCE, FETCH, LIST_OFFSETS, METADATA, CREATE_TOPICS];
                keys.iter().fold(empty().i16(0).i32(5), |body, api| {
                    body.i16(api.key).i16(api.version).i16(api.version)
                })
            }
            19 => empty().i32(0).i32(1).string("t").i16(0).i16(-1),
            3 => {
                let body = empty().i32(0).i32(1).i32(1).string("h").i32(1).i16(-1).i16(-1).i32(1);
                let body = body.i32(1).i16(0).string("t").i8(0).i32(partitions);
                (0..partitions).fold(body, |body, partition| {
                    body.i16(0).i32(partition).i32(1).i32(1).i32(1).i32(1).i32(1)
                })
            }
            2 => {
                fields.i32()?;
                fields.i32()?;
                fields.string()?;
                fields.i32()?;
                let partition = fields.i32()?;
                let end = if fields.i64()? == LATEST { self.end(partition) } else { 0 };
                empty().i32(1).string("t").i32(1).i32(partition).i16(0).i64(-1).i64(end)
            }
            0 => self.produce(fields)?,
            1 => self.fetch(fields)?,
            other => bail!("a request of key {other}"),
        }
        .0)
    }

    fn end(&self, partition: i32) -> i64 {
        let batches = self.partitions[partition as usize].lock().expect("no panic");
        batches.last().map_or(0, |last| batch::header(last).expect("kept").end_offset)
    }

    fn produce(&self, fields: &mut Fields<'_>) -> Result<Body> {
        fields.string()?;
        fields.i16()?;
        fields.i32()?;
        fields.i32()?;
        fields.string()?;
        fields.i32()?;
        let partition = fields.i32()?;
        let len = fields.len()?;
        let mut bytes = fields.bytes(len)?.to_vec();
        let header = batch::header(&bytes)?;
        assert_eq!(header.len, bytes.len());
        let mut sealed = bytes.clone();
        batch::seal(&mut sealed);
        assert!(sealed == bytes, "the checksum is wrong");
        bytes[..8].copy_from_slice(&self.end(partition).to_be_bytes());
        self.partitions[partition as usize].lock().expect("no panic").push(bytes);
        let code = if self.fails.load(SeqCst) { 10 } else { 0 };
        let body = Body(Vec::new()).i32(1).string("t").i32(1).i32(partition).i16(code);
        Ok(body.i64(0).i64(-1).i64(0).i32(0).i16(-1).i32(0))
    }

    fn fetch(&self, fields: &mut Fields<'_>) -> Result<Body> {
        fields.bytes(4 + 4 + 4 + 4 + 1 + 4 + 4 + 4)?;
        fields.string()?;
        let count = fields.len()?;
        let head = Body(Vec::new()).i32(0).i16(0).i32(0).i32(1).string("t");
        let mut body = head.i32(i32::try_from(count)?);
        for _ in 0..count {
            let partition = fields.i32()?;
            fields.i32()?;
            let from = fields.i64()?;
            fields.i64()?;
            fields.i32()?;
            let batches = self.partitions[partition as usize].lock().expect("no panic");
            let wanted = |b: &&Vec<u8>| batch::header(b).expect("kept").end_offset > from;
            let records = batches.iter().filter(wanted).flatten().copied().collect::<Vec<_>>();
            body = body.i32(partition).i16(0).i64(9).i64(9).i64(0).i32(-1).i32(-1);
            body = body.i32(i32::try_from(records.len())?);
            body.0.extend(records);
        }
        thread::sleep(Duration::from_millis(1)); // an empty answer is not asked for too often
        Ok(body)
    }

    fn records(&self) -> Vec<i64> {
        (0..self.partitions.len()).map(|p| self.end(p as i32)).collect()
    }
}

/// Fields of an answer.
struct Body(Vec<u8>);

impl Body {
    fn i8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn string(self, text: &str) -> Self {
        let mut body = self.i16(text.len() as i16);
        body.0.extend(text.as_bytes());
        body
    }
}

fn fake(partitions: usize, hold: usize) -> Fake {
    let partitions = (0..partitions).map(|_| Mutex::default()).collect();
    Fake { partitions, hold, ..Fake::default() }
}

fn run(address: &str, line: &str) -> Result<Report> {
    let words = ["load", "--keep", "--name", "t", "--server", address];
    let mut options = Line::try_parse_from(words.into_iter().chain(line.split(' ')))?.options;
    let common = options.common.resolve()?;
    options.common = common.clone();
    let from_start = options.from_start;
    crate::load::run(&Kafka::new(options)?, "kafka", &common, from_start)
}

#[test]
fn the_window_is_filled_and_never_exceeded() {
    let (fake, address) = Fake { strict: true, ..fake(2, 0) }.start();
    let line = "--partitions 2 --batch 3 --size 10 --window 4 --count 48 --warmup 0";
    let report = run(&address, &line.replace(" --warmup 0", "")).expect("a run");
    assert_eq!(fake.most_waiting.load(SeqCst), 4);
    assert_eq!((report.published, fake.records()), (48, vec![24, 24]));
    assert_eq!(report.ack_us.expect("acknowledged").count, 16);
}

#[test]
fn exactly_as_many_messages_as_asked_for() {
    let check = |line: &str, records: &[i64]| {
        let (fake, address) = fake(records.len(), 1).start();
        let line = format!("--partitions {} --size 16 {line}", records.len());
        let report = run(&address, &line).expect("a run");
        assert_eq!(fake.records(), records, "{line}");
        assert_eq!(report.published, records.iter().sum::<i64>() as u64, "{line}");
    };
    check("--count 100 --batch 7", &[100]);
    check("--count 3 --batch 7", &[3]);
    check("--count 20 --batch 5 --pubs 2", &[10, 10]);
    check("--count 11 --batch 2 --pubs 2", &[6, 5]);
    check("--count 8 --batch 1", &[2, 2, 2, 2]);
    check("--count 9 --batch 3 --rate 3000", &[3, 3, 3]);
    check("--count 5 --batch 2 --rate 3000", &[3, 2]);
}

#[test]
fn what_is_published_is_delivered_and_timed() {
    let (_, address) = fake(2, 1).start();
    let line = "--partitions 2 --batch 1 --size 16 --rate 500 --count 50 --subs 1";
    let report = run(&address, line).expect("a run");
    assert_eq!((report.published, report.delivered), (50, 50));
    let (ack, delivery) = (report.ack_us.expect("timed"), report.delivery_us.expect("timed"));
    assert_eq!((ack.count, delivery.count, ack.from.as_str()), (50, 50, "due"));
    assert!(delivery.max > 0.0 && delivery.max < 5e6, "{delivery:?}");
    assert_eq!(report.send_lag_us.expect("timed").count, 50);

    let line = "--partitions 2 --pubs 0 --subs 2 --from-start";
    assert_eq!(run(&address, line).expect("a run").delivered, 50);
    let line = "--partitions 2 --pubs 0 --subs 2 --from-start --fanout --count 50";
    assert_eq!(run(&address, line).expect("a run").delivered, 100);
}

#[test]
fn a_refused_batch_ends_the_run() {
    let (fake, address) = fake(1, 1).start();
    fake.fails.store(true, SeqCst);
    for line in ["--seconds 5", "--count 100", "--rate 100 --count 100"] {
        let error = run(&address, line).expect_err("it failed").to_string();
        assert!(error.contains("MESSAGE_TOO_LARGE"), "{line}: {error}");
    }
}
