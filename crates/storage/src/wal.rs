//! The write-ahead log: what every shard stages becomes durable here, in one order, many at once.
//! Knows frames and files; what an effect means is the broker's matter.

pub(crate) mod files;
pub mod replay;
pub mod salvage;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::aligned::Pool;
use crate::disk::Disk;
use crate::frame::{Classes, FRAME_MAX, Secret, Section};
use crate::planted::{self, Bug};
use crate::recent::Recent;
use crate::ticket::{Class, FrameNo, Marks, Ticket};
use crate::wake::{Herald, Waker};
use files::Files;

/// What waits to be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    pub bytes: usize,
    pub classes: Classes,
}

/// What a WAL asks of the broker; called only from the WAL's own threads. The WAL owns the timing
/// of cuts.
pub trait FrameSource: Send + Sync {
    /// What is waiting; cheap, reads atomics.
    fn staged(&self) -> Staged;
    /// True where work of class `os` may come, which must be written while a sync runs; cheap.
    fn expects_os(&self) -> bool;
    /// Takes the stage of every shard as the content of frame `number`; from then on shards stage
    /// for the next frame.
    fn cut(&self, number: FrameNo) -> Vec<Section>;
    /// Gives sections back for reuse.
    fn recycle(&self, sections: Vec<Section>);
    /// A mark has moved; everything it made visible is visible.
    fn reached(&self, class: Class, upto: FrameNo);
    /// A write or sync has failed: stop serving for good.
    fn lost(&self, why: WalLoss) -> !;
}

/// Why a WAL cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the write-ahead log cannot be {what}: {source}")]
pub struct WalLoss {
    pub what: &'static str,
    pub source: std::io::Error,
}

/// Bounds of a WAL.
#[derive(Clone, Copy, Debug)]
pub struct WalLimits {
    /// The largest frame in bytes.
    pub frame_max: usize,
}

/// What a WAL has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalWork {
    /// Frames written, those without content included.
    pub frames: u64,
    /// Bytes written, padding included.
    pub bytes: u64,
    /// Group commits: each syncs what was written before it.
    pub syncs: u64,
}

/// Where everything that must survive goes first.
pub trait Wal: Send + Sync {
    /// Something was staged.
    fn notify(&self);
    /// Frames below this one are no longer needed.
    fn trim(&self, below: FrameNo) -> std::io::Result<()>;
    fn limits(&self) -> WalLimits;
    fn marks(&self) -> &Arc<Marks>;
    /// Wakes `waker` once the mark has reached the ticket; at once if it has already.
    fn wait(&self, ticket: Ticket, waker: &Waker);
    /// Makes everything that is written durable soon, also where nobody waits for it.
    fn sync_soon(&self);
    /// Bytes written since the frame that replay would begin with.
    fn backlog(&self) -> u64;
    /// What was done since the start.
    fn work(&self) -> WalWork;
    /// The place of the next frame, for the checkpoint that replaces everything before it.
    fn place_of(&self, frame: FrameNo) -> Option<Place>;
    /// Writes what is staged, syncs, and ends the threads.
    fn close(&self);
}

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub frame: FrameNo,
    /// Number of the WAL file.
    pub file: u64,
    /// Bytes from its beginning.
    pub offset: u64,
    pub generation: u32,
}

/// Settings of a [`FileWal`].
#[derive(Clone, Copy, Debug)]
pub struct WalSettings {
    /// Bytes of a full-size file.
    pub file_bytes: u64,
    /// Bytes of the very first file, so that an empty directory is ready at once.
    pub first_file_bytes: u64,
    /// Waits this long for more before a cut. Zero serves all but very slow disks.
    pub linger: Duration,
    /// Files kept for reuse.
    pub spares: usize,
    /// Bytes of recent batches that no blob holds at most: then writing waits for the bundler.
    pub fresh_max: usize,
    /// Bytes of files that replay would read at most: then writing waits for the checkpoint.
    pub backlog_max: u64,
}

impl Default for WalSettings {
    fn default() -> WalSettings {
        WalSettings {
            file_bytes: 128 << 20,
            first_file_bytes: 4 << 20,
            linger: Duration::ZERO,
            spares: 4,
            fresh_max: 96 << 20,
            backlog_max: 1 << 30,
        }
    }
}

/// What a WAL is made of.
pub struct WalParts {
    pub disk: Arc<dyn Disk>,
    pub secret: Secret,
    pub pool: Arc<Pool>,
    /// Told of every written frame that holds batches.
    pub recent: Arc<Recent>,
    /// Wakes who waits for a mark.
    pub herald: Arc<Herald>,
}

/// The WAL in files of one directory. One thread writes; it syncs as well where nobody waits
/// for less than that, else another does.
pub struct FileWal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

struct Shared {
    secret: Secret,
    generation: u32,
    settings: WalSettings,
    source: Arc<dyn FrameSource>,
    marks: Arc<Marks>,
    pool: Arc<Pool>,
    recent: Arc<Recent>,
    herald: Arc<Herald>,
    fresh_max: usize,
    files: Files,
    state: Mutex<writer::State>,
    /// The writer waits here, for work or for the syncer.
    work: Condvar,
    /// The syncer waits here for written frames.
    written: Condvar,
    /// Waits for a file to be needed.
    prepare: Condvar,
    /// True while the writer sleeps for want of work.
    asleep: AtomicBool,
    waiters: Mutex<Vec<(Ticket, Waker)>>,
    /// The lowest frame number among `waiters` per class, so that a mark looks only if it must.
    waiting: [AtomicU64; 2],
}

