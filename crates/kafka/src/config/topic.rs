//! Every config of a topic: one row each. What is in a field of the core's policy is enforced
//! there; of the others only what holds anyway is accepted.

use sabir_broker::ticket::Class;
use sabir_broker::topic::{Effective, Policy};

use super::value::Kind;

/// One config.
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// The broker's config that stands behind it.
    pub broker: Option<&'static str>,
    pub rule: Rule,
    /// Documentation for clients: what it does here.
    pub about: &'static str,
}

/// What becomes of a value.
pub enum Rule {
    /// It goes into a field of the core's policy.
    Field(Field),
    /// It is only remembered: what it asks for is so in any case.
    Holds { default: &'static str, accepts: Accepts },
}

/// A field of the core's policy.
pub struct Field {
    pub get: fn(&Policy) -> Option<i64>,
    pub set: fn(&mut Policy, Option<i64>),
    pub effective: fn(&Effective) -> i64,
    pub form: Form,
}

/// How a field is written.
pub enum Form {
    Number {
        min: i64,
        max: i64,
    },
    /// One of these words, each with what stands for it in the policy.
    Word(&'static [(&'static str, i64)]),
}

/// Which values hold without being enforced.
pub enum Accepts {
    /// These only, and why.
    Only(&'static [&'static str], &'static str),
    /// Any number of this range.
    Between(f64, f64),
    /// Any number from this one while the topic's durability is `durable`, else the default.
    Durable(f64),
}

/// The config of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

macro_rules! number {
    ($field:ident, $min:expr, $max:expr) => {
        Rule::Field(Field {
            get: |policy| policy.$field,
            set: |policy, value| policy.$field = value,
            effective: |effective| effective.$field,
            form: Form::Number { min: $min, max: $max },
        })
    };
}

const TIMESTAMP_TYPE: Rule = Rule::Field(Field {
    get: |policy| policy.append_time.map(i64::from),
    set: |policy, value| policy.append_time = value.map(|value| value != 0),
    effective: |effective| i64::from(effective.append_time),
    form: Form::Word(&[("CreateTime", 0), ("LogAppendTime", 1)]),
});

const OS: i64 = Class::Os as i64;
const DURABLE: i64 = Class::Durable as i64;

const DURABILITY: Rule = Rule::Field(Field {
    get: |policy| policy.durability.map(|class| class as i64),
    set: |policy, value| {
        let class = |value| if value == OS { Class::Os } else { Class::Durable };
        policy.durability = value.map(class);
    },
    effective: |effective| effective.durability as i64,
    form: Form::Word(&[("durable", DURABLE), ("os", OS)]),
});

