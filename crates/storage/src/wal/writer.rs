//! The threads of a WAL. The writer cuts, seals and writes; then what was written is synced, the
//! durable mark moves, and who waits is woken. With only durable work nothing is cut before that:
//! what arrives meanwhile is the next group, so groups grow with load and no timer is needed. The
//! writer syncs by itself then, as handing over to another thread and back costs as much as all
//! else. Where work may come that waits for no sync, the syncer does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Shared, WalLoss, WalWork};
use crate::disk::DiskFile;
use crate::frame::{Classes, Section, encode_frame};
use crate::log::{LogView, Offset, TailBatch};
use crate::planted::{self, Bug};
use crate::ticket::{Class, FrameNo};
use crate::wake::Waker;

/// After this long without work a frame without content states how far the WAL is durable.
const WITNESS: Duration = Duration::from_millis(20);
/// How often a writer that waits for a checkpoint looks again.
const BACKLOG_LOOK: Duration = Duration::from_millis(5);
/// Written but unsynced work of class `os` is synced after this long at the latest.
const OS_SYNC: Duration = Duration::from_secs(1);
/// ... or after this many bytes.
const OS_SYNC_BYTES: usize = 64 << 20;

pub struct State {
    next: FrameNo,
    written: FrameNo,
    synced: FrameNo,
    /// Frames that are written and not synced, with what to show and whom to wake then.
    pending: VecDeque<Pending>,
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// The unsynced part holds durable work, or enough of the other.
    sync_now: bool,
    /// The syncer is at it.
    syncing: bool,
    unsynced_bytes: usize,
    os_since: Option<Instant>,
    /// The last frame had content, so its durability has no witness yet.
    witness: bool,
    last_write: Option<Instant>,
    stop: bool,
    writer_done: bool,
    work: WalWork,
}

#[derive(Default)]
struct Pending {
    frame: FrameNo,
    shows: Vec<(Arc<LogView>, Offset)>,
    wakes: Vec<Waker>,
}

impl State {
    pub fn new(next: FrameNo) -> State {
        State {
            next,
            written: next - 1,
            synced: next - 1,
            pending: VecDeque::new(),
            unsynced: Vec::new(),
            sync_now: false,
            syncing: false,
            unsynced_bytes: 0,
            os_since: None,
            witness: false,
            last_write: None,
            stop: false,
            writer_done: false,
            work: WalWork::default(),
        }
    }

    pub fn work(&self) -> WalWork {
        self.work
    }
}

/// Writes the opening frame and syncs it before anything else may follow.
pub fn open(shared: &Shared) -> std::io::Result<()> {
    write_once(shared)?;
    sync(shared)
}

pub fn sync_soon(shared: &Shared) {
    shared.state.lock().sync_now = true;
    shared.written.notify_one();
}

pub fn stop(shared: &Shared) {
    shared.state.lock().stop = true;
    shared.asleep.store(false, Ordering::SeqCst);
    shared.work.notify_all();
    shared.written.notify_all();
    shared.prepare.notify_all();
}

fn stopping(shared: &Shared) -> bool {
    shared.state.lock().stop
}

enum Next {
    Frame(FrameNo),
    Witness(FrameNo),
    Stop,
}

pub fn write_loop(shared: &Shared) {
    loop {
        let result = match next(shared) {
            Next::Frame(number) => {
                shared.recent.wait_for_room(shared.fresh_max);
                while shared.files.backlog() > shared.settings.backlog_max && !stopping(shared) {
                    std::thread::park_timeout(BACKLOG_LOOK);
                }
                if !shared.settings.linger.is_zero() {
                    std::thread::park_timeout(shared.settings.linger);
                }
                write_frame(shared, number, shared.source.cut(number))
            }
            Next::Witness(number) => write_frame(shared, number, shared.source.cut(number)),
            Next::Stop => break,
        };
        match result {
            Ok(holds) if claims_sync(shared, holds) => sync_own(shared),
            Ok(_) => {}
            Err(source) => shared.source.lost(WalLoss { what: "written", source }),
        }
    }
    // Everything is synced once more, and a last frame says so.
    let mut state = shared.state.lock();
    while state.synced < state.written || state.syncing {
        state.sync_now = true;
        shared.written.notify_one();
        shared.work.wait(&mut state);
    }
    let number = state.next;
    drop(state);
    if let Err(source) = write_frame(shared, number, shared.source.cut(number)) {
        shared.source.lost(WalLoss { what: "written", source });
    }
    let mut state = shared.state.lock();
    state.sync_now = true;
    state.writer_done = true;
    shared.written.notify_one();
}