impl FileWal {
    /// Continues after what replay found: writes and syncs the opening frame, then starts its
    /// threads.
    pub fn open(
        parts: WalParts,
        settings: WalSettings,
        end: replay::End,
        source: Arc<dyn FrameSource>,
    ) -> std::io::Result<FileWal> {
        let wal = FileWal::without_threads(parts, settings, end, source)?;
        for (name, run) in [
            ("wal-write", writer::write_loop as fn(&Shared)),
            ("wal-sync", writer::sync_loop),
            ("wal-files", writer::prepare_loop),
        ] {
            let shared = wal.shared.clone();
            let spawned = std::thread::Builder::new().name(name.into()).spawn(move || {
                let _guard = AbortOnPanic;
                run(&shared);
            });
            wal.threads.lock().push(spawned?);
        }
        Ok(wal)
    }

    /// The same, but whoever calls [`FileWal::write`] and [`FileWal::sync`] decides when what
    /// happens: for the simulator.
    pub fn without_threads(
        parts: WalParts,
        settings: WalSettings,
        end: replay::End,
        source: Arc<dyn FrameSource>,
    ) -> std::io::Result<FileWal> {
        let WalParts { disk, secret, pool, recent, herald } = parts;
        assert!(end.next > 0, "frames are numbered from 1");
        let generation = end.generation + 1;
        let next = end.next;
        let files = Files::open(disk, secret, settings, generation, end)?;
        let shared = Arc::new(Shared {
            secret,
            generation,
            settings,
            source,
            marks: Arc::new(Marks::new(next - 1)),
            pool,
            recent,
            herald,
            fresh_max: settings.fresh_max,
            files,
            state: Mutex::new(writer::State::new(next)),
            work: Condvar::new(),
            written: Condvar::new(),
            prepare: Condvar::new(),
            asleep: AtomicBool::new(false),
            waiters: Mutex::default(),
            waiting: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
        });
        writer::open(&shared)?;
        Ok(FileWal { shared, threads: Mutex::default() })
    }

    /// Writes one frame with what is staged; only without threads.
    pub fn write(&self) -> std::io::Result<FrameNo> {
        writer::write_once(&self.shared)
    }

    /// Syncs what is written; only without threads.
    pub fn sync(&self) -> std::io::Result<()> {
        writer::sync(&self.shared)
    }

    /// The first half of [`FileWal::sync`]: the files are synced, nobody is told. Returns up to
    /// which frame, for [`FileWal::end_sync`]; frames may be written in between.
    pub fn begin_sync(&self) -> std::io::Result<FrameNo> {
        writer::begin_sync(&self.shared)
    }

    /// The second half: moves the durable mark and wakes.
    pub fn end_sync(&self, upto: FrameNo) {
        writer::end_sync(&self.shared, upto);
    }

    /// Makes a file ready for later frames, if one is wanted; only without threads.
    pub fn prepare(&self) -> std::io::Result<()> {
        if self.shared.files.wants_spare() { self.shared.files.prepare() } else { Ok(()) }
    }
}

/// A WAL thread that panics has broken an invariant: nothing may be answered after it.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl Wal for FileWal {
    fn notify(&self) {
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            let _state = self.shared.state.lock();
            self.shared.work.notify_one();
        }
    }

    fn trim(&self, below: FrameNo) -> std::io::Result<()> {
        self.shared.files.trim(below)
    }

    fn limits(&self) -> WalLimits {
        WalLimits { frame_max: FRAME_MAX }
    }

    fn marks(&self) -> &Arc<Marks> {
        &self.shared.marks
    }

    fn wait(&self, ticket: Ticket, waker: &Waker) {
        self.shared.wait(ticket, waker);
    }

    fn sync_soon(&self) {
        if !self.threads.lock().is_empty() {
            return writer::sync_soon(&self.shared);
        }
        // Nobody else will: a simulated life ends here as a process would in `lost`.
        if let Err(source) = writer::sync(&self.shared) {
            std::panic::resume_unwind(Box::new(WalLoss { what: "synced", source }));
        }
    }

    fn backlog(&self) -> u64 {
        self.shared.files.backlog()
    }

    fn work(&self) -> WalWork {
        self.shared.state.lock().work()
    }

    fn place_of(&self, frame: FrameNo) -> Option<Place> {
        self.shared.files.place_of(frame)
    }

    fn close(&self) {
        writer::stop(&self.shared);
        for thread in self.threads.lock().drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Drop for FileWal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn wait(&self, ticket: Ticket, waker: &Waker) {
        self.waiters.lock().push((ticket, waker.clone()));
        self.waiting[ticket.class() as usize].fetch_min(ticket.frame(), Ordering::SeqCst);
        // The mark may have passed before the entry stood: look once more.
        if self.marks.reached(ticket) {
            let mut due = Vec::new();
            self.take_waiters(ticket.class(), &mut due);
            self.herald.wake(&mut due);
        }
    }

    /// Adds to `due` who waits for what the mark has reached.
    fn take_waiters(&self, class: Class, due: &mut Vec<Waker>) {
        let upto = self.marks.get(class);
        let lowest = &self.waiting[class as usize];
        if lowest.load(Ordering::SeqCst) > upto {
            return;
        }
        let mut waiters = self.waiters.lock();
        let reached =
            |(ticket, _): &mut (Ticket, Waker)| ticket.class() == class && ticket.frame() <= upto;
        let woken = waiters.extract_if(.., reached).map(|(_, waker)| waker);
        if planted::active(Bug::LoseWaiter) {
            woken.for_each(drop);
        } else {
            due.extend(woken);
        }
        let left = waiters.iter().filter(|(ticket, _)| ticket.class() == class);
        let left = left.map(|(ticket, _)| ticket.frame()).min().unwrap_or(u64::MAX);
        lowest.store(left, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
