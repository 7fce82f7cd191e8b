//! Memory that direct I/O accepts: page-aligned buffers, and a pool that gives them out again.
//! The only module of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

/// Alignment and smallest unit of everything that is written directly, in bytes.
pub const PAGE: usize = 4096;

/// Buffers up to this size are kept for reuse, in bytes.
const POOLED_MAX: usize = 8 << 20;
/// Free memory that a pool holds on to at most, in bytes.
const FREE_MAX: usize = 32 << 20;

/// A buffer of this size is large, in bytes.
const LARGE: usize = 256 << 10;

static BEFORE_LARGE: OnceLock<fn()> = OnceLock::new();

/// Has this called once, before the first large buffer of any pool is made: from then on memory is
/// needed that an idle process does without. Only the first call of this counts.
pub fn before_large(call: fn()) {
    let _ = BEFORE_LARGE.set(call);
}

fn begin_large() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| BEFORE_LARGE.get().into_iter().for_each(|call| call()));
}

/// Rounds up to whole pages.
pub fn page_up(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}

/// Zero-initialised memory, aligned to and a multiple of [`PAGE`].
pub struct AlignedBuf {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer owns its memory, and shared access only reads it.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// At least `len` bytes, rounded up to whole pages; never empty.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let len = page_up(len.max(1));
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let at = unsafe { alloc_zeroed(layout) };
        let Some(at) = NonNull::new(at) else { handle_alloc_error(layout) };
        AlignedBuf { at, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, PAGE).expect("a page-multiple below isize::MAX")
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `at` points to `len` initialised bytes that this value owns.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, freed once.
        unsafe { dealloc(self.at.as_ptr(), Self::layout(self.len)) };
    }
}

/// Sizes in steps of an eighth of a power of two, so that buffers are used again and little of them
/// is waste; very large ones are exact.
fn size_class(len: usize) -> usize {
    let len = page_up(len.max(1));
    if len > POOLED_MAX {
        return len;
    }
    len.next_multiple_of((len.next_power_of_two() / 8).max(PAGE))
}

/// Buffers in use and free ones to use again. Counts what is in use, which is what the budget of
/// recent data goes by.
#[derive(Default)]
pub struct Pool {
    free: Mutex<Vec<AlignedBuf>>,
    used: AtomicUsize,
}

impl Pool {
    /// A buffer of at least `len` bytes; its content is arbitrary old data or zeros.
    pub fn take(self: &Arc<Self>, len: usize) -> PooledBuf {
        let want = size_class(len);
        let found = {
            let mut free = self.free.lock();
            let place = free.iter().rposition(|buf| buf.len() == want);
            place.map(|place| free.remove(place))
        };
        let buf = found.unwrap_or_else(|| {
            if want >= LARGE {
                begin_large();
            }
            AlignedBuf::zeroed(want)
        });
        self.used.fetch_add(buf.len(), Ordering::Relaxed);
        PooledBuf { buf: Some(buf), pool: self.clone() }
    }

    /// Bytes in buffers that somebody holds.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn give_back(&self, buf: AlignedBuf) {
        self.used.fetch_sub(buf.len(), Ordering::Relaxed);
        if buf.len() > POOLED_MAX {
            return;
        }
        let mut free = self.free.lock();
        let mut held: usize = free.iter().map(|buf| buf.len()).sum();
        // The longest unused make room: their sizes may no longer be wanted.
        while held + buf.len() > FREE_MAX {
            held -= free.remove(0).len();
        }
        free.push(buf);
    }
}

/// A buffer that returns to its pool when the last reference to it is gone.
pub struct PooledBuf {
    buf: Option<AlignedBuf>,
    pool: Arc<Pool>,
}

impl PooledBuf {
    /// Makes the content shareable; slices of it keep the whole buffer.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for PooledBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buf.as_deref().expect("held until drop")
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buf.as_deref_mut().expect("held until drop")
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if let Some(buf) = self.buf.take() {
            self.pool.give_back(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_reused_and_counted() {
        let pool = Arc::new(Pool::default());
        let first = pool.take(5000);
        assert_eq!((first.len(), pool.used()), (8192, 8192));
        let place = first.as_ptr() as usize;
        assert_eq!(place % PAGE, 0);
        let shared = first.freeze().slice(10..20);
        assert_eq!(pool.used(), 8192);
        drop(shared);
        assert_eq!(pool.used(), 0);
        assert_eq!(pool.take(8192).as_ptr() as usize, place);
    }

    #[test]
    fn very_large_buffers_are_exact_and_not_kept() {
        let pool = Arc::new(Pool::default());
        let large = pool.take((9 << 20) + 1);
        assert_eq!(large.len(), (9 << 20) + PAGE);
        drop(large);
        assert!(pool.free.lock().is_empty());
    }
}
