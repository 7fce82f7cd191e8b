//! Cold reads: stretches of blobs, read by a few threads of their own and kept for a while, so that
//! no connection ever waits for a disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::batch::Header;
use crate::blob::BlobError;
use crate::extent::Extent;
use crate::log::{LogId, Offset};
use crate::store::Store;
use crate::stretch;
use crate::wake::Waker;

/// Bytes of one read from a blob.
const BLOCK: u64 = 2 << 20;
/// Reads that may wait for a thread.
const QUEUE_MAX: usize = 4096;
/// Failures remembered, so that who asks again hears of them.
const FAILURES_MAX: usize = 1024;

/// What a cold read gave.
#[derive(Debug)]
pub enum Cold {
    /// Whole batches, the first of which contains the offset.
    Batches(Bytes),
    /// It is being read; the waker will be woken, and then asks again.
    Pending,
    /// It cannot be read.
    Failed(Arc<BlobError>),
}

struct Block {
    next: Offset,
    bytes: Bytes,
    used: u64,
    /// Nobody has asked for it since it was read: it stays until somebody does.
    fresh: bool,
}

struct Job {
    extent: Extent,
    from: Offset,
    wakers: Vec<Waker>,
}

#[derive(Default)]
struct Inner {
    blocks: BTreeMap<(LogId, Offset), Block>,
    bytes: usize,
    clock: u64,
    queue: VecDeque<(LogId, Offset)>,
    /// Other work that reads blobs.
    tasks: VecDeque<Box<dyn FnOnce(&Store) + Send>>,
    /// Queued or being read.
    jobs: BTreeMap<(LogId, Offset), Job>,
    failed: BTreeMap<(LogId, Offset), Arc<BlobError>>,
    stop: bool,
}

/// The threads that read, and what they have read lately.
pub struct Reader {
    store: Arc<Store>,
    bytes_max: usize,
    inner: Mutex<Inner>,
    work: Condvar,
}

impl Reader {
    pub fn new(store: Arc<Store>, bytes_max: usize) -> Arc<Reader> {
        let (inner, work) = (Mutex::default(), Condvar::new());
        Arc::new(Reader { store, bytes_max, inner, work })
    }

    /// Starts a reading thread.
    pub fn spawn(self: &Arc<Reader>, name: &str) -> std::io::Result<std::thread::JoinHandle<()>> {
        let reader = self.clone();
        let run = move || while reader.read_one(true) {};
        std::thread::Builder::new().name(name.to_owned()).spawn(run)
    }

    /// Ends the threads once they have finished what they are reading.
    pub fn stop(&self) {
        self.inner.lock().stop = true;
        self.work.notify_all();
    }

    /// Batches of a log from the one that contains `from`, at most `max_bytes` but always one.
    /// `extent` is where the log says that the offset lies.
    pub fn read(&self, extent: &Extent, from: Offset, max_bytes: usize, me: &Waker) -> Cold {
        let mut inner = self.inner.lock();
        if let Some(error) = inner.failed.remove(&(extent.log, from)) {
            return Cold::Failed(error);
        }
        inner.clock += 1;
        let now = inner.clock;
        let before = inner.blocks.range_mut((extent.log, 0)..=(extent.log, from)).next_back();
        let found = before.filter(|((_, _), block)| from < block.next).map(|(_, block)| {
            block.used = now;
            block.fresh = false;
            (block.bytes.clone(), block.next)
        });
        let Some((bytes, next)) = found else {
            self.ask(&mut inner, extent, from, Some(me));
            return Cold::Pending;
        };
        // A reader that goes on will want what follows: it is read while this is sent.
        let follows = u64::try_from(next).is_ok_and(|next| next < extent.next);
        let ahead = (extent.log, next);
        if follows && !inner.blocks.contains_key(&ahead) && inner.queue.len() < QUEUE_MAX / 2 {
            self.ask(&mut inner, extent, next, None);
        }
        drop(inner);
        Cold::Batches(within(&bytes, from, max_bytes).expect("a block has what it answers for"))
    }

