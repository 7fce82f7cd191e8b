//! From what is on disk to the state of the shards: the rows of the last checkpoint, then every
//! effect of the WAL after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use sabir_storage::batch::Header;
use sabir_storage::disk::Disk;
use sabir_storage::extent::Extent;
use sabir_storage::frame::Secret;
use sabir_storage::log::{LogId, LogView, TailBatch};
use sabir_storage::state::Kind;
use sabir_storage::store::{Store, StoreError};
use sabir_storage::ticket::{Class, FrameNo};
use sabir_storage::wal::replay::{self, End, ReplayError};

use crate::broker::OpenError;
use crate::bytes::{Fields, Malformed};
use crate::catalog::Catalog;
use crate::core::Core;
use crate::effect::{self, Effect};
use crate::groups::Restore;
use crate::image::{LogRow, NAMESPACES, REGISTRY_ID};
use crate::namespace::{DEFAULT, NamespaceRow};
use crate::shard::Registry;
use crate::topic::{Effective, NamespaceId, Partition, Row, Topic};

/// Frames in memory during replay before they are written into blobs, in bytes.
const REPLAYED_MAX: usize = 64 << 20;

/// What recovery works on.
pub(crate) struct Recovery<'a> {
    pub core: &'a Core,
    pub catalog: &'a Catalog,
    pub store: &'a Store,
    pub defaults: Effective,
    pub groups: Restore<'a>,
}

/// What is stored of a log: its row, the ordinal of its first extent, and its extents.
pub(crate) type Known<'a> = dyn FnMut(LogId, u16) -> (Option<LogRow>, (u64, Vec<Extent>)) + 'a;

/// What the rows say of the logs of one shard.
#[derive(Default)]
pub(crate) struct Logs {
    pub rows: BTreeMap<LogId, LogRow>,
    pub extents: BTreeMap<LogId, (u64, Vec<Extent>)>,
}

