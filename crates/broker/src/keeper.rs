//! What keeps memory, WAL and disk within their bounds: bundling, checkpoints, retention, and the
//! watch over free space. One thread of its own, or turns that a simulator calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sabir_storage::blob::BlobId;
use sabir_storage::checkpoint::CheckpointRow;
use sabir_storage::log::{LogView, Offset};
use sabir_storage::planted::{self, Bug};
use sabir_storage::state::{Changes, Key, Kind};
use sabir_storage::store::{Store, StoreError};
use sabir_storage::ticket::{Class, FrameNo, Ticket};
use sabir_storage::wal::Wal;

use crate::catalog::Catalog;
use crate::clock::{Clock, Instant, Now};
use crate::core::{Core, SLICE};
use crate::image::Images;
use crate::topic::Topic;

/// A producer that a log has not heard of for this long is forgotten, in milliseconds.
const PRODUCER_EXPIRY_MS: i64 = 24 * 60 * 60 * 1000;
/// How often a full disk leads to a checkpoint beyond those that are due.
const PRESSED_EVERY: Duration = Duration::from_secs(1);

/// When the keeper does what.
#[derive(Clone, Copy, Debug)]
pub struct KeeperSettings {
    /// Recent batches are written into blobs when this many bytes of them are in none.
    pub bundle_bytes: usize,
    /// Bytes of recent batches kept in memory for readers.
    pub tail_bytes: usize,
    /// A checkpoint is made when the WAL has this many bytes ...
    pub checkpoint_bytes: u64,
    /// ... or after this time, if anything has changed.
    pub checkpoint_every: Duration,
    /// How often retention looks.
    pub retention_every: Duration,
    /// Publishes are refused while less than this is free, in bytes, beyond what blobs still have
    /// to take. None = by the size of the disk.
    pub free_min: Option<u64>,
    /// Bytes of blocks that cold reads keep.
    pub blocks_bytes: usize,
}

impl Default for KeeperSettings {
    fn default() -> KeeperSettings {
        KeeperSettings {
            bundle_bytes: 32 << 20,
            tail_bytes: 80 << 20,
            checkpoint_bytes: 256 << 20,
            checkpoint_every: Duration::from_secs(30),
            retention_every: Duration::from_secs(10),
            free_min: None,
            blocks_bytes: 64 << 20,
        }
    }
}

/// Bounds memory, WAL and disk.
pub struct Keeper {
    pub(crate) core: Arc<Core>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) store: Arc<Store>,
    pub(crate) wal: Arc<dyn Wal>,
    pub(crate) settings: KeeperSettings,
    pub(crate) stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checkpointed: Instant,
    retained: Instant,
    looked: Instant,
    /// When a full disk last led to a checkpoint.
    pressed: Instant,
    /// Logs that begin later once this is reached.
    starts: Vec<(Ticket, Arc<LogView>, Offset)>,
    /// The frame that replay would begin with.
    replay_from: FrameNo,
    /// A commit that found no room, to be tried again before anything else is committed.
    stuck: Option<Commit>,
}

/// Everything that one commit needs.
struct Commit {
    row: CheckpointRow,
    changes: Changes,
    free: Vec<BlobId>,
}

impl Keeper {
    pub(crate) fn new(
        core: Arc<Core>,
        catalog: Arc<Catalog>,
        store: Arc<Store>,
        wal: Arc<dyn Wal>,
        settings: KeeperSettings,
    ) -> Keeper {
        assert!(settings.free_min.is_some(), "the settings were fitted to the disk");
        store.recent.limit(settings.tail_bytes);
        let (stop, state) = (AtomicBool::new(false), Mutex::default());
        Keeper { core, catalog, store, wal, settings, stop, state }
    }

