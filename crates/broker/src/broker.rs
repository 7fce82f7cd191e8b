//! Opens and closes the broker: recovery, the shards, the catalog and the WAL.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use sabir_storage::disk::{DirLock, Disk, OsDisk};
use sabir_storage::frame::Secret;
use sabir_storage::ident::Ident;
use sabir_storage::reader::Reader;
use sabir_storage::recent::Recent;
use sabir_storage::repair::quarantine;
use sabir_storage::state::StateError;
use sabir_storage::store::{Store, StoreError};
use sabir_storage::wake::Herald;
use sabir_storage::wal::replay::{End, ReplayError};
use sabir_storage::wal::{FileWal, FrameSource, Wal, WalLoss, WalParts, WalSettings};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::core::Core;
use crate::group::GroupSettings;
use crate::groups::{Agenda, GroupNames, Restore};
use crate::keeper::{Keeper, KeeperSettings};
use crate::limits::SHARDS;
use crate::pump::Pump;
use crate::random::Random;
use crate::recovery::Recovery;
use crate::topic::Effective;
use crate::upkeep::{Upkeep, UpkeepSettings};

/// Threads that read cold data.
const READERS: usize = 2;

/// What a user may set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What topics are kept by where they do not say otherwise.
    pub defaults: Effective,
    pub wal: WalSettings,
    pub keeper: KeeperSettings,
    pub groups: GroupSettings,
    pub upkeep: UpkeepSettings,
}

/// Why a broker cannot start.
#[derive(Debug)]
pub enum OpenError {
    Io(io::Error),
    Replay(ReplayError),
    Store(StoreError),
}

impl OpenError {
    /// True if what is on the disk is not as it was written: a repair can tell what is left of it.
    pub fn is_damage(&self) -> bool {
        let of_io = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
        match self {
            OpenError::Io(error) => of_io(error),
            OpenError::Replay(error) => !matches!(error, ReplayError::Io { .. }),
            OpenError::Store(StoreError::Io(error)) => of_io(error),
            OpenError::Store(StoreError::State(StateError::Io { error, .. })) => {
                error.kind() == io::ErrorKind::NotFound
            }
            OpenError::Store(_) => true,
        }
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Io(error) => error.fmt(f),
            OpenError::Replay(error) => error.fmt(f),
            OpenError::Store(error) => error.fmt(f),
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

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        OpenError::Store(error)
    }
}

/// The broker: one per process.
pub struct Broker {
    pub(crate) core: Arc<Core>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) groups: GroupNames,
    pub(crate) group_settings: Arc<GroupSettings>,
    pub(crate) agenda: Agenda,
    pub(crate) wal: Arc<dyn Wal>,
    pub(crate) ident: Ident,
    pub(crate) settings: Settings,
    /// Rises at every opening.
    pub(crate) epoch: i32,
    /// Held while something is declared, altered or deleted; taken before any shard's lock.
    pub(crate) declaring: Mutex<()>,
    herald: Arc<Herald>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) upkeep: Arc<Upkeep>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Option<DirLock>,
}

