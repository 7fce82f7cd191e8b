//! Opens and closes the broker: recovery, the shards, the catalog and the WAL.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use sabir_storage::aligned::Pool;
use sabir_storage::batch::Header;
use sabir_storage::disk::{DirLock, Disk, OsDisk};
use sabir_storage::ident::Ident;
use sabir_storage::log::{LogView, TailBatch};
use sabir_storage::ticket::FrameNo;
use sabir_storage::wal::replay::{self, ReplayError};
use sabir_storage::wal::{FileWal, Wal, WalLoss, WalSettings};

use crate::bytes::Fields;
use crate::catalog::Catalog;
use crate::core::Core;
use crate::effect::{self, Effect};
use crate::limits::SHARDS;
use crate::random::Random;
use crate::topic::{Effective, Partition, Row, Topic};

/// What a user may set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What topics are kept by where they do not say otherwise.
    pub defaults: Effective,
    pub wal: WalSettings,
}

/// Why a broker cannot start.
#[derive(Debug)]
pub enum OpenError {
    Io(io::Error),
    Replay(ReplayError),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Io(error) => error.fmt(f),
            OpenError::Replay(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl From<ReplayError> for OpenError {
    fn from(error: ReplayError) -> OpenError {
        OpenError::Replay(error)
    }
}

/// The broker: one per process.
pub struct Broker {
    pub(crate) core: Arc<Core>,
    pub(crate) catalog: Catalog,
    pub(crate) wal: Arc<dyn Wal>,
    pub(crate) ident: Ident,
    pub(crate) settings: Settings,
    /// Rises at every opening.
    pub(crate) epoch: i32,
    /// Held while something is declared, altered or deleted; taken before any shard's lock.
    pub(crate) declaring: Mutex<()>,
    _lock: Option<DirLock>,
}

impl Broker {
    /// Opens a data directory on the disk, or makes it, and recovers what is in it.
    pub fn open(
        root: &Path,
        settings: Settings,
        random: &mut dyn Random,
    ) -> Result<Arc<Broker>, OpenError> {
        let disk = Arc::new(OsDisk::new(root)?);
        let lock = DirLock::take(root)?;
        Broker::on_disk(disk, settings, random, Some(lock))
    }

    /// Opens the broker that lies on `disk`; nobody else may use it meanwhile.
    pub fn on_disk(
        disk: Arc<dyn Disk>,
        settings: Settings,
        random: &mut dyn Random,
        lock: Option<DirLock>,
    ) -> Result<Arc<Broker>, OpenError> {
        let ident = Ident::open(&*disk, || Ident {
            cluster: random.uuid(),
            shards: SHARDS,
            secret: sabir_storage::frame::Secret(random.next()),
        })?;
        let core = Arc::new(Core::new(ident.shards, |why: &WalLoss| {
            tracing::error!(%why, "stopping: nothing can be acknowledged any more");
        }));
        let catalog = Catalog::default();
        let recovery = Recovery { core: &core, catalog: &catalog, defaults: settings.defaults };
        let end = replay::replay(&*disk, ident.secret, None, 0, &mut |frame| {
            let number = frame.number;
            for section in frame.sections {
                for effect in effect::decode(&section.effects) {
                    let effect = effect.map_err(|_| refused(number, "has an unknown effect"))?;
                    recovery.apply(number, section.shard, effect)?;
                }
            }
            Ok(())
        })?;
        let epoch = i32::try_from(end.generation + 1).unwrap_or(i32::MAX);
        for shard in 0..core.count() {
            let mut shard = core.lock(shard);
            (shard.open, shard.epoch) = (end.next, epoch);
        }
        let pool = Arc::new(Pool::default());
        let wal =
            FileWal::open(disk, ident.secret, settings.wal, end, pool, core.clone() as Arc<_>)?;
        let wal = Arc::new(wal);
        Ok(Arc::new(Broker {
            core,
            catalog,
            wal,
            ident,
            settings,
            epoch,
            declaring: Mutex::new(()),
            _lock: lock,
        }))
    }

    /// The id that protocols show for the cluster.
    pub fn cluster_id(&self) -> &[u8; 16] {
        &self.ident.cluster
    }

    /// What topics are kept by where they do not say otherwise.
    pub fn defaults(&self) -> &Effective {
        &self.settings.defaults
    }

    /// Makes everything durable and ends the threads. Nothing may be asked of it afterwards.
    pub fn close(&self) {
        self.wal.close();
    }
}

struct Recovery<'a> {
    core: &'a Core,
    catalog: &'a Catalog,
    defaults: Effective,
}

impl Recovery<'_> {
    fn apply(&self, frame: FrameNo, shard: u16, effect: Effect) -> Result<(), ReplayError> {
        match effect {
            Effect::Append { log, batch } => self.append(frame, shard, log, batch)?,
            Effect::Topic { row } => {
                let row = Row::decode(&mut Fields(&row))
                    .map_err(|_| refused(frame, "has a topic that cannot be read"))?;
                let highest = row.partitions.iter().map(|(log, _)| *log).chain([row.id]).max();
                let mut home = self.core.lock(0);
                home.registry.next_id = home.registry.next_id.max(highest.unwrap_or(0) + 1);
                drop(home);
                enter(self.core, self.catalog, &self.defaults, &row, frame);
            }
            Effect::TopicGone { id } => {
                if let Some(topic) = self.catalog.all().iter().find(|topic| topic.id == id) {
                    leave(self.core, self.catalog, topic);
                }
            }
            Effect::ProducerIds { below } => {
                let mut home = self.core.lock(0);
                home.registry.producers_below = home.registry.producers_below.max(below);
                home.registry.next_producer = home.registry.producers_below;
            }
            Effect::LogStart { .. }
            | Effect::GroupNamed { .. }
            | Effect::Group { .. }
            | Effect::GroupGone { .. } => {}
        }
        Ok(())
    }

