//! All shards behind their locks, as the WAL and the callers see them. Lock order: rising shard
//! number; nothing under a lock blocks, waits, logs or wakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sabir_storage::frame::{Classes, Section};
use sabir_storage::ticket::{Class, FrameNo};
use sabir_storage::wake::Herald;
use sabir_storage::wal::{FrameSource, Staged, WalLoss};

use crate::admission::Admission;
use crate::effect;
use crate::image::Images;
use crate::shard::Shard;

/// Sections kept for reuse.
const RECYCLED_MAX: usize = 64;
/// Entities imaged under one hold of a shard's lock.
pub const SLICE: usize = 256;
/// How often, and how many times, a checkpoint looks whether a shard was cut.
const CUT_LOOK: Duration = Duration::from_micros(100);
const CUT_LOOKS: usize = 50;
const OS: u8 = 1;
const DURABLE: u8 = 2;

/// The shards of a node.
pub struct Core {
    shards: Box<[Mutex<Shard>]>,
    /// How much is staged, and who may stage more.
    pub admission: Arc<Admission>,
    classes: AtomicU8,
    recycled: Mutex<Vec<Section>>,
    /// No room on the disk: publishes are refused.
    full: AtomicBool,
    /// There is, or was, a log whose work waits for no sync.
    expects_os: AtomicBool,
    /// The shard that a checkpoint wants imaged when it is cut next, plus one; 0 = none.
    image_wanted: AtomicU32,
    imaged: Mutex<Option<(Images, bool)>>,
    /// Called when the WAL is lost; the process ends in it, a simulated one unwinds.
    on_loss: Box<dyn Fn(&WalLoss) + Send + Sync>,
}

/// A locked shard. What was staged under it counts once it is released.
pub struct Locked<'a> {
    shard: MutexGuard<'a, Shard>,
    core: &'a Core,
    before: usize,
}

impl Core {
    pub fn new(
        count: u16,
        herald: Arc<Herald>,
        on_loss: impl Fn(&WalLoss) + Send + Sync + 'static,
    ) -> Core {
        Core {
            shards: (0..count).map(|id| Mutex::new(Shard::new(id))).collect(),
            admission: Arc::new(Admission::new(herald)),
            classes: AtomicU8::new(0),
            recycled: Mutex::default(),
            full: AtomicBool::new(false),
            expects_os: AtomicBool::new(false),
            image_wanted: AtomicU32::new(0),
            imaged: Mutex::default(),
            on_loss: Box::new(on_loss),
        }
    }

    pub fn count(&self) -> u16 {
        u16::try_from(self.shards.len()).expect("made from a u16")
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// From now on there may be work that waits for no sync.
    pub fn expect_os(&self) {
        self.expects_os.store(true, Ordering::SeqCst);
    }

    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Release);
    }

    /// Images a shard directly after its next cut, when its stage is empty for certain; true when
    /// nothing is left to image. Returns without having done anything if no cut comes soon.
    pub fn image_at_cut(&self, shard: u16, into: &mut Images) -> bool {
        self.image_wanted.store(u32::from(shard) + 1, Ordering::SeqCst);
        for _ in 0..CUT_LOOKS {
            if let Some((images, done)) = self.imaged.lock().take() {
                into.merge(images);
                return done;
            }
            std::thread::park_timeout(CUT_LOOK);
        }
        self.image_wanted.store(0, Ordering::SeqCst);
        // A cut may have come just now.
        self.imaged.lock().take().is_some_and(|(images, done)| {
            into.merge(images);
            done
        })
    }

    fn image_if_wanted(&self, shard: &mut Shard) {
        let wanted = u32::from(shard.id) + 1;
        if self.image_wanted.load(Ordering::Relaxed) != wanted {
            return;
        }
        let mut imaged = self.imaged.lock();
        if self.image_wanted.swap(0, Ordering::SeqCst) == wanted {
            let mut images = Images::default();
            let done = shard.image(SLICE, &mut images);
            *imaged = Some((images, done));
        }
    }

    pub fn lock(&self, shard: u16) -> Locked<'_> {
        let shard = self.shards[usize::from(shard)].lock();
        let before = shard.stage.len();
        Locked { shard, core: self, before }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The state may be half changed: nobody may see it, and recovery takes over.
            std::process::abort();
        }
        let classes = self.shard.stage.classes;
        let flags = if classes.os { OS } else { 0 } | if classes.durable { DURABLE } else { 0 };
        self.core.classes.fetch_or(flags, Ordering::SeqCst);
        let added = self.shard.stage.len() - self.before;
        self.core.admission.add_staged(added);
    }
}

impl FrameSource for Core {
    fn staged(&self) -> Staged {
        let flags = self.classes.load(Ordering::SeqCst);
        let classes = Classes { os: flags & OS != 0, durable: flags & DURABLE != 0 };
        Staged { bytes: self.admission.staged(), classes }
    }

    fn expects_os(&self) -> bool {
        self.expects_os.load(Ordering::SeqCst)
    }

    fn cut(&self, number: FrameNo) -> Vec<Section> {
        self.classes.store(0, Ordering::SeqCst);
        let mut sections = Vec::new();
        let mut taken = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let fresh = if shard.stage.is_empty() {
                Section::default()
            } else {
                self.recycled.lock().pop().unwrap_or_default()
            };
            if let Some(section) = shard.cut(number, fresh) {
                taken += section.len();
                sections.push(section);
            }
            self.image_if_wanted(&mut shard);
        }
        self.admission.cut(taken);
        sections.iter_mut().for_each(effect::close_all);
        sections
    }

    fn recycle(&self, sections: Vec<Section>) {
        let mut recycled = self.recycled.lock();
        for mut section in sections {
            if recycled.len() < RECYCLED_MAX {
                section.clear();
                recycled.push(section);
            }
        }
    }

    fn reached(&self, _class: Class, _upto: FrameNo) {}

    fn lost(&self, why: WalLoss) -> ! {
        (self.on_loss)(&why);
        std::process::abort()
    }
}