/// How the WAL is opened: with its threads or without.
type OpenWal = fn(WalParts, WalSettings, End, Arc<dyn FrameSource>) -> io::Result<FileWal>;

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
        Broker::build(disk, settings, random, lock, FileWal::open).map(|(broker, _)| broker)
    }

    /// The same without threads: whoever holds the [`Pump`] decides when what happens. For the
    /// simulator.
    pub fn without_threads(
        disk: Arc<dyn Disk>,
        settings: Settings,
        random: &mut dyn Random,
    ) -> Result<(Arc<Broker>, Pump), OpenError> {
        let built = Broker::build(disk, settings, random, None, FileWal::without_threads);
        built.map(|(broker, wal)| (broker.clone(), Pump::new(broker, wal)))
    }

    fn build(
        disk: Arc<dyn Disk>,
        settings: Settings,
        random: &mut dyn Random,
        lock: Option<DirLock>,
        open_wal: OpenWal,
    ) -> Result<(Arc<Broker>, Arc<FileWal>), OpenError> {
        let settings = settings.fitted(disk.total()?);
        quarantine::refuse_unfinished(&*disk)?;
        let ident = Ident::open(&*disk, || Ident {
            cluster: random.uuid(),
            shards: SHARDS,
            secret: Secret(random.next()),
        })?;
        let herald: Arc<Herald> = Arc::default();
        let core = Arc::new(Core::new(ident.shards, herald.clone(), |why: &WalLoss| {
            tracing::error!(%why, "stopping: nothing can be acknowledged any more");
        }));
        let catalog = Arc::new(Catalog::default());
        let recent = Arc::new(Recent::default());
        let store = Arc::new(Store::open(disk.clone(), recent.clone())?);
        let groups = GroupNames::default();
        let group_settings = Arc::new(settings.groups.clone());
        let recovery = Recovery {
            core: &core,
            catalog: &catalog,
            store: &store,
            defaults: settings.defaults,
            groups: Restore { core: &core, names: &groups, settings: &group_settings },
        };
        let end = recovery.run(&*disk, ident.secret)?;
        let epoch = i32::try_from(end.generation + 1).unwrap_or(i32::MAX);
        for shard in 0..core.count() {
            let mut shard = core.lock(shard);
            (shard.open, shard.epoch) = (end.next, epoch);
        }
        let parts = WalParts {
            disk,
            secret: ident.secret,
            pool: Arc::default(),
            recent,
            herald: herald.clone(),
        };
        let file_wal = Arc::new(open_wal(parts, settings.wal, end, core.clone() as Arc<_>)?);
        let wal: Arc<dyn Wal> = file_wal.clone();
        let keeper =
            Keeper::new(core.clone(), catalog.clone(), store.clone(), wal.clone(), settings.keeper);
        let keeper = Arc::new(keeper);
        let upkeep = Arc::new(Upkeep::new(keeper.clone(), ident, settings.upkeep));
        let reader = Reader::new(store, settings.keeper.blocks_bytes);
        let broker = Broker {
            core,
            catalog,
            groups,
            group_settings,
            agenda: Agenda::default(),
            wal,
            ident,
            settings,
            epoch,
            declaring: Mutex::new(()),
            herald,
            keeper,
            reader,
            upkeep,
            threads: Mutex::default(),
            _lock: lock,
        };
        Ok((Arc::new(broker), file_wal))
    }

    /// The id that protocols show for the cluster.
    pub fn cluster_id(&self) -> &[u8; 16] {
        &self.ident.cluster
    }

    /// Rules and bounds of all groups.
    pub fn group_settings(&self) -> &GroupSettings {
        &self.settings.groups
    }

    /// What topics are kept by where they do not say otherwise.
    pub fn defaults(&self) -> &Effective {
        &self.settings.defaults
    }

    /// Who fires the wakes that arise many at once; to be named before anybody waits.
    pub fn herald(&self) -> &Arc<Herald> {
        &self.herald
    }

    /// Starts the threads that bundle, make checkpoints and read cold data.
    pub fn start(&self, clock: Arc<dyn Clock>) -> io::Result<()> {
        let keeper = self.keeper.clone();
        let keep = std::thread::Builder::new().name("keeper".into());
        let mut threads = self.threads.lock();
        let keeper_clock = clock.clone();
        threads.push(keep.spawn(move || keeper.run(&*keeper_clock))?);
        let upkeep = self.upkeep.clone();
        let keep_up = std::thread::Builder::new().name("upkeep".into());
        threads.push(keep_up.spawn(move || upkeep.run(&*clock))?);
        for number in 0..READERS {
            threads.push(self.reader.spawn(&format!("reader-{number}"))?);
        }
        Ok(())
    }

    /// Bundling, checkpoints and retention, for whoever drives them by hand.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Exports and the scrubber, for whoever drives them by hand.
    pub fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    /// Makes everything durable and ends the threads. Nothing may be asked of it afterwards.
    pub fn close(&self) {
        self.keeper.stop();
        self.upkeep.stop();
        self.reader.stop();
        for thread in self.threads.lock().drain(..) {
            let _ended = thread.join();
        }
        self.wal.close();
    }
}
