//! Counts what is allocated, for measurements. Built in only with the feature `count-allocations`,
//! as two counters that all threads share cost more than the allocator they count.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mimalloc::MiMalloc;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The allocator of every build, counted. Making a block larger or smaller counts as a new one.
pub struct Counting;

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

// SAFETY: every call goes to `MiMalloc` as it came, and counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

/// Adds the counters to the page of metrics.
pub fn write(page: &mut String) {
    for (name, help, counter) in [
        ("sabir_allocations_total", "Blocks of memory allocated.", &ALLOCATIONS),
        ("sabir_allocated_bytes_total", "Bytes of memory allocated.", &BYTES),
    ] {
        let value = counter.load(Relaxed);
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> (u64, u64) {
        (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed))
    }

    #[test]
    fn every_block_counts_with_its_bytes() {
        let before = now();
        let mut block: Vec<u8> = Vec::with_capacity(1000);
        let made = now();
        block.reserve_exact(3000);
        let grown = now();
        // Other tests allocate at the same time, so these are lower bounds.
        assert!(made.0 > before.0 && made.1 >= before.1 + 1000, "{before:?} {made:?}");
        assert!(grown.0 > made.0 && grown.1 >= made.1 + 3000, "{made:?} {grown:?}");
        let mut page = String::new();
        write(&mut page);
        assert!(page.lines().count() == 6 && page.contains("\nsabir_allocations_total "), "{page}");
    }
}
