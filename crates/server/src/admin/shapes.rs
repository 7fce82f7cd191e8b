//! The JSON of `/v1`: what the handlers send and take and the commands read. `openapi.json`
//! beside this file says the same to other people's programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Settings of a topic by name, such as `retention_ms`. In an answer: what is in effect. In a
/// request: what to set; null = the broker's default again.
pub type TopicSettings = BTreeMap<String, serde_json::Value>;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topics {
    pub topics: Vec<TopicLine>,
}

/// A topic in a list.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicLine {
    pub name: String,
    /// As a UUID; a topic of the same name made later has another.
    pub id: String,
    pub partitions: u32,
    /// Offsets handed out and still there, over all partitions.
    pub records: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    pub name: String,
    pub id: String,
    pub created_ms: i64,
    pub partitions: Vec<Partition>,
    pub settings: TopicSettings,
    /// Names in `settings` that are this topic's own and not the broker's default.
    pub own: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    pub partition: u32,
    /// The first offset that can be read.
    pub start: i64,
    /// The offset after the last that can be read.
    pub end: i64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    pub name: String,
    /// Absent = the broker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    #[serde(default)]
    pub settings: TopicSettings,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterTopic {
    pub settings: TopicSettings,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPartitions {
    /// The new number; it can only grow.
    pub count: u32,
}

/// A quota by the names of its fields, such as `bytes_in`; null = no bound. In a request: what to
/// set.
pub type QuotaValues = BTreeMap<String, Option<u64>>;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespaces {
    pub namespaces: Vec<Namespace>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    pub name: String,
    /// 0 for `default`, which is always there.
    pub created_ms: i64,
    pub topics: u64,
    /// Of all topics together.
    pub partitions: u64,
    pub groups: u64,
    /// Open now.
    pub connections: u64,
    /// How often a client was held back for a rate, since the start of the server.
    pub holds: u64,
    pub quota: QuotaValues,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateNamespace {
    pub name: String,
    #[serde(default)]
    pub quota: QuotaValues,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterNamespace {
    pub quota: QuotaValues,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    pub groups: Vec<GroupLine>,
}

/// A group in a list.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupLine {
    pub id: String,
    pub state: String,
    pub members: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub id: String,
    pub state: String,
    pub generation: i64,
    /// Name of the assignment strategy that the members agreed on.
    pub strategy: String,
    pub members: Vec<Member>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub id: String,
    /// Set for a static member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub client: String,
    pub host: String,
    pub partitions: Vec<TopicPartition>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupOffsets {
    pub offsets: Vec<GroupOffset>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupOffset {
    pub topic: String,
    pub partition: u32,
    /// The next offset to read.
    pub committed: i64,
    /// The offset after the last of the partition. Absent if the partition is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub version: String,
    pub uptime_ms: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Panics of all threads.
    pub panics: u64,
    pub listeners: Vec<ListenerStats>,
    pub wal: WalStats,
    pub memory: MemoryStats,
    pub disk: DiskStats,
    pub groups: GroupCounts,
    #[serde(default)]
    pub upkeep: UpkeepCounts,
    pub topics: Vec<TopicCounts>,
}

/// The write-ahead log.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WalStats {
    /// Since the start.
    pub frames: u64,
    pub bytes: u64,
    pub syncs: u64,
    /// What the next start would read.
    pub backlog_bytes: u64,
    /// What waits to be written.
    pub staged_bytes: u64,
    /// Numbers of the last frame written, and of the last that is durable.
    pub written: u64,
    pub durable: u64,
}

/// What is kept in memory.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// Recent records.
    pub recent_bytes: u64,
    /// ... and how many of these bytes are only in the write-ahead log.
    pub unbundled_bytes: u64,
    /// What was read from the disk for slow readers.
    pub cold_bytes: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskStats {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Publishes are refused when less than this is left.
    pub kept_free_bytes: u64,
    /// True while publishes are refused.
    pub full: bool,
}

/// Exports of the state rows, and the scrubber, which reads again what lies in files.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpkeepCounts {
    /// Since the start.
    pub exports: u64,
    /// When the newest export was written, in milliseconds since 1970; 0 = there is none.
    pub exported_ms: i64,
    /// Walks of the scrubber through all files, since the start; what it has read and found.
    pub scrubs: u64,
    pub scrubbed_bytes: u64,
    pub findings: u64,
}

/// An export of all state rows.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// Relative to the data directory. Absent if there was nothing to export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub checkpoint: u64,
    pub bytes: u64,
}

/// Groups by state.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupCounts {
    pub empty: u64,
    pub preparing: u64,
    pub completing: u64,
    pub stable: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicCounts {
    pub name: String,
    pub partitions: u32,
    /// Offsets handed out and still there, and the bytes they take.
    pub records: u64,
    pub bytes: u64,
    /// Since the start of the server.
    pub records_in: u64,
    pub batches_in: u64,
    pub bytes_in: u64,
}

/// What is open.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    pub listeners: Vec<Exposed>,
}

/// One address of a listener, and who may enter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exposed {
    pub listener: String,
    pub protocol: String,
    /// Whose topics and groups are served on it; absent = of `default`, or of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub address: String,
    /// What clients are told to connect to, if not the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    pub tls: bool,
    pub login: bool,
    /// False if other machines may reach it.
    pub local: bool,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerStats {
    pub name: String,
    pub open: u64,
    pub accepted: u64,
    pub refused: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub panics: u64,
}

/// Every answer with a status of 400 or more.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub error: FailureBody,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailureBody {
    /// What to do about it, in one word: invalid, denied, not_found, exists, conflict, gone,
    /// too_large, throttled, full, fenced, unavailable, broken.
    pub kind: String,
    /// For people.
    pub message: String,
}
