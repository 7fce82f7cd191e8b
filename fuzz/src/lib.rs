//! What fuzz targets share: an allocator that counts, so that a target can bound the memory that an
//! input costs. Linking this crate installs it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `work` and returns what it made and the most bytes that were allocated at once meanwhile,
/// beyond what there was before. One thread only.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.load(Relaxed);
    PEAK_BYTES.store(before, Relaxed);
    let made = work();
    (made, PEAK_BYTES.load(Relaxed).saturating_sub(before))
}

/// Runs a decoder and asserts that it takes at most 8 × the input + 64 KiB.
pub fn within_budget<T>(input: &[u8], decode: impl FnOnce() -> T) -> T {
    let (made, peak) = peak_bytes(decode);
    let allowed = 8 * input.len() + 64 * 1024;
    assert!(peak <= allowed, "{peak} bytes allocated for an input of {}", input.len());
    made
}
