//! What a group decided, as it stands in the log of effects. Replay gives the durable state.
//!
//! ```text
//! effect      version u8 = 1 | kind u8 | body                           little-endian throughout
//! 1 created   name text | created_ms i64
//! 2 members   membership
//! 3 generation  i32
//! 4 offsets   count u32 | (topic 16 B | partition i32 | committed)*
//! 5 removed   count u32 | (topic 16 B | partition i32)*
//! 6 forgotten topic 16 B
//! 7 deleted
//! membership  generation i32 | since_ms i64 | type text? | protocol text? | leader text?
//!             | count u32 | member*
//! member      id text | instance text? | client id text | client host text | session_ms u32
//!             | rebalance_ms u32 | count u32 | (name text | metadata bytes)* | assignment bytes
//! committed   offset i64 | leader_epoch i32 | commit_ms i64 | expire_ms i64? | metadata text
//! text, bytes  length u32 | bytes;   x?  0 u8, or 1 u8 and x
//! ```
//! Frozen: a new field means a new version or a new kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::codec::{self, DecodeError, Reader};
use super::member::{MemberRecord, Protocol};
use super::offsets::{Committed, OffsetEntry};
use super::{Text, TopicId};
use crate::clock::WallMs;

const VERSION: u8 = 1;

/// The members of a complete generation, or of a group that has become empty.
///
/// Invariant: ids ascend; no instance id twice; a leader exactly if there are members, and one of
/// them; with members there is a protocol, which all of them know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub generation: i32,
    /// When the group came into this state.
    pub since_ms: WallMs,
    pub protocol_type: Option<Text>,
    pub protocol: Option<Text>,
    pub leader: Option<Text>,
    pub members: Vec<MemberRecord>,
}

/// One decided change of one group. Which group stands outside.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupEffect {
    Created {
        name: Text,
        created_ms: WallMs,
    },
    Members(Arc<Membership>),
    /// A round gave out this generation; it may never become complete, but it is not given again.
    Generation(i32),
    Offsets(Vec<OffsetEntry>),
    OffsetsRemoved(Vec<(TopicId, i32)>),
    /// The topic was deleted: all its offsets go.
    TopicForgotten(TopicId),
    Deleted,
}

impl GroupEffect {
    /// Appends the effect's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match self {
            GroupEffect::Created { name, created_ms } => {
                out.push(1);
                codec::put_text(out, name);
                out.extend_from_slice(&created_ms.to_le_bytes());
            }
            GroupEffect::Members(membership) => {
                out.push(2);
                membership.encode(out);
            }
            GroupEffect::Generation(generation) => {
                out.push(3);
                out.extend_from_slice(&generation.to_le_bytes());
            }
            GroupEffect::Offsets(entries) => {
                out.push(4);
                codec::put_count(out, entries.len());
                for entry in entries {
                    out.extend_from_slice(&entry.topic);
                    out.extend_from_slice(&entry.partition.to_le_bytes());
                    entry.committed.encode(out);
                }
            }
            GroupEffect::OffsetsRemoved(keys) => {
                out.push(5);
                codec::put_count(out, keys.len());
                for (topic, partition) in keys {
                    out.extend_from_slice(topic);
                    out.extend_from_slice(&partition.to_le_bytes());
                }
            }
            GroupEffect::TopicForgotten(topic) => {
                out.push(6);
                out.extend_from_slice(topic);
            }
            GroupEffect::Deleted => out.push(7),
        }
    }

    /// Reads one effect that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<GroupEffect, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("a version")? != VERSION {
            return reader.fail("version 1");
        }
        let effect = match reader.u8("a kind of effect")? {
            1 => GroupEffect::Created {
                name: reader.text("a name")?,
                created_ms: reader.i64("a time")?,
            },
            2 => GroupEffect::Members(Arc::new(Membership::decode(&mut reader)?)),
            3 => GroupEffect::Generation(reader.i32("a generation")?),
            4 => GroupEffect::Offsets(list(&mut reader, 45, |reader| {
                let (topic, partition) = key(reader)?;
                Ok(OffsetEntry { topic, partition, committed: Committed::decode(reader)? })
            })?),
            5 => GroupEffect::OffsetsRemoved(list(&mut reader, 20, key)?),
            6 => GroupEffect::TopicForgotten(reader.array("a topic id")?),
            7 => GroupEffect::Deleted,
            _ => return reader.fail("a kind of effect"),
        };
        reader.end()?;
        Ok(effect)
    }
}

