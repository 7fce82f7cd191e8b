//! What happened, as bytes for the WAL: decided places and states, never commands. Encodings are
//! frozen per kind and only ever added to; drawn in `docs/format.md`.
//!
//! An effect is kind u8, length u32 of what follows, body. Little-endian.

use bytes::Bytes;
use sabir_storage::batch::open::BatchIx;
use sabir_storage::batch::{self, HEADER};
use sabir_storage::frame::Section;
use sabir_storage::log::{LogId, Offset};

use crate::bytes::{Fields, Malformed, Put};
use crate::limits::SHARE_MIN;
use crate::topic::NamespaceId;

/// Numbers of the kinds; never reused.
mod kind {
    pub const APPEND: u8 = 1;
    pub const TOPIC: u8 = 2;
    pub const TOPIC_GONE: u8 = 3;
    pub const LOG_START: u8 = 4;
    pub const PRODUCER_IDS: u8 = 5;
    pub const GROUP_NAMED: u8 = 6;
    pub const GROUP: u8 = 7;
    pub const GROUP_GONE: u8 = 8;
    pub const NAMESPACE: u8 = 9;
    pub const NAMESPACE_GONE: u8 = 10;
}

/// Bytes before the body of an effect.
const FRONT: usize = 5;
/// Bytes before the batch of an append.
pub const APPEND_FRONT: usize = FRONT + 8;

/// An effect as it is read back.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// A batch at the place that its own header says.
    Append {
        log: LogId,
        batch: Bytes,
    },
    /// The topic is now as this row says.
    Topic {
        row: Bytes,
    },
    TopicGone {
        id: u64,
    },
    /// Nothing of the log below this offset may be read any more.
    LogStart {
        log: LogId,
        start: Offset,
    },
    /// Producer ids below this one may have been given out.
    ProducerIds {
        below: i64,
    },
    /// A group has a number and a home.
    GroupNamed {
        id: u64,
        shard: u16,
        namespace: NamespaceId,
        name: Bytes,
    },
    /// Something happened in a group; the bytes are the group's own.
    Group {
        id: u64,
        change: Bytes,
    },
    GroupGone {
        id: u64,
    },
    /// The namespace is now as this row says.
    Namespace {
        row: Bytes,
    },
    NamespaceGone {
        id: NamespaceId,
    },
}

/// Stages a batch: its header is placed, its body copied or shared. Returns where the batch begins
/// in the section.
pub fn append(
    into: &mut Section,
    log: LogId,
    batch: &Bytes,
    base_offset: Offset,
    leader_epoch: i32,
) -> usize {
    front(into, kind::APPEND, 8 + batch.len());
    into.buffer().put_u64(log);
    let at = into.end();
    let head_at = into.buffer().len();
    if batch.len() < SHARE_MIN {
        into.buffer().extend_from_slice(batch);
    } else {
        into.buffer().extend_from_slice(&batch[..HEADER]);
    }
    batch::place(&mut into.buffer()[head_at..head_at + HEADER], base_offset, leader_epoch);
    if batch.len() >= SHARE_MIN {
        into.splice(batch.slice(HEADER..));
    }
    at
}

/// Stages a batch that records have joined: nothing joins it any more.
pub fn close(into: &mut Section, at: BatchIx) {
    let Some(batch) = into.joinable(at) else { return };
    let (log, len) = (batch.begin.view.id, batch.len());
    assert_eq!(batch.begin.front, APPEND_FRONT, "what was counted is what is put");
    front(into, kind::APPEND, 8 + len);
    into.buffer().put_u64(log);
    into.close(at);
}

/// Stages all batches that records have joined, for a section that was taken out of its shard.
pub fn close_all(into: &mut Section) {
    let len = into.len();
    for at in 0..into.batches() {
        close(into, at);
    }
    assert_eq!(into.len(), len, "what was staged is what goes into the frame");
}

/// Stages any other effect.
pub fn stage(into: &mut Section, effect: &Effect) {
    let mut body = Vec::new();
    let kind = match effect {
        Effect::Append { .. } => unreachable!("batches are staged by `append`"),
        Effect::Topic { row } => {
            body.put(row);
            kind::TOPIC
        }
        Effect::TopicGone { id } => {
            body.put_u64(*id);
            kind::TOPIC_GONE
        }
        Effect::LogStart { log, start } => {
            body.put_u64(*log);
            body.put_i64(*start);
            kind::LOG_START
        }
        Effect::ProducerIds { below } => {
            body.put_i64(*below);
            kind::PRODUCER_IDS
        }
        Effect::GroupNamed { id, shard, namespace, name } => {
            body.put_u64(*id);
            body.put_u16(*shard);
            body.put_u32(*namespace);
            body.put(name);
            kind::GROUP_NAMED
        }
        Effect::Group { id, change } => {
            body.put_u64(*id);
            body.put(change);
            kind::GROUP
        }
        Effect::GroupGone { id } => {
            body.put_u64(*id);
            kind::GROUP_GONE
        }
        Effect::Namespace { row } => {
            body.put(row);
            kind::NAMESPACE
        }
        Effect::NamespaceGone { id } => {
            body.put_u32(*id);
            kind::NAMESPACE_GONE
        }
    };
    front(into, kind, body.len());
    into.buffer().put(&body);
}

