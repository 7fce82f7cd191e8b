//! A topic: a name, its partitions, and the policy they are kept by.

use std::collections::BTreeMap;
use std::sync::Arc;

use sabir_storage::log::{LogId, LogView};
use sabir_storage::ticket::Class;

use crate::bytes::{Fields, Malformed, Put};
use crate::clock::WallMs;
use crate::error::Error;

/// Number of a namespace; 0 is `default`.
pub type NamespaceId = u32;

/// How a topic's records are kept and checked. None = the broker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Milliseconds after which a record may go; -1 = never.
    pub retention_ms: Option<i64>,
    /// Bytes of a partition above which its oldest records may go; -1 = no bound.
    pub retention_bytes: Option<i64>,
    /// Bytes of one segment at most.
    pub segment_bytes: Option<i64>,
    /// Milliseconds after which a segment is ended.
    pub segment_ms: Option<i64>,
    /// Bytes of a batch at most.
    pub message_bytes_max: Option<i64>,
    /// The broker's time is the timestamp.
    pub append_time: Option<bool>,
    /// How far a timestamp may lie before the broker's time, in milliseconds.
    pub before_ms_max: Option<i64>,
    /// ... and after it.
    pub after_ms_max: Option<i64>,
    pub durability: Option<Class>,
}

/// A policy with every value known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    pub retention_ms: i64,
    pub retention_bytes: i64,
    pub segment_bytes: i64,
    pub segment_ms: i64,
    pub message_bytes_max: i64,
    pub append_time: bool,
    pub before_ms_max: i64,
    pub after_ms_max: i64,
    pub durability: Class,
}

impl Default for Effective {
    fn default() -> Effective {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        Effective {
            retention_ms: 7 * DAY_MS,
            retention_bytes: -1,
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            message_bytes_max: 1_048_588,
            append_time: false,
            before_ms_max: i64::MAX,
            after_ms_max: 60 * 60 * 1000,
            durability: Class::Durable,
        }
    }
}

impl Effective {
    /// These values, replaced where the policy says otherwise.
    pub fn with(&self, policy: &Policy) -> Effective {
        Effective {
            retention_ms: policy.retention_ms.unwrap_or(self.retention_ms),
            retention_bytes: policy.retention_bytes.unwrap_or(self.retention_bytes),
            segment_bytes: policy.segment_bytes.unwrap_or(self.segment_bytes),
            segment_ms: policy.segment_ms.unwrap_or(self.segment_ms),
            message_bytes_max: policy.message_bytes_max.unwrap_or(self.message_bytes_max),
            append_time: policy.append_time.unwrap_or(self.append_time),
            before_ms_max: policy.before_ms_max.unwrap_or(self.before_ms_max),
            after_ms_max: policy.after_ms_max.unwrap_or(self.after_ms_max),
            durability: policy.durability.unwrap_or(self.durability),
        }
    }
}

/// One partition: a log and the shard it lives in.
#[derive(Clone)]
pub struct Partition {
    pub log: LogId,
    pub shard: u16,
    pub view: Arc<LogView>,
}

/// A declared topic as readers see it: replaced whole when it changes.
pub struct Topic {
    pub namespace: NamespaceId,
    pub name: Arc<str>,
    /// Names this life of the topic; a topic of the same name made later has another.
    pub uuid: [u8; 16],
    /// The catalog's number; never reused.
    pub id: u64,
    pub partitions: Vec<Partition>,
    pub policy: Policy,
    pub effective: Effective,
    /// What a protocol wants kept beside it; the core does not read it.
    pub labels: BTreeMap<String, String>,
    pub created_ms: WallMs,
}

/// The durable part of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub namespace: NamespaceId,
    pub name: String,
    pub uuid: [u8; 16],
    pub id: u64,
    /// Log and shard of each partition.
    pub partitions: Vec<(LogId, u16)>,
    pub policy: Policy,
    pub labels: BTreeMap<String, String>,
    pub created_ms: WallMs,
}

const ROW_VERSION: u8 = 1;

impl Row {
    /// The row that describes a topic.
    pub fn of(topic: &Topic) -> Row {
        Row {
            namespace: topic.namespace,
            name: topic.name.to_string(),
            uuid: topic.uuid,
            id: topic.id,
            partitions: topic.partitions.iter().map(|known| (known.log, known.shard)).collect(),
            policy: topic.policy.clone(),
            labels: topic.labels.clone(),
            created_ms: topic.created_ms,
        }
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        into.put_u8(ROW_VERSION);
        into.put_u32(self.namespace);
        into.put_bytes(self.name.as_bytes());
        into.put(&self.uuid);
        into.put_u64(self.id);
        into.put_i64(self.created_ms);
        into.put_u32(self.partitions.len() as u32);
        for (log, shard) in &self.partitions {
            into.put_u64(*log);
            into.put_u16(*shard);
        }
        self.policy.encode(into);
        into.put_u32(self.labels.len() as u32);
        for (name, value) in &self.labels {
            into.put_bytes(name.as_bytes());
            into.put_bytes(value.as_bytes());
        }
    }