    fn append(
        &self,
        frame: FrameNo,
        shard: u16,
        log: u64,
        batch: bytes::Bytes,
    ) -> Result<(), ReplayError> {
        let header = Header::parse(&batch).map_err(|error| {
            refused(frame, &format!("has a batch that cannot be read: {error}"))
        })?;
        let mut shard = self.core.lock(shard);
        shard.replay_append(frame, log, &header);
        let Some(state) = shard.logs.get(&log) else { return Ok(()) };
        state.view.push(TailBatch {
            base: header.base_offset,
            next: header.next_offset(),
            max_timestamp: header.max_timestamp,
            frame,
            bytes: batch,
        });
        state.view.show(header.next_offset());
        Ok(())
    }
}

fn refused(frame: FrameNo, what: &str) -> ReplayError {
    ReplayError::Refused(format!("frame {frame} of the write-ahead log {what}"))
}

/// Makes a topic known as its row says, which lies in frame `born`: new partitions get their logs.
pub(crate) fn enter(
    core: &Core,
    catalog: &Catalog,
    defaults: &Effective,
    row: &Row,
    born: FrameNo,
) -> Arc<Topic> {
    let before = catalog.topic_by_uuid(&row.uuid);
    let effective = defaults.with(&row.policy);
    let known = before.as_ref().map_or(&[][..], |topic| &topic.partitions);
    let mut partitions = known.to_vec();
    for (log, shard) in row.partitions.iter().skip(known.len()) {
        let view = Arc::new(LogView::new(*log, *shard, 0, 0));
        partitions.push(Partition { log: *log, shard: *shard, view });
    }
    for (at, partition) in partitions.iter().enumerate() {
        let mut shard = core.lock(partition.shard);
        if at >= known.len() {
            shard.add_log(partition.view.clone(), effective.durability, born);
        } else if let Some(log) = shard.logs.get_mut(&partition.log) {
            log.class = effective.durability;
        }
    }
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

/// Forgets a topic and its logs.
pub(crate) fn leave(core: &Core, catalog: &Catalog, topic: &Topic) {
    catalog.remove(topic);
    for partition in &topic.partitions {
        core.lock(partition.shard).logs.remove(&partition.log);
    }
}