/// Decides who syncs the frame that was just written: true = the writer, at once.
fn claims_sync(shared: &Shared, holds: Classes) -> bool {
    let mut state = shared.state.lock();
    let own = holds.durable && !shared.source.expects_os() && !state.syncing;
    if own {
        state.syncing = true;
    } else if holds.durable || holds.os {
        state.sync_now |= holds.durable;
        shared.written.notify_one();
    }
    own
}

fn sync_own(shared: &Shared) {
    if let Err(source) = sync(shared) {
        shared.source.lost(WalLoss { what: "synced", source });
    }
    // Somebody else may have wanted one meanwhile.
    if shared.state.lock().sync_now {
        shared.written.notify_one();
    }
}

/// Sleeps until there is something to write.
fn next(shared: &Shared) -> Next {
    let mut state = shared.state.lock();
    loop {
        shared.asleep.store(true, Ordering::SeqCst);
        let staged = shared.source.staged();
        let sync_ahead = state.sync_now || state.syncing;
        if staged.bytes > 0 {
            shared.asleep.store(false, Ordering::SeqCst);
            if staged.classes.os || !sync_ahead {
                return Next::Frame(state.next);
            }
            shared.work.wait(&mut state);
            continue;
        }
        if state.stop {
            return Next::Stop;
        }
        let due = state.witness.then_some(state.last_write).flatten().map(|at| at + WITNESS);
        match due {
            Some(due) if !sync_ahead && due <= Instant::now() => {
                shared.asleep.store(false, Ordering::SeqCst);
                return Next::Witness(state.next);
            }
            Some(due) if !sync_ahead => {
                shared.work.wait_until(&mut state, due);
            }
            _ => shared.work.wait(&mut state),
        }
    }
}

/// One turn without threads, for a simulator that decides when each happens: writes what is staged
/// (or a frame without content), returns its number.
pub fn write_once(shared: &Shared) -> std::io::Result<FrameNo> {
    let number = shared.state.lock().next;
    write_frame(shared, number, shared.source.cut(number))?;
    Ok(number)
}

fn write_frame(
    shared: &Shared,
    number: FrameNo,
    mut sections: Vec<Section>,
) -> std::io::Result<Classes> {
    let synced = shared.marks.get(Class::Durable);
    let (buffer, padded, places) =
        encode_frame(shared.secret, number, shared.generation, synced, &sections, &shared.pool);
    let target = shared.files.place(number, padded as u64)?;
    target.file.write_at(&buffer[..padded], target.at)?;
    let frame = buffer.freeze();
    assert!(synced < number, "frame {number} follows what is synced");
    let mut now = Pending { frame: number, ..Pending::default() };
    let mut later = Pending { frame: number, ..Pending::default() };
    let mut holds = Classes::default();
    let mut views = Vec::new();
    for (section, start) in sections.iter_mut().zip(places) {
        holds.merge(section.classes);
        for appended in section.appends.drain(..) {
            let at = start + appended.at;
            appended.view.push(TailBatch {
                base: appended.base,
                next: appended.next,
                max_timestamp: appended.max_timestamp,
                frame: number,
                bytes: frame.slice(at..at + appended.len),
            });
            let early = appended.class == Class::Os || planted::active(Bug::ShowEarly);
            views.push(appended.view.clone());
            let of_class = if early { &mut now } else { &mut later };
            of_class.shows.push((appended.view, appended.next));
        }
        for (class, waker) in section.wakes.drain(..) {
            let of_class = if class == Class::Os { &mut now } else { &mut later };
            of_class.wakes.push(waker);
        }
    }
    let content = !sections.is_empty();
    shared.recent.add(number, frame.len(), views);
    note_written(shared, number, later, Written { content, padded, file: target.file });
    shared.source.recycle(sections);
    reach(shared, Class::Os, number, vec![now]);
    if planted::active(Bug::AckEarly) {
        end_sync(shared, number);
    }
    if shared.files.wants_spare() {
        shared.prepare.notify_one();
    }
    Ok(holds)
}

struct Written {
    content: bool,
    padded: usize,
    file: Arc<dyn DiskFile>,
}

