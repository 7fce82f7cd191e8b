//! `sabir publish`: lines of a file or of the standard input as records of a topic.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::client::{InNamespace, ServerArgs, escape};
use super::table::table;
use crate::admin::records::shapes::{Header, Place, Publish, Published, RECORDS_MAX, Record};
use crate::base64;

/// Bytes of values in one request; a larger value goes alone.
const REQUEST_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    namespace: InNamespace,
    topic: String,
    /// Each line of it is a record; the standard input if absent or -.
    file: Option<PathBuf>,
    /// Key of every record; it also chooses the partition.
    #[arg(long)]
    key: Option<String>,
    /// Number of the partition.
    #[arg(long)]
    partition: Option<u32>,
    /// A header of every record; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// All that is read is one record, not one for each line.
    #[arg(long)]
    whole: bool,
}

pub fn run(args: &PublishArgs) -> Result<()> {
    let mut input: Box<dyn BufRead> = match args.file.as_deref() {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            Box::new(BufReader::new(file))
        }
        _ => Box::new(stdin().lock()),
    };
    let path = args.namespace.path(&format!("/v1/topics/{}/records", escape(&args.topic)));
    let mut seen = BTreeMap::new();
    loop {
        let records = read(args, &mut *input)?;
        if records.is_empty() {
            break;
        }
        let answer = args.server.ask("POST", &path, Some(&Publish { records }));
        let answer = answer.with_context(|| so_far(&seen))?;
        if args.server.json {
            println!("{answer:#}");
        }
        let answer: Published = serde_json::from_value(answer)
            .context("the server's answer has another form than this version knows")?;
        note(&mut seen, &answer.records);
        if args.whole {
            break;
        }
    }
    if !args.server.json {
        print!("{}", shown(&seen));
    }
    Ok(())
}

/// The records of the next request.
fn read(args: &PublishArgs, input: &mut dyn BufRead) -> Result<Vec<Record>> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    if args.whole {
        let mut all = Vec::new();
        input.read_to_end(&mut all)?;
        return Ok(vec![record(args, all)?]);
    }
    while records.len() < RECORDS_MAX && bytes < REQUEST_BYTES {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        bytes += line.len();
        line.pop_if(|last| *last == b'\n');
        records.push(record(args, line)?);
    }
    Ok(records)
}

fn record(args: &PublishArgs, value: Vec<u8>) -> Result<Record> {
    let (value, value_base64) = match String::from_utf8(value) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(base64::encode(error.as_bytes()))),
    };
    let headers = args.header.iter().map(|header| {
        let Some((name, value)) = header.split_once('=') else {
            bail!("--header: expected NAME=VALUE, found {header:?}");
        };
        Ok(Header { name: name.to_owned(), value: Some(value.to_owned()), ..Header::default() })
    });
    Ok(Record {
        key: args.key.clone(),
        value,
        value_base64,
        headers: headers.collect::<Result<_>>()?,
        partition: args.partition,
        ..Record::default()
    })
}

/// By partition: how many records, the first and the last offset.
type Seen = BTreeMap<u32, (u64, i64, i64)>;

fn note(seen: &mut Seen, places: &[Place]) {
    for place in places {
        let (count, _, last) = seen.entry(place.partition).or_insert((0, place.offset, 0));
        (*count, *last) = (*count + 1, place.offset);
    }
}

fn so_far(seen: &Seen) -> String {
    let count: u64 = seen.values().map(|(count, ..)| count).sum();
    format!("after {count} records that were published")
}

fn shown(seen: &Seen) -> String {
    let rows: Vec<[String; 4]> = (seen.iter())
        .map(|(partition, (count, first, last))| {
            [partition.to_string(), count.to_string(), first.to_string(), last.to_string()]
        })
        .collect();
    table(["partition", "records", "first", "last"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PublishArgs,
    }

    fn args(line: &[&str]) -> PublishArgs {
        Line::parse_from([&["publish", "orders"], line].concat()).args
    }

    #[test]
    fn lines_become_records() {
        let check = |flags: &[&str], mut input: &[u8], want: serde_json::Value| {
            let records = read(&args(flags), &mut input).unwrap();
            assert_eq!(serde_json::json!(records), want, "{flags:?}");
        };
        check(&[], b"", serde_json::json!([]));
        let lines = serde_json::json!([{"value": "a\r"}, {"value": ""}, {"value_base64": "/2I="}]);
        check(&[], b"a\r\n\n\xffb", lines);
        let all = serde_json::json!([{
            "key": "k", "value": "a", "partition": 3,
            "headers": [{"name": "h", "value": "1=2"}, {"name": "h", "value": ""}],
        }]);
        let flags = ["--key", "k", "--partition", "3", "--header", "h=1=2", "--header", "h="];
        check(&flags, b"a\n", all);
        check(&["--whole"], b"a\nb\n", serde_json::json!([{"value": "a\nb\n"}]));
        check(&["--whole"], b"", serde_json::json!([{"value": ""}]));
        assert!(read(&args(&["--header", "h"]), &mut &b"a"[..]).is_err());
    }

    #[test]
    fn a_request_has_a_bound_and_what_follows_is_in_the_next() {
        let check = |input: Vec<u8>, want: &[usize]| {
            let (args, mut input) = (args(&[]), &input[..]);
            let mut got = Vec::new();
            while let Some(count) = Some(read(&args, &mut input).unwrap().len()).filter(|n| *n > 0)
            {
                got.push(count);
            }
            assert_eq!(got, want);
        };
        check(b"x\n".repeat(2500), &[1000, 1000, 500]);
        let large = [vec![b'x'; 700_000], vec![b'\n']].concat();
        check(large.repeat(5), &[2, 2, 1]);
    }

    #[test]
    fn what_was_published_is_shown_by_partition() {
        let mut seen = Seen::new();
        let place = |partition, offset| Place { partition, offset };
        note(&mut seen, &[place(1, 7), place(1, 8), place(0, 3)]);
        note(&mut seen, &[place(1, 12)]);
        let want = "\
PARTITION  RECORDS  FIRST  LAST
        0        1      3     3
        1        3      7    12
";
        assert_eq!(shown(&seen), want);
        assert_eq!(so_far(&seen), "after 4 records that were published");
    }
}