fn list<T>(
    reader: &mut Reader<'_>,
    each: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.count(each, "a number of entries")?;
    (0..count).map(|_| read(reader)).collect()
}

fn key(reader: &mut Reader<'_>) -> Result<(TopicId, i32), DecodeError> {
    let key = (reader.array("a topic id")?, reader.i32("a partition")?);
    if key.1 < 0 { reader.fail("a partition") } else { Ok(key) }
}

impl Membership {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.since_ms.to_le_bytes());
        codec::put_option_text(out, self.protocol_type.as_ref());
        codec::put_option_text(out, self.protocol.as_ref());
        codec::put_option_text(out, self.leader.as_ref());
        codec::put_count(out, self.members.len());
        for member in &self.members {
            encode_member(member, out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Membership, DecodeError> {
        let membership = Membership {
            generation: reader.i32("a generation")?,
            since_ms: reader.i64("a time")?,
            protocol_type: reader.option_text("a protocol type")?,
            protocol: reader.option_text("a protocol")?,
            leader: reader.option_text("a leader")?,
            members: list(reader, 29, decode_member)?,
        };
        if membership.is_sound() { Ok(membership) } else { reader.fail("a sound membership") }
    }

    /// The invariant of the struct.
    pub(super) fn is_sound(&self) -> bool {
        let ascend = self.members.is_sorted_by(|a, b| a.id < b.id);
        let mut instances = BTreeSet::new();
        let once =
            self.members.iter().filter_map(|m| m.instance_id.as_ref()).all(|i| instances.insert(i));
        if self.members.is_empty() {
            return self.leader.is_none();
        }
        let (Some(leader), Some(protocol)) = (&self.leader, &self.protocol) else { return false };
        ascend
            && once
            && self.protocol_type.is_some()
            && self.members.iter().any(|member| member.id == *leader)
            && self.members.iter().all(|member| member.protocol(protocol).is_some())
    }
}

fn encode_member(member: &MemberRecord, out: &mut Vec<u8>) {
    codec::put_text(out, &member.id);
    codec::put_option_text(out, member.instance_id.as_ref());
    codec::put_text(out, &member.client_id);
    codec::put_text(out, &member.client_host);
    out.extend_from_slice(&member.session_timeout_ms.to_le_bytes());
    out.extend_from_slice(&member.rebalance_timeout_ms.to_le_bytes());
    codec::put_count(out, member.protocols.len());
    for protocol in member.protocols.iter() {
        codec::put_text(out, &protocol.name);
        codec::put_bytes(out, &protocol.metadata);
    }
    codec::put_bytes(out, &member.assignment);
}

fn decode_member(reader: &mut Reader<'_>) -> Result<MemberRecord, DecodeError> {
    let id = reader.text("a member id")?;
    let instance_id = reader.option_text("an instance id")?;
    let client_id = reader.text("a client id")?;
    let client_host = reader.text("a client host")?;
    let session_timeout_ms = reader.u32("a session timeout")?;
    let rebalance_timeout_ms = reader.u32("a rebalance timeout")?;
    let protocols: Arc<[Protocol]> = list(reader, 8, |reader| {
        Ok(Protocol { name: reader.text("a protocol")?, metadata: reader.bytes("metadata")? })
    })?
    .into();
    let mut names = BTreeSet::new();
    if !protocols.iter().all(|protocol| names.insert(&protocol.name)) {
        return reader.fail("each protocol once");
    }
    Ok(MemberRecord {
        id,
        instance_id,
        client_id,
        client_host,
        session_timeout_ms,
        rebalance_timeout_ms,
        assignment: reader.bytes("an assignment")?,
        protocols,
    })
}
