//! The work that the broker's threads do, one step at a time, for a simulator that decides when
//! each step happens. A step that fails ends this life of the broker: nothing may follow it.

use std::io::Result;
use std::sync::Arc;

use sabir_storage::store::StoreError;
use sabir_storage::ticket::{Class, FrameNo};
use sabir_storage::wal::{FileWal, FrameSource};

use crate::broker::Broker;
use crate::clock::Now;

/// The steps of one broker that has no threads.
pub struct Pump {
    broker: Arc<Broker>,
    wal: Arc<FileWal>,
}

impl Pump {
    pub(crate) fn new(broker: Arc<Broker>, wal: Arc<FileWal>) -> Pump {
        Pump { broker, wal }
    }

    /// Bytes that wait for [`Pump::write`].
    pub fn staged(&self) -> usize {
        self.broker.core.staged().bytes
    }

    /// Writes one frame with what is staged; without content it only says how far the WAL is
    /// durable.
    pub fn write(&self) -> Result<FrameNo> {
        self.wal.write()
    }

    /// Syncs what is written, without telling anybody: returns up to which frame.
    pub fn begin_sync(&self) -> Result<FrameNo> {
        self.wal.begin_sync()
    }

    /// Moves the durable mark to what [`Pump::begin_sync`] returned, and wakes.
    pub fn end_sync(&self, upto: FrameNo) {
        self.wal.end_sync(upto);
    }

    /// Makes a file ready for later frames, if one is wanted.
    pub fn prepare(&self) -> Result<()> {
        self.wal.prepare()
    }

    /// Does retention if it is due, which may stage effects: they are to be written before
    /// [`Pump::keep`] of the same time.
    pub fn retain(&self, now: Now) {
        self.broker.keeper.retain_if_due(now);
    }

    /// Does what else the keeper finds due: bundles, a checkpoint. Nothing may be staged: a
    /// checkpoint takes its images where nothing is, and nobody else would write it. A sync that
    /// fails unwinds with a `WalLoss`.
    pub fn keep(&self, now: Now) -> std::result::Result<(), StoreError> {
        assert_eq!(self.staged(), 0, "written before the keeper's turn");
        self.broker.keeper.turn(now)
    }

    /// Makes a checkpoint, whatever is due; as [`Pump::keep`].
    pub fn checkpoint(&self) -> std::result::Result<(), StoreError> {
        assert_eq!(self.staged(), 0, "written before the keeper's turn");
        self.broker.keeper.checkpoint_now()
    }

    /// Does one cold read that somebody waits for; false if there is none.
    pub fn read_one(&self) -> bool {
        self.broker.reader.read_one(false)
    }

    /// Does what is due in groups.
    pub fn tick(&self, now: Now) {
        self.broker.tick(now);
    }

    /// How far the WAL is written, or durable.
    pub fn mark(&self, class: Class) -> FrameNo {
        self.broker.wal.marks().get(class)
    }
}