    fn ask(&self, inner: &mut Inner, extent: &Extent, from: Offset, me: Option<&Waker>) {
        let key = (extent.log, from);
        if let Some(job) = inner.jobs.get_mut(&key) {
            job.wakers.extend(me.cloned());
            return;
        }
        if inner.queue.len() >= QUEUE_MAX {
            // Too many wait already: whoever asks looks again at once, and is paced by that.
            me.into_iter().for_each(Waker::wake);
            return;
        }
        let wakers = me.into_iter().cloned().collect();
        inner.jobs.insert(key, Job { extent: *extent, from, wakers });
        inner.queue.push_back(key);
        self.work.notify_one();
    }

    /// Reads one stretch; false once the reader is stopped. Without `wait` it returns at once if
    /// nothing is asked for: for the simulator.
    pub fn read_one(&self, wait: bool) -> bool {
        let (key, extent, from) = {
            let mut inner = self.inner.lock();
            loop {
                if inner.stop {
                    return false;
                }
                if let Some(task) = inner.tasks.pop_front() {
                    drop(inner);
                    task(&self.store);
                    return true;
                }
                if let Some(key) = inner.queue.pop_front() {
                    let job = &inner.jobs[&key];
                    break (key, job.extent, job.from);
                }
                if !wait {
                    return false;
                }
                self.work.wait(&mut inner);
            }
        };
        let read = self.load(&extent, from);
        let mut inner = self.inner.lock();
        let job = inner.jobs.remove(&key).expect("only this thread ends it");
        match read {
            Ok((bytes, next)) => self.keep(&mut inner, key, bytes, next),
            Err(error) => {
                if !job.wakers.is_empty() && inner.failed.len() < FAILURES_MAX {
                    inner.failed.insert(key, Arc::new(error));
                }
            }
        }
        drop(inner);
        job.wakers.iter().for_each(Waker::wake);
        true
    }

    fn load(&self, extent: &Extent, from: Offset) -> Result<(Bytes, Offset), BlobError> {
        let blobs = &*self.store.blobs;
        let index = self.store.indexes.get(blobs, extent)?;
        let from = u64::try_from(from).unwrap_or(0);
        let bytes = stretch::read_stretch(blobs, extent, &index, from, BLOCK)?;
        let next = crate::batch::split(&bytes).last().and_then(Result::ok);
        let next = next.map(|(header, _)| header.next_offset());
        let range = extent.position..extent.end();
        let next = next
            .ok_or_else(|| BlobError::damaged(extent.blob, range, "no batch holds the offset"))?;
        Ok((bytes, next))
    }

    fn keep(&self, inner: &mut Inner, key: (LogId, Offset), bytes: Bytes, next: Offset) {
        assert!(!bytes.is_empty() && key.1 < next, "a block of log {} without its offset", key.0);
        inner.clock += 1;
        inner.bytes += bytes.len();
        let block = Block { next, bytes, used: inner.clock, fresh: true };
        // The key is the first offset that was asked for, from which on the block answers.
        if let Some(before) = inner.blocks.insert(key, block) {
            inner.bytes -= before.bytes.len();
        }
        while inner.bytes > self.bytes_max {
            // This one stays, however large: whoever waits for it would ask for it again for ever.
            let others = inner.blocks.iter().filter(|(other, _)| **other != key);
            let oldest = others.min_by_key(|(_, block)| (block.fresh, block.used));
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            let gone = inner.blocks.remove(&oldest).expect("just found");
            assert!(inner.bytes >= gone.bytes.len(), "the sum of what is kept");
            inner.bytes -= gone.bytes.len();
        }
    }

    /// Runs something that reads blobs on one of the threads; false if too much waits already.
    pub fn run(&self, task: impl FnOnce(&Store) + Send + 'static) -> bool {
        let mut inner = self.inner.lock();
        if inner.tasks.len() >= QUEUE_MAX {
            return false;
        }
        inner.tasks.push_back(Box::new(task));
        self.work.notify_one();
        true
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

/// The part of a block from the batch that contains `from`, at most `max_bytes` but always one
/// batch.
fn within(block: &Bytes, from: Offset, max_bytes: usize) -> Option<Bytes> {
    let (mut at, mut begin) = (0, None);
    while at < block.len() {
        let header = Header::parse(&block[at..]).ok()?;
        let end = at + header.len;
        match begin {
            None if header.next_offset() > from => begin = Some(at),
            Some(begin) if end - begin > max_bytes => return Some(block.slice(begin..at)),
            _ => {}
        }
        at = end;
    }
    begin.map(|begin| block.slice(begin..))
}