impl Recovery<'_> {
    /// Reads rows and replays; returns where the WAL ends.
    pub fn run(&self, disk: &dyn Disk, secret: Secret) -> Result<End, OpenError> {
        let checkpoint = self.store.checkpoint()?;
        self.load()?;
        let from = checkpoint.map(|row| row.replay_from);
        let known = checkpoint.map_or(0, |row| row.durable);
        let end = replay::replay(disk, secret, from, known, &mut |frame| {
            let (number, mut views, mut bytes) = (frame.number, Vec::new(), 0);
            for section in frame.sections {
                bytes += section.effects.len();
                for effect in effect::decode(&section.effects) {
                    let effect = effect.map_err(|_| refused(number, "has an unknown effect"))?;
                    views.extend(self.apply(number, section.shard, effect)?);
                }
            }
            self.store.recent.add(number, bytes, views);
            self.make_room(number)
        })?;
        self.check_whole()?;
        self.groups.finish(self.catalog);
        Ok(end)
    }

    /// Refuses to serve a log of which something is nowhere.
    pub fn check_whole(&self) -> Result<(), OpenError> {
        for topic in self.catalog.all() {
            for partition in &topic.partitions {
                let shard = self.core.lock(partition.shard);
                let next = shard.logs.get(&partition.log).map_or(0, |log| log.next);
                if let Some((from, to)) = partition.view.missing(next) {
                    let (name, log) = (&topic.name, partition.log);
                    return Err(StoreError::Rows(format!(
                        "offsets {from} to {to} of topic {name} (log {log}) are neither in a blob \
                         nor in the write-ahead log"
                    ))
                    .into());
                }
            }
        }
        Ok(())
    }

    /// Writes what was replayed into blobs when it takes too much memory. On a full disk it stays
    /// in memory: that is no reason not to start.
    fn make_room(&self, frame: FrameNo) -> Result<(), ReplayError> {
        if self.store.recent.bytes().0 > REPLAYED_MAX {
            match self.store.bundle(frame) {
                Ok(_) => self.store.recent.evict(REPLAYED_MAX / 2),
                Err(error) if error.is_full() => {}
                Err(error) => return Err(ReplayError::Refused(error.to_string())),
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<(), OpenError> {
        let mut shards = self.load_logs()?;
        let listed = shards.iter().flat_map(|logs| logs.extents.values());
        self.store.adopt(listed.flat_map(|(_, extents)| extents))?;
        self.load_catalog(&mut shards)?;
        for logs in &shards {
            if let Some(id) = logs.rows.keys().chain(logs.extents.keys()).next() {
                return Err(StoreError::Rows(format!("log {id} belongs to no topic")).into());
            }
        }
        self.load_others()
    }

    /// What the rows say of the logs of each shard.
    pub fn load_logs(&self) -> Result<Vec<Logs>, OpenError> {
        let mut shards = Vec::new();
        for shard in 0..self.core.count() {
            let mut logs = Logs { extents: self.store.extents(shard)?, ..Logs::default() };
            self.store.rows(shard, Kind::Log, &mut |key, row| {
                let row = LogRow::decode(row).map_err(|_| unreadable("log", key.id))?;
                logs.rows.insert(key.id, row);
                Ok(())
            })?;
            shards.push(logs);
        }
        Ok(shards)
    }

    /// What belongs to logs and shards that are known by now.
    pub fn load_others(&self) -> Result<(), OpenError> {
        for shard in 0..self.core.count() {
            self.load_producers(shard)?;
            for kind in [Kind::Group, Kind::Offsets] {
                self.store.rows(shard, kind, &mut |key, row| {
                    self.groups.load_row(key, row).map_err(|_| unreadable("group", key.id))
                })?;
            }
        }
        Ok(())
    }

    /// Topics, with what `shards` have of their logs; what is left there belongs to no topic.
    pub fn load_catalog(&self, shards: &mut [Logs]) -> Result<(), OpenError> {
        let mut topics = Vec::new();
        self.store.rows(0, Kind::Catalog, &mut |key, row| {
            if key.sub == NAMESPACES {
                let row = NamespaceRow::decode(row);
                let known = row.and_then(|row| self.catalog.namespaces.restore(row));
                return known.map_err(|Malformed| unreadable("namespace", key.id));
            }
            if key.id == REGISTRY_ID {
                let registry = Registry::decode(row).map_err(|_| unreadable("registry", key.id))?;
                self.core.lock(0).registry = registry;
                return Ok(());
            }
            let row = Row::decode(&mut Fields(row)).map_err(|_| unreadable("topic", key.id))?;
            topics.push(row);
            Ok(())
        })?;
        for row in topics {
            self.enter(&row, 0, &mut |log, shard| {
                let logs = &mut shards[usize::from(shard)];
                (logs.rows.remove(&log), logs.extents.remove(&log).unwrap_or_default())
            });
        }
        Ok(())
    }

    fn load_producers(&self, shard: u16) -> Result<(), OpenError> {
        let mut locked = self.core.lock(shard);
        self.store.rows(shard, Kind::Producer, &mut |key, row| {
            let id = i64::try_from(key.sub).map_err(|_| unreadable("producer", key.sub))?;
            let Some(log) = locked.logs.get_mut(&key.id) else { return Ok(()) };
            log.load_producer(id, row).map_err(|_| unreadable("producer", key.sub))
        })?;
        Ok(())
    }

    /// Applies one effect; returns the log whose batch is in memory now.
    pub fn apply(
        &self,
        frame: FrameNo,
        shard: u16,
        effect: Effect,
    ) -> Result<Option<Arc<LogView>>, ReplayError> {
        let of_catalog = matches!(
            effect,
            Effect::Topic { .. }
                | Effect::TopicGone { .. }
                | Effect::ProducerIds { .. }
                | Effect::Namespace { .. }
                | Effect::NamespaceGone { .. }
        );
        if of_catalog && frame <= self.core.lock(0).registry.stored {
            return Ok(None);
        }
        match effect {
            Effect::Append { log, batch } => return self.append(frame, shard, log, batch),
            Effect::Topic { row: bytes } => {
                let row = Row::decode(&mut Fields(&bytes))
                    .map_err(|Malformed| refused(frame, "has a topic that cannot be read"))?;
                self.note_topic(&row, Some(bytes.to_vec()));
                self.enter(&row, frame, &mut |_, _| Default::default());
            }
            Effect::TopicGone { id } => {
                if let Some(topic) = self.catalog.all().iter().find(|topic| topic.id == id) {
                    let mut home = self.core.lock(0);
                    home.registry.rows.insert(id, None);
                    let views = topic.partitions.iter().map(|partition| partition.view.clone());
                    home.registry.gone.extend(views);
                    drop(home);
                    leave(self.catalog, topic);
                }
            }
            Effect::Namespace { row: bytes } => {
                let row = NamespaceRow::decode(&bytes).and_then(|row| {
                    self.note_namespace(row.id, Some(bytes.to_vec()));
                    self.catalog.namespaces.restore(row)
                });
                row.map_err(|Malformed| refused(frame, "has a namespace that cannot be read"))?;
            }
            Effect::NamespaceGone { id: DEFAULT } => {
                return Err(refused(frame, "deletes the default namespace"));
            }
            Effect::NamespaceGone { id } => {
                self.note_namespace(id, None);
                self.catalog.namespaces.leave(id);
            }
            Effect::ProducerIds { below } => {
                let registry = &mut self.core.lock(0).registry;
                registry.producers_below = registry.producers_below.max(below);
                registry.next_producer = registry.producers_below;
            }
            Effect::LogStart { log, start } => {
                let mut shard = self.core.lock(shard);
                if shard.logs.get(&log).is_some_and(|log| frame > log.stored) {
                    shard.replay_start(log, start);
                }
            }
            Effect::GroupNamed { .. } | Effect::Group { .. } | Effect::GroupGone { .. } => {
                let applied = self.groups.apply(frame, shard, &effect);
                applied.map_err(|_| refused(frame, "has a group that cannot be read"))?;
            }
        }
        Ok(None)
    }

    pub fn note_namespace(&self, id: NamespaceId, bytes: Option<Vec<u8>>) {
        let registry = &mut self.core.lock(0).registry;
        registry.next_namespace = registry.next_namespace.max(id.saturating_add(1));
        registry.namespaces.insert(id, bytes);
    }

    pub fn note_topic(&self, row: &Row, bytes: Option<Vec<u8>>) {
        let highest = row.partitions.iter().map(|(log, _)| *log).chain([row.id]).max();
        let registry = &mut self.core.lock(0).registry;
        registry.next_id = registry.next_id.max(highest.unwrap_or(0) + 1);
        registry.rows.insert(row.id, bytes);
    }

    fn append(
        &self,
        frame: FrameNo,
        shard: u16,
        log: u64,
        batch: Bytes,
    ) -> Result<Option<Arc<LogView>>, ReplayError> {
        let header = Header::parse(&batch).map_err(|error| {
            refused(frame, &format!("has a batch that cannot be read: {error}"))
        })?;
        let mut shard = self.core.lock(shard);
        shard.replay_append(frame, log, &header);
        let Some(state) = shard.logs.get(&log) else { return Ok(None) };
        let view = state.view.clone();
        let next = header.next_offset();
        if next <= view.bundled() {
            return Ok(None);
        }
        view.push(TailBatch {
            base: header.base_offset,
            next,
            max_timestamp: header.max_timestamp,
            frame,
            bytes: batch,
        });
        if next > view.visible() {
            view.show(next, &mut Vec::new());
        }
        Ok(Some(view))
    }

    pub fn enter(&self, row: &Row, born: FrameNo, known: &mut Known<'_>) {
        enter(self.core, self.catalog, &self.defaults, row, born, known);
    }
}

fn unreadable(what: &str, id: u64) -> String {
    format!("the row of {what} {id} cannot be read")
}

fn refused(frame: FrameNo, what: &str) -> ReplayError {
    ReplayError::Refused(format!("frame {frame} of the write-ahead log {what}"))
}

/// Makes a topic known as its row says, which lies in frame `born`: new partitions get their logs,
/// from what `known` has of them.
pub(crate) fn enter(
    core: &Core,
    catalog: &Catalog,
    defaults: &Effective,
    row: &Row,
    born: FrameNo,
    known: &mut Known<'_>,
) -> Arc<Topic> {
    let before = catalog.topic_by_uuid(&row.uuid);
    let effective = defaults.with(&row.policy);
    if effective.durability == Class::Os {
        core.expect_os();
    }
    let mut partitions = before.map_or_else(Vec::new, |topic| topic.partitions.clone());
    for partition in &partitions {
        if let Some(log) = core.lock(partition.shard).logs.get_mut(&partition.log) {
            log.class = effective.durability;
        }
    }
    for (log, shard) in row.partitions.iter().skip(partitions.len()) {
        let (stored, (first, extents)) = known(*log, *shard);
        let (start, next) = stored.as_ref().map_or((0, 0), |row| (row.start, row.next));
        let extents = VecDeque::from(extents);
        let view = Arc::new(LogView::restored(*log, *shard, start, next, first, extents));
        let mut locked = core.lock(*shard);
        let state = locked.add_log(view.clone(), effective.durability, born);
        if let Some(stored) = stored {
            state.load(stored);
        }
        partitions.push(Partition { log: *log, shard: *shard, view });
    }
    let segment_bytes = u64::try_from(effective.segment_bytes).unwrap_or(u64::MAX);
    partitions.iter().for_each(|partition| partition.view.set_segment_bytes(segment_bytes));
    let topic = Arc::new(Topic {
        namespace: row.namespace,
        name: row.name.as_str().into(),
        uuid: row.uuid,
        id: row.id,
        partitions,
        policy: row.policy.clone(),
        effective,
        labels: row.labels.clone(),
        created_ms: row.created_ms,
    });
    catalog.put(topic.clone());
    topic
}

/// Forgets a topic. Its logs stay in their shards until a checkpoint has stored the deletion: one
/// without it must still have their rows, or what replay finds of them would not fit.
pub(crate) fn leave(catalog: &Catalog, topic: &Topic) {
    catalog.remove(topic);
    topic.partitions.iter().for_each(|partition| partition.view.remove());
}