fn note_written(shared: &Shared, number: FrameNo, later: Pending, written: Written) {
    let mut state = shared.state.lock();
    assert_eq!(state.next, number, "frames are dense");
    assert!(state.synced <= state.written, "what is synced was written");
    (state.next, state.written) = (number + 1, number);
    state.last_write = Some(Instant::now());
    state.witness = written.content;
    state.pending.push_back(later);
    if !state.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, &written.file)) {
        state.unsynced.push(written.file);
    }
    state.unsynced_bytes += written.padded;
    state.work.frames += 1;
    state.work.bytes += written.padded as u64;
    if written.content && state.os_since.is_none() {
        state.os_since = state.last_write;
    }
    state.sync_now |= state.unsynced_bytes >= OS_SYNC_BYTES;
    // A witness is not worth a sync of its own.
    if !written.content && state.synced + 1 == number {
        state.synced = number;
    }
}

pub fn sync_loop(shared: &Shared) {
    loop {
        {
            let mut state = shared.state.lock();
            while !state.sync_now || state.syncing {
                if state.writer_done && state.pending.is_empty() {
                    return;
                }
                if state.syncing {
                    shared.written.wait(&mut state);
                    continue;
                }
                match state.os_since.map(|since| since + OS_SYNC) {
                    Some(due) if due <= Instant::now() => state.sync_now = true,
                    Some(due) => {
                        shared.written.wait_until(&mut state, due);
                    }
                    None => shared.written.wait(&mut state),
                }
            }
            state.syncing = true;
        }
        if let Err(source) = sync(shared) {
            shared.source.lost(WalLoss { what: "synced", source });
        }
        shared.work.notify_one();
    }
}

/// Syncs every written file in order, then moves the durable mark.
pub fn sync(shared: &Shared) -> std::io::Result<()> {
    let upto = begin_sync(shared)?;
    end_sync(shared, upto);
    Ok(())
}

/// Syncs every written file in order; returns up to which frame.
pub fn begin_sync(shared: &Shared) -> std::io::Result<FrameNo> {
    let (files, upto) = {
        let mut state = shared.state.lock();
        (state.sync_now, state.syncing) = (false, true);
        state.unsynced_bytes = 0;
        state.os_since = None;
        (std::mem::take(&mut state.unsynced), state.written)
    };
    for file in files {
        sync_file(&*file)?;
    }
    Ok(upto)
}

/// Moves the durable mark up to a frame that is synced.
pub fn end_sync(shared: &Shared, upto: FrameNo) {
    let pending = {
        let mut state = shared.state.lock();
        state.synced = state.synced.max(upto);
        state.work.syncs += 1;
        let ready = state.pending.partition_point(|pending| pending.frame <= upto);
        state.pending.drain(..ready).collect()
    };
    reach(shared, Class::Durable, upto, pending);
    shared.state.lock().syncing = false;
}

fn sync_file(file: &dyn DiskFile) -> std::io::Result<()> {
    if planted::active(Bug::SkipFsync) {
        return Ok(());
    }
    let synced = file.sync();
    if synced.is_err() && planted::active(Bug::RetrySync) {
        return Ok(());
    }
    synced
}

/// Shows, then marks, then wakes; takes no shard's lock.
fn reach(shared: &Shared, class: Class, upto: FrameNo, reached: Vec<Pending>) {
    let mut woken = Vec::new();
    for mut pending in reached {
        if woken.is_empty() {
            std::mem::swap(&mut woken, &mut pending.wakes);
        }
        woken.append(&mut pending.wakes);
        for (view, next) in pending.shows {
            view.show(next, &mut woken);
        }
    }
    shared.marks.raise(class, upto);
    shared.take_waiters(class, &mut woken);
    shared.herald.wake(&mut woken);
    shared.source.reached(class, upto);
}

/// Keeps a file of zeros ready, so that the writer never has to make one.
pub fn prepare_loop(shared: &Shared) {
    loop {
        {
            let mut state = shared.state.lock();
            while !state.stop && !shared.files.wants_spare() {
                shared.prepare.wait(&mut state);
            }
            if state.stop {
                return;
            }
        }
        if let Err(error) = shared.files.prepare() {
            tracing::warn!(%error, "no room to prepare a file of the write-ahead log");
            let mut state = shared.state.lock();
            if !state.stop {
                shared.prepare.wait_for(&mut state, Duration::from_secs(1));
            }
        }
    }
}
