//! The metrics of the core: write-ahead log, memory, disk, groups, topics.

use std::sync::Arc;

use sabir_broker::namespace::Namespace;
use sabir_broker::quota::Meter;
use sabir_broker::stats::{BrokerStats, PartitionStats, TopicStats};

use super::Page;

/// While the broker has at most this many partitions, each has lines of its own; with more, a
/// scrape would be of tens of megabytes.
const PARTITIONS_SHOWN_MAX: usize = 10_000;

/// Name, help, and where to read it.
type Metric<T> = (&'static str, &'static str, fn(&T) -> u64);

const BROKER_METRICS: &[Metric<BrokerStats>] = &[
    ("sabir_wal_frames_total", "Frames written to the write-ahead log.", |s| s.wal.frames),
    ("sabir_wal_written_bytes_total", "Bytes written to the write-ahead log.", |s| s.wal.bytes),
    ("sabir_wal_syncs_total", "Group commits of the write-ahead log.", |s| s.wal.syncs),
    ("sabir_wal_backlog_bytes", "Bytes of it that the next start would read.", |s| s.backlog),
    ("sabir_wal_staged_bytes", "Bytes that wait to be written to it.", |s| s.staged as u64),
    ("sabir_wal_written_frame", "Number of the last frame written.", |s| s.written),
    ("sabir_wal_durable_frame", "Number of the last durable frame.", |s| s.durable),
    ("sabir_recent_bytes", "Recent records in memory.", |s| s.recent as u64),
    ("sabir_unbundled_bytes", "Those of them only the log holds.", |s| s.unbundled as u64),
    ("sabir_cold_cache_bytes", "Read from the disk for slow readers.", |s| s.cold as u64),
    ("sabir_disk_total_bytes", "Size of the disk.", |s| s.disk_total),
    ("sabir_disk_free_bytes", "Free space on the disk.", |s| s.disk_free),
    ("sabir_disk_kept_free_bytes", "Free space that publishes must leave.", |s| s.disk_kept_free),
    ("sabir_exports_total", "Exports of the state rows written.", |s| s.upkeep.exports),
    ("sabir_last_export_seconds", "When the newest was, since 1970; 0 = none.", |s| {
        s.upkeep.exported_ms.unsigned_abs() / 1000
    }),
    ("sabir_scrubs_total", "Walks of the scrubber through all files.", |s| s.upkeep.scrubs),
    ("sabir_scrubbed_bytes_total", "Bytes it has read.", |s| s.upkeep.scrubbed_bytes),
    ("sabir_scrub_findings_total", "Damages it has found.", |s| s.upkeep.findings),
    ("sabir_disk_full", "1 while publishes are refused for want of room.", |s| s.full.into()),
];

const TOPIC_METRICS: &[Metric<PartitionStats>] = &[
    ("sabir_topic_records_total", "Records taken since the start.", |p| p.taken.records),
    ("sabir_topic_batches_total", "Batches taken since the start.", |p| p.taken.batches),
    ("sabir_topic_received_bytes_total", "Bytes of batches taken.", |p| p.taken.bytes),
    ("sabir_topic_size_bytes", "Bytes of all records there are.", |p| p.bytes),
];

const PARTITION_METRICS: &[Metric<PartitionStats>] = &[
    ("sabir_partition_start_offset", "The first offset that can be read.", |p| offset(p.start)),
    ("sabir_partition_end_offset", "The offset after the last.", |p| offset(p.end)),
    ("sabir_partition_size_bytes", "Bytes of all records there are.", |p| p.bytes),
];

fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

pub fn write(page: &mut Page, stats: &BrokerStats) {
    for (name, help, read) in BROKER_METRICS {
        page.one(name, help, read(stats));
    }
    page.head("sabir_groups", "Consumer groups by state.");
    let groups = &stats.groups;
    let states = [
        ("empty", groups.empty),
        ("preparing", groups.preparing),
        ("completing", groups.completing),
        ("stable", groups.stable),
    ];
    for (state, count) in states {
        page.line("sabir_groups", &[("state", state)], count);
    }
}

pub fn write_namespaces(page: &mut Page, namespaces: &[Arc<Namespace>]) {
    let mut write = |name: &str, help: &str, read: fn(&Meter) -> u64| {
        page.head(name, help);
        for one in namespaces {
            page.line(name, &[("namespace", &one.name)], read(&one.meter));
        }
    };
    let connections = "Connections of clients in the namespace.";
    write("sabir_namespace_connections", connections, Meter::connections);
    let holds = "Times that a client was held back for a rate.";
    write("sabir_namespace_holds_total", holds, Meter::holds);
}

pub fn write_topics(page: &mut Page, topics: &[TopicStats]) {
    let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    page.one("sabir_topics", "Topics.", topics.len());
    page.one("sabir_partitions", "Partitions of all topics.", partitions);
    for (name, help, read) in TOPIC_METRICS {
        page.head(name, help);
        for topic in topics {
            let sum: u64 = topic.partitions.iter().map(read).sum();
            let labels = [("namespace", &*topic.namespace), ("topic", &*topic.topic.name)];
            page.line(name, &labels, sum);
        }
    }
    if partitions > PARTITIONS_SHOWN_MAX {
        return;
    }
    for (name, help, read) in PARTITION_METRICS {
        page.head(name, help);
        for topic in topics {
            for (number, partition) in topic.partitions.iter().enumerate() {
                let (space, topic) = (&*topic.namespace, &*topic.topic.name);
                let number = number.to_string();
                let labels = [("namespace", space), ("topic", topic), ("partition", &number)];
                page.line(name, &labels, read(partition));
            }
        }
    }
}
