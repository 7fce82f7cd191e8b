//! The page against the rules of the format, and numbers of a broker that was used.

use std::collections::{BTreeMap, BTreeSet};

use sabir_broker::shard::LogCounters;
use sabir_broker::stats::PartitionStats;
use sabir_broker::topic::{Effective, Policy, Topic};

use super::*;

/// Reads a page as a strict scraper would: each metric once, with help and kind before its lines,
/// no line twice. Gives the lines by name and labels.
fn parse(page: &str) -> BTreeMap<(String, Vec<(String, String)>), f64> {
    let mut lines = BTreeMap::new();
    let (mut names, mut current) = (BTreeSet::new(), String::new());
    let mut rest = page.lines().peekable();
    assert!(page.ends_with('\n'));
    while let Some(line) = rest.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split_once(' ').expect("a help text").0.to_owned();
            assert!(names.insert(current.clone()), "{current} twice");
            let kind = if current.ends_with("_total") { "counter" } else { "gauge" };
            assert_eq!(rest.next(), Some(&*format!("# TYPE {current} {kind}")));
            continue;
        }
        let (name, labels, value) = sample(line);
        assert_eq!(name, current, "{line}");
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(name.bytes().all(legal), "{line}");
        assert!(lines.insert((name, labels), value).is_none(), "{line} twice");
    }
    lines
}

fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let (text, after) = quoted(after);
            labels.push((label.to_owned(), text));
            match after.split_at(1) {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("a blank").parse().expect("a number");
    (name.to_owned(), labels, value)
}

/// The text before the closing quotation mark, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (out, &text[at + 1..]),
            '\\' => match chars.next().expect("an escaped character").1 {
                'n' => out.push('\n'),
                char @ ('"' | '\\') => out.push(char),
                char => panic!("\\{char} is no escape"),
            },
            char => out.push(char),
        }
    }
    panic!("no end of {text:?}")
}

fn topic(name: &str, partitions: Vec<PartitionStats>) -> TopicStats {
    let topic = Topic {
        namespace: 0,
        name: name.into(),
        uuid: [0; 16],
        id: 1,
        partitions: Vec::new(),
        policy: Policy::default(),
        effective: Effective::default(),
        labels: BTreeMap::new(),
        created_ms: 0,
    };
    TopicStats { namespace: "n".into(), topic: Arc::new(topic), partitions }
}

fn part(start: i64, end: i64, bytes: u64) -> PartitionStats {
    let records = end.unsigned_abs();
    PartitionStats { start, end, bytes, taken: LogCounters { records, batches: 1, bytes: 100 } }
}

#[test]
fn a_scraper_reads_every_number() {
    let odd = "a\"b\\c\nd{}, =";
    let source = Source { listener: odd.into(), counters: Arc::default() };
    source.counters.accepted.add(3);
    let mut broker = BrokerStats { backlog: 77, full: true, ..BrokerStats::default() };
    broker.wal.syncs = 9;
    broker.groups.stable = 2;
    let topics = [topic(odd, vec![part(5, 12, 40), part(0, 3, 2)]), topic("plain", vec![])];
    let space = Namespace {
        id: 1,
        name: odd.into(),
        quota: Default::default(),
        created_ms: 0,
        meter: Arc::default(),
    };
    let space = Arc::new(space);
    let lines = parse(&page(&[source], 1.5, &broker, &[space], &topics));
    let check = |name: &str, labels: &[(&str, &str)], want: f64| {
        let own = |text: &&str| (*text).to_owned();
        let labels = labels.iter().map(|(label, text)| (own(label), own(text))).collect();
        assert_eq!(lines.get(&(name.to_owned(), labels)), Some(&want), "{name}");
    };
    check("sabir_connections_accepted_total", &[("listener", odd)], 3.0);
    check("sabir_uptime_seconds", &[], 1.5);
    check("sabir_wal_syncs_total", &[], 9.0);
    check("sabir_wal_backlog_bytes", &[], 77.0);
    check("sabir_disk_full", &[], 1.0);
    check("sabir_groups", &[("state", "stable")], 2.0);
    check("sabir_namespace_connections", &[("namespace", odd)], 0.0);
    check("sabir_namespace_holds_total", &[("namespace", odd)], 0.0);
    check("sabir_topics", &[], 2.0);
    check("sabir_partitions", &[], 2.0);
    check("sabir_topic_records_total", &[("namespace", "n"), ("topic", odd)], 15.0);
    check("sabir_topic_size_bytes", &[("namespace", "n"), ("topic", odd)], 42.0);
    check("sabir_topic_size_bytes", &[("namespace", "n"), ("topic", "plain")], 0.0);
    check(
        "sabir_partition_start_offset",
        &[("namespace", "n"), ("topic", odd), ("partition", "0")],
        5.0,
    );
    check(
        "sabir_partition_end_offset",
        &[("namespace", "n"), ("topic", odd), ("partition", "1")],
        3.0,
    );
}

#[test]
fn very_many_partitions_have_no_lines_of_their_own() {
    let topics = [topic("a", vec![part(0, 1, 1); 10_001])];
    let page = page(&[], 0.0, &BrokerStats::default(), &[], &topics);
    parse(&page);
    assert!(page.contains("\nsabir_partitions 10001\n") && !page.contains("sabir_partition_"));
}