    /// Works until told to stop. A failure that is not want of room ends the process: what is
    /// acknowledged is in the WAL.
    pub(crate) fn run(&self, clock: &dyn Clock) {
        let begin = clock.now().mono;
        {
            let mut state = self.state.lock();
            (state.checkpointed, state.retained) = (begin, begin);
        }
        while !self.stop.load(Ordering::Acquire) {
            self.store.recent.wait_for_work(self.settings.bundle_bytes, Duration::from_millis(100));
            if let Err(error) = self.turn(clock.now()) {
                tracing::error!(%error, "stopping: blobs or state rows cannot be written");
                std::process::abort();
            }
            if self.store.recent.bytes().1 >= self.settings.bundle_bytes {
                // What is left waits for a sync.
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.store.recent.close();
    }

    /// Does whatever is due.
    pub fn turn(&self, now: Now) -> Result<(), StoreError> {
        self.look_at_space(now)?;
        self.unless_full(self.bundle_if_due())?;
        self.retain_if_due(now);
        let mut state = self.state.lock();
        let long_ago = now.mono.since(state.checkpointed) >= self.settings.checkpoint_every;
        let large = self.wal.backlog() >= self.settings.checkpoint_bytes;
        if long_ago || large || self.is_pressed(&mut state, now) {
            state.checkpointed = now.mono;
            let made = self.checkpoint(&mut state);
            drop(state);
            self.unless_full(made)?;
        }
        Ok(())
    }

    /// True where a checkpoint may make room on a full disk: files of the WAL can go once blobs
    /// have what is in them.
    fn is_pressed(&self, state: &mut State, now: Now) -> bool {
        let pressed = self.core.is_full()
            && self.store.recent.bytes().1 > 0
            && now.mono.since(state.pressed) >= PRESSED_EVERY;
        if pressed {
            state.pressed = now.mono;
        }
        pressed
    }

    /// Want of room is no failure: the WAL has everything, and publishes are refused meanwhile.
    fn unless_full(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        match result {
            Err(error) if error.is_full() => {
                self.core.set_full(true);
                tracing::warn!(%error, "no room on the disk: publishes are refused");
                Ok(())
            }
            other => other,
        }
    }

    fn look_at_space(&self, now: Now) -> Result<(), StoreError> {
        {
            let mut state = self.state.lock();
            if now.mono.since(state.looked) < Duration::from_millis(100) && state.looked.0 > 0 {
                return Ok(());
            }
            state.looked = now.mono;
        }
        self.measure_space().map(drop)
    }

    /// Looks at once, and returns how many bytes there are beyond what has to be free.
    fn measure_space(&self) -> Result<u64, StoreError> {
        // What no blob has yet is written once more.
        let owed = self.store.recent.bytes().1 as u64;
        let needed = self.settings.free_min.unwrap_or(0).saturating_add(owed);
        let free = self.store.free()?;
        let full = free < needed;
        if full != self.core.is_full() {
            self.core.set_full(full);
            if full {
                tracing::warn!("little room is left on the disk: publishes are refused");
            } else {
                tracing::info!("there is room on the disk again: publishes are accepted");
            }
        }
        Ok(free.saturating_sub(needed))
    }

    fn bundle_if_due(&self) -> Result<(), StoreError> {
        let recent = &self.store.recent;
        let durable = self.wal.marks().get(Class::Durable);
        while recent.bytes().1 >= self.settings.bundle_bytes {
            // While this goes on nobody else looks, and more comes in.
            self.measure_space()?;
            let upto = recent.cut_for(self.settings.bundle_bytes, durable);
            if self.store.bundle(upto)? == 0 && recent.to_bundle(durable).is_empty() {
                break;
            }
            recent.evict(self.settings.tail_bytes);
        }
        recent.evict(self.settings.tail_bytes);
        Ok(())
    }

    /// Makes a checkpoint now, whatever is due.
    pub fn checkpoint_now(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        self.checkpoint(&mut state)
    }

    fn checkpoint(&self, state: &mut State) -> Result<(), StoreError> {
        if let Some(stuck) = &state.stuck {
            self.commit(stuck)?;
            state.stuck = None;
        }
        let shards = 0..self.core.count();
        let open = shards.map(|shard| self.core.lock(shard).begin_images()).min();
        let written = self.wal.marks().get(Class::Os);
        let from = open.unwrap_or(written).min(written);
        let Some(replay_from) = self.wal.place_of(from) else { return Ok(()) };
        // Everything that is written goes into blobs; the frame that replay begins with is known
        // to be in a file, so it is the last written one at most and may be in both.
        let upto = open.map_or(written, |open| written.min(open - 1));
        let early = planted::active(Bug::ImageEarly);
        if !early && !self.wait_for(upto) {
            return Ok(());
        }
        if !planted::active(Bug::SkipBundle) {
            self.store.bundle(upto)?;
        }
        let mut images = self.images();
        if !early && !self.wait_for(images.applied) {
            return Ok(());
        }
        let mut durable = self.wal.marks().get(Class::Durable);
        if early {
            durable = durable.max(images.applied);
        }
        assert!(images.applied <= durable, "an image is newer than what is durable");
        let mut free = Vec::new();
        for (view, start) in std::mem::take(&mut images.starts) {
            view.set_start(start);
            free.extend(self.store.drop_below(&view, start));
        }
        free.extend(self.merge()?);
        let mut changes = std::mem::take(&mut images.changes);
        self.store.take_extents(&mut changes);
        for view in &images.gone {
            self.core.lock(view.shard).logs.remove(&view.id);
            free.extend(self.store.release(&view.extents()));
            forget_rows(view, &mut changes);
        }
        let commit = Commit { row: CheckpointRow { durable, replay_from }, changes, free };
        if let Err(error) = self.commit(&commit) {
            state.stuck = Some(commit);
            return Err(error);
        }
        state.replay_from = from;
        Ok(())
    }

    /// Merges small stretches where there is room for it. Merging can wait; what was imaged before
    /// it cannot be imaged again and must not be lost to want of room.
    fn merge(&self) -> Result<Vec<BlobId>, StoreError> {
        let spare = self.measure_space()?;
        match self.store.merge(spare) {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "no room to merge small stretches");
                self.core.set_full(true);
                Ok(Vec::new())
            }
            merged => merged,
        }
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if planted::active(Bug::TrimEarly) {
            self.wal.trim(commit.row.replay_from.frame)?;
        }
        self.store.commit(&commit.row, commit.changes.clone())?;
        self.wal.trim(commit.row.replay_from.frame)?;
        self.store.delete(&commit.free)
    }