fn front(into: &mut Section, kind: u8, len: usize) {
    into.count += 1;
    into.buffer().put_u8(kind);
    into.buffer().put_u32(u32::try_from(len).expect("an effect fits a frame"));
}

/// The effects of a section, each with the place where its body begins.
pub fn decode(section: &Bytes) -> impl Iterator<Item = Result<Effect, Malformed>> {
    let section = section.clone();
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == section.len() {
            return None;
        }
        let next = one(&section, &mut at);
        if next.is_err() {
            at = section.len();
        }
        Some(next)
    })
}

fn one(section: &Bytes, at: &mut usize) -> Result<Effect, Malformed> {
    let mut fields = Fields(section.get(*at..).ok_or(Malformed)?);
    let kind = fields.u8()?;
    let len = fields.bytes()?.len();
    let body = section.slice(*at + FRONT..*at + FRONT + len);
    *at += FRONT + len;
    let mut fields = Fields(&body);
    Ok(match kind {
        kind::APPEND => {
            let log = fields.u64()?;
            Effect::Append { log, batch: body.slice(8..) }
        }
        kind::TOPIC => Effect::Topic { row: body.clone() },
        kind::TOPIC_GONE => Effect::TopicGone { id: fields.u64()? },
        kind::LOG_START => Effect::LogStart { log: fields.u64()?, start: fields.i64()? },
        kind::PRODUCER_IDS => Effect::ProducerIds { below: fields.i64()? },
        kind::GROUP_NAMED => {
            let (id, shard, namespace) = (fields.u64()?, fields.u16()?, fields.u32()?);
            Effect::GroupNamed { id, shard, namespace, name: body.slice(14..) }
        }
        kind::GROUP => {
            let id = fields.u64()?;
            Effect::Group { id, change: body.slice(8..) }
        }
        kind::GROUP_GONE => Effect::GroupGone { id: fields.u64()? },
        kind::NAMESPACE => Effect::Namespace { row: body.clone() },
        kind::NAMESPACE_GONE => Effect::NamespaceGone { id: fields.u32()? },
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sabir_storage::batch::build::{Builder, Record};

    fn batch(size: usize) -> Bytes {
        let value = vec![b'v'; size];
        let mut builder = Builder::default();
        builder.push(&Record { value: Some(&value), ..Record::default() });
        Bytes::from(builder.seal())
    }

    fn section_bytes(section: Section) -> Bytes {
        let pool = std::sync::Arc::default();
        let secret = sabir_storage::frame::Secret(1);
        let (frame, padded, _) =
            sabir_storage::frame::encode_frame(secret, 1, 1, 0, &[section], &pool);
        let frame = frame.freeze().slice(..padded);
        sabir_storage::frame::parse_frame(secret, &frame).expect("valid").1[0].effects.clone()
    }

    #[test]
    fn every_kind_reads_back_as_it_was_staged() {
        let effects = [
            Effect::Topic { row: Bytes::from_static(b"row") },
            Effect::TopicGone { id: 1 },
            Effect::LogStart { log: 2, start: 3 },
            Effect::ProducerIds { below: 4 },
            Effect::GroupNamed { id: 5, shard: 6, namespace: 7, name: Bytes::from_static(b"g") },
            Effect::Group { id: 7, change: Bytes::from_static(b"change") },
            Effect::GroupGone { id: 8 },
            Effect::Namespace { row: Bytes::from_static(b"row") },
            Effect::NamespaceGone { id: 9 },
        ];
        let mut section = Section::default();
        effects.iter().for_each(|effect| stage(&mut section, effect));
        let read: Vec<_> = decode(&section_bytes(section)).map(|e| e.expect("valid")).collect();
        assert_eq!(read, effects);
    }

    #[test]
    fn the_bytes_of_an_effect_stay() {
        let check = |effect: Effect, golden: &str| {
            let mut section = Section::default();
            stage(&mut section, &effect);
            let bytes = section_bytes(section);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden.replace(' ', ""), "{effect:?}");
        };
        let row = Bytes::from_static(b"row");
        check(Effect::Topic { row: row.clone() }, "02 03000000 726f77");
        check(Effect::TopicGone { id: 9 }, "03 08000000 0900000000000000");
        check(Effect::Namespace { row }, "09 03000000 726f77");
        check(Effect::NamespaceGone { id: 9 }, "0a 04000000 09000000");
    }

    #[test]
    fn batches_are_placed_whether_copied_or_shared() {
        for size in [10, SHARE_MIN] {
            let mut section = Section::default();
            stage(&mut section, &Effect::TopicGone { id: 1 });
            let at = append(&mut section, 9, &batch(size), 77, 5);
            let bytes = section_bytes(section);
            let Some(Ok(Effect::Append { log: 9, batch })) = decode(&bytes).nth(1) else {
                panic!("an append of {size} bytes")
            };
            assert_eq!(batch, bytes.slice(at..at + batch.len()));
            let header = sabir_storage::batch::validate(&batch).expect("still valid");
            assert_eq!((header.base_offset, header.leader_epoch), (77, 5));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = decode(&Bytes::from(bytes)).count();
        }
    }
}