    pub fn decode(fields: &mut Fields<'_>) -> Result<Row, Malformed> {
        if fields.u8()? != ROW_VERSION {
            return Err(Malformed);
        }
        let namespace = fields.u32()?;
        let name = fields.str()?.to_owned();
        let uuid = fields.uuid()?;
        let id = fields.u64()?;
        let created_ms = fields.i64()?;
        let mut partitions = Vec::new();
        for _ in 0..fields.count(10)? {
            partitions.push((fields.u64()?, fields.u16()?));
        }
        let policy = Policy::decode(fields)?;
        let mut labels = BTreeMap::new();
        for _ in 0..fields.count(8)? {
            labels.insert(fields.str()?.to_owned(), fields.str()?.to_owned());
        }
        Ok(Row { namespace, name, uuid, id, partitions, policy, labels, created_ms })
    }
}

impl Policy {
    /// Refuses what means nothing, whoever asks for it; a protocol may be stricter.
    ///
    /// # Errors
    /// `Invalid`, with the name of the field.
    pub fn check(&self) -> Result<(), Error> {
        let least = [
            ("retention_ms", self.retention_ms, -1),
            ("retention_bytes", self.retention_bytes, -1),
            ("segment_bytes", self.segment_bytes, 1),
            ("segment_ms", self.segment_ms, 1),
            ("message_bytes_max", self.message_bytes_max, 0),
            ("before_ms_max", self.before_ms_max, 0),
            ("after_ms_max", self.after_ms_max, 0),
        ];
        for (name, value, min) in least {
            if let Some(value) = value.filter(|value| *value < min) {
                return Err(Error::invalid(format!("{name}: {value} is less than {min}")));
            }
        }
        Ok(())
    }

    /// Field numbers are frozen; a new field takes a new number.
    fn numbered(&self) -> [Option<i64>; 9] {
        [
            self.retention_ms,
            self.retention_bytes,
            self.segment_bytes,
            self.segment_ms,
            self.message_bytes_max,
            self.append_time.map(i64::from),
            self.before_ms_max,
            self.after_ms_max,
            self.durability.map(|class| class as i64),
        ]
    }

    fn encode(&self, into: &mut Vec<u8>) {
        let set = self.numbered();
        into.put_u8(set.iter().flatten().count() as u8);
        for (number, value) in set.iter().enumerate() {
            if let Some(value) = value {
                into.put_u8(number as u8);
                into.put_i64(*value);
            }
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Policy, Malformed> {
        let mut policy = Policy::default();
        for _ in 0..fields.u8()? {
            let (number, value) = (fields.u8()?, fields.i64()?);
            match number {
                0 => policy.retention_ms = Some(value),
                1 => policy.retention_bytes = Some(value),
                2 => policy.segment_bytes = Some(value),
                3 => policy.segment_ms = Some(value),
                4 => policy.message_bytes_max = Some(value),
                5 => policy.append_time = Some(value != 0),
                6 => policy.before_ms_max = Some(value),
                7 => policy.after_ms_max = Some(value),
                8 => policy.durability = Some(class_of(value)?),
                _ => return Err(Malformed),
            }
        }
        Ok(policy)
    }
}

fn class_of(value: i64) -> Result<Class, Malformed> {
    match value {
        0 => Ok(Class::Os),
        1 => Ok(Class::Durable),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_without_meaning_is_refused_by_the_name_of_its_field() {
        type Set = fn(&mut Policy, i64);
        let cases: [(&str, Set, i64); 7] = [
            ("retention_ms", |policy, value| policy.retention_ms = Some(value), -1),
            ("retention_bytes", |policy, value| policy.retention_bytes = Some(value), -1),
            ("segment_bytes", |policy, value| policy.segment_bytes = Some(value), 1),
            ("segment_ms", |policy, value| policy.segment_ms = Some(value), 1),
            ("message_bytes_max", |policy, value| policy.message_bytes_max = Some(value), 0),
            ("before_ms_max", |policy, value| policy.before_ms_max = Some(value), 0),
            ("after_ms_max", |policy, value| policy.after_ms_max = Some(value), 0),
        ];
        for (name, set, min) in cases {
            let mut policy = Policy::default();
            set(&mut policy, min);
            assert_eq!(policy.check(), Ok(()), "{name}");
            set(&mut policy, min - 1);
            let refused = policy.check().expect_err(name).message;
            assert_eq!(refused, format!("{name}: {} is less than {min}", min - 1));
        }
    }

    #[test]
    fn a_row_says_all_that_was_declared() {
        let row = Row {
            namespace: 0,
            name: "orders".into(),
            uuid: [7; 16],
            id: 12,
            partitions: vec![(1, 3), (2, 4)],
            policy: Policy {
                retention_ms: Some(-1),
                append_time: Some(true),
                durability: Some(Class::Os),
                ..Policy::default()
            },
            labels: [("a".to_owned(), "b".to_owned())].into(),
            created_ms: 99,
        };
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        assert_eq!(Row::decode(&mut Fields(&bytes)), Ok(row));
        for len in 0..bytes.len() {
            assert!(Row::decode(&mut Fields(&bytes[..len])).is_err(), "cut at {len}");
        }
    }
}