    /// Images of everything that is dirty, in slices, each while its shard has nothing staged.
    fn images(&self) -> Images {
        let mut images = Images::default();
        for shard in 0..self.core.count() {
            loop {
                let mut locked = self.core.lock(shard);
                if locked.stage.is_empty() {
                    if locked.image(SLICE, &mut images) {
                        break;
                    }
                    continue;
                }
                drop(locked);
                if self.core.image_at_cut(shard, &mut images) {
                    break;
                }
            }
        }
        images
    }

    /// Waits until the frame is durable. False if it is told to stop first: rows must not say what
    /// no durable frame says, so the checkpoint is left out, and the next start replays.
    fn wait_for(&self, frame: FrameNo) -> bool {
        while self.wal.marks().get(Class::Durable) < frame {
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            self.wal.sync_soon();
            std::thread::park_timeout(Duration::from_micros(200));
        }
        true
    }

    /// Retention, if it is due, which stages effects; shows what it did before, where that is
    /// durable by now.
    pub(crate) fn retain_if_due(&self, now: Now) {
        let mut state = self.state.lock();
        let marks = self.wal.marks();
        state.starts.retain(|(ticket, view, start)| {
            let durable = marks.reached(*ticket);
            if durable {
                view.set_start(*start);
            }
            !durable
        });
        if now.mono.since(state.retained) >= self.settings.retention_every {
            state.retained = now.mono;
            self.retain(now, &mut state);
        }
    }

    /// Moves the start of logs past what retention gives up, and forgets old producers.
    fn retain(&self, now: Now, state: &mut State) {
        for topic in self.catalog.all() {
            for partition in &topic.partitions {
                let start = keep_from(&topic, &partition.view, now.wall);
                let mut shard = self.core.lock(partition.shard);
                if let Some(log) = shard.logs.get_mut(&partition.log) {
                    log.expire_producers(now.wall - PRODUCER_EXPIRY_MS);
                }
                if planted::active(Bug::ForgetStart) {
                    if start > partition.view.start() {
                        shard.replay_start(partition.log, start);
                    }
                } else if let Some(ticket) = shard.stage_start(partition.log, start) {
                    if planted::active(Bug::ShowStartEarly) {
                        partition.view.set_start(start);
                    }
                    state.starts.push((ticket, partition.view.clone(), start));
                }
            }
        }
        self.wal.notify();
    }
}

/// Where a log begins once retention by time and size has had its way: whole stretches go, oldest
/// first.
fn keep_from(topic: &Topic, view: &LogView, now_ms: i64) -> i64 {
    let policy = &topic.effective;
    let mut start = view.start();
    let mut bytes = i64::try_from(view.bytes()).unwrap_or(i64::MAX);
    for extent in view.extents() {
        let len = i64::try_from(extent.len).unwrap_or(i64::MAX);
        let old = policy.retention_ms >= 0
            && extent.max_timestamp < now_ms.saturating_sub(policy.retention_ms);
        let left = if planted::active(Bug::RetainTooLittle) { bytes } else { bytes - len };
        let large = policy.retention_bytes >= 0 && left >= policy.retention_bytes;
        if !old && !large {
            break;
        }
        bytes -= len;
        start = start.max(i64::try_from(extent.next).unwrap_or(start));
    }
    start
}

/// The rows of a deleted log.
fn forget_rows(view: &LogView, changes: &mut Changes) {
    // What the same commit would put for it must not come back.
    changes.put.retain(|(key, _)| !(key.shard == view.shard && of_log(key.kind, key.id, view.id)));
    for kind in [Kind::Log, Kind::Extents, Kind::Producer] {
        changes.delete_ranges.push(Key::all_of(view.shard, kind, view.id));
    }
}

fn of_log(kind: Kind, id: u64, log: u64) -> bool {
    matches!(kind, Kind::Log | Kind::Extents | Kind::Producer) && id == log
}