const fn only(default: &'static str, all: &'static [&'static str], why: &'static str) -> Rule {
    Rule::Holds { default, accepts: Accepts::Only(all, why) }
}

const fn between(default: &'static str, min: f64, max: f64) -> Rule {
    Rule::Holds { default, accepts: Accepts::Between(min, max) }
}

const fn key(
    name: &'static str,
    kind: Kind,
    broker: &'static str,
    rule: Rule,
    about: &'static str,
) -> Key {
    let broker = if broker.is_empty() { None } else { Some(broker) };
    Key { name, kind, broker, rule, about }
}

const INT_MAX: i64 = i32::MAX as i64;
const ANY: f64 = f64::INFINITY;
const STORED_AS_SENT: &str = "batches are stored as the producer has compressed them";
const NO_COMPACTION: &str = "compaction is not supported";
const NO_TIERS: &str = "there is no remote storage";
const ONE_COPY: &str = "there is one broker, and so one copy";
const NO_FILE: &str = "Sabir has no such file";

#[rustfmt::skip]
/// All of them, by name.
pub const KEYS: &[Key] = &[
    key("cleanup.policy", Kind::List, "log.cleanup.policy",
        only("delete", &["delete"], NO_COMPACTION),
        "How old records go: deleted, by time and by size."),
    key("compression.gzip.level", Kind::Int, "compression.gzip.level",
        only("-1", &["-1"], STORED_AS_SENT), "Without effect: records are not compressed again."),
    key("compression.lz4.level", Kind::Int, "compression.lz4.level",
        only("9", &["9"], STORED_AS_SENT), "Without effect: records are not compressed again."),
    key("compression.type", Kind::Text, "compression.type",
        only("producer", &["producer"], STORED_AS_SENT),
        "Batches are stored as the producer has compressed them."),
    key("compression.zstd.level", Kind::Int, "compression.zstd.level",
        only("3", &["3"], STORED_AS_SENT), "Without effect: records are not compressed again."),
    key("delete.retention.ms", Kind::Long, "log.cleaner.delete.retention.ms",
        between("86400000", 0.0, ANY), "Without effect on a topic that is not compacted."),
    key("file.delete.delay.ms", Kind::Long, "log.segment.delete.delay.ms",
        only("60000", &["60000"], NO_FILE), "Without effect: Sabir has no files per topic."),
    key("flush.messages", Kind::Long, "log.flush.interval.messages",
        Rule::Holds { default: "9223372036854775807", accepts: Accepts::Durable(1.0) },
        "Every record is on the disk before it is acknowledged (see sabir.durability)."),
    key("flush.ms", Kind::Long, "log.flush.interval.ms",
        Rule::Holds { default: "9223372036854775807", accepts: Accepts::Durable(0.0) },
        "Every record is on the disk before it is acknowledged (see sabir.durability)."),
    key("follower.replication.throttled.replicas", Kind::List, "",
        only("", &[""], ONE_COPY), "Without effect: there is nothing to replicate to."),
    key("index.interval.bytes", Kind::Int, "log.index.interval.bytes",
        only("4096", &["4096"], NO_FILE), "Without effect: Sabir's index has another form."),
    key("leader.replication.throttled.replicas", Kind::List, "",
        only("", &[""], ONE_COPY), "Without effect: there is nothing to replicate to."),
    key("local.retention.bytes", Kind::Long, "log.local.retention.bytes",
        only("-2", &["-2"], NO_TIERS), "Without effect: all is kept on this broker."),
    key("local.retention.ms", Kind::Long, "log.local.retention.ms",
        only("-2", &["-2"], NO_TIERS), "Without effect: all is kept on this broker."),
    key("max.compaction.lag.ms", Kind::Long, "log.cleaner.max.compaction.lag.ms",
        between("9223372036854775807", 1.0, ANY),
        "Without effect on a topic that is not compacted."),
    key("max.message.bytes", Kind::Int, "message.max.bytes",
        number!(message_bytes_max, 0, INT_MAX), "Bytes of a record batch at most."),
    key("message.timestamp.after.max.ms", Kind::Long, "log.message.timestamp.after.max.ms",
        number!(after_ms_max, 0, i64::MAX),
        "How far a record's timestamp may lie after the broker's time."),
    key("message.timestamp.before.max.ms", Kind::Long, "log.message.timestamp.before.max.ms",
        number!(before_ms_max, 0, i64::MAX),
        "How far a record's timestamp may lie before the broker's time."),
    key("message.timestamp.type", Kind::Text, "log.message.timestamp.type", TIMESTAMP_TYPE,
        "Whose time a record carries: CreateTime, the producer's; LogAppendTime, the broker's."),
    key("min.cleanable.dirty.ratio", Kind::Double, "log.cleaner.min.cleanable.ratio",
        between("0.5", 0.0, 1.0), "Without effect on a topic that is not compacted."),
    key("min.compaction.lag.ms", Kind::Long, "log.cleaner.min.compaction.lag.ms",
        between("0", 0.0, ANY), "Without effect on a topic that is not compacted."),
    key("min.insync.replicas", Kind::Int, "min.insync.replicas",
        only("1", &["1"], ONE_COPY), "There is one copy, and it is in sync."),
    key("preallocate", Kind::Boolean, "log.preallocate",
        only("false", &["false"], "Sabir lays out its files itself"),
        "Without effect: Sabir lays out its files itself."),
    key("remote.log.copy.disable", Kind::Boolean, "",
        only("false", &["false"], NO_TIERS), "Without effect: all is kept on this broker."),
    key("remote.log.delete.on.disable", Kind::Boolean, "",
        only("false", &["false"], NO_TIERS), "Without effect: all is kept on this broker."),
    key("remote.storage.enable", Kind::Boolean, "",
        only("false", &["false"], NO_TIERS), "All is kept on this broker."),
    key("retention.bytes", Kind::Long, "log.retention.bytes",
        number!(retention_bytes, -1, i64::MAX),
        "Bytes of a partition above which its oldest records may go; -1 = no bound."),
    key("retention.ms", Kind::Long, "log.retention.ms",
        number!(retention_ms, -1, i64::MAX),
        "Milliseconds after which a record may go; -1 = never."),
    key("sabir.durability", Kind::Text, "", DURABILITY,
        "When a record is acknowledged: durable, once it is on the disk; os, once it is written, \
         which a power cut may undo."),
    key("segment.bytes", Kind::Int, "log.segment.bytes",
        number!(segment_bytes, 1 << 20, INT_MAX),
        "Bytes after which a partition begins a new segment."),
    key("segment.index.bytes", Kind::Int, "log.index.size.max.bytes",
        only("10485760", &["10485760"], NO_FILE),
        "Without effect: Sabir's index has another form."),
    key("segment.jitter.ms", Kind::Long, "log.roll.jitter.ms",
        only("0", &["0"], "segments end at their time"),
        "Without effect: segments end at their time."),
    key("segment.ms", Kind::Long, "log.roll.ms",
        number!(segment_ms, 1, i64::MAX),
        "Milliseconds after which a partition begins a new segment."),
    key("unclean.leader.election.enable", Kind::Boolean, "unclean.leader.election.enable",
        only("false", &["false", "true"], ONE_COPY),
        "Without effect: there is one copy, and no other can be elected."),
];
