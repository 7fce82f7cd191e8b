//! Buffers, kept per thread: a connection owns one only while bytes are in it. Large ones are for
//! reading, small ones for answers.

use std::cell::RefCell;

use bytes::BytesMut;

/// Size of a read buffer, and of one read.
pub const READ_BYTES: usize = 64 * 1024;

/// Memory that one thread keeps in buffers nobody uses.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// First size of a small buffer, and the size up to which one is kept.
const SMALL_BYTES: usize = 512;
const SMALL_BYTES_MAX: usize = 4096;
/// Small buffers that one thread keeps.
const SMALL_KEPT_MAX: usize = 64;

#[derive(Default)]
struct Pool {
    buffers: Vec<BytesMut>,
    bytes: usize,
    small: Vec<BytesMut>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// An empty buffer with room for at least `room` bytes, and for one read.
pub fn take(room: usize) -> BytesMut {
    let room = room.max(READ_BYTES);
    let kept = POOL.with_borrow_mut(|pool| {
        let at = pool.buffers.iter().rposition(|buffer| buffer.capacity() >= room)?;
        let buffer = pool.buffers.swap_remove(at);
        pool.bytes -= buffer.capacity();
        Some(buffer)
    });
    kept.unwrap_or_else(|| BytesMut::with_capacity(room))
}

/// Gives a buffer back. One whose memory is still shared with slices of it is let go.
pub fn give(mut buffer: BytesMut) {
    buffer.clear();
    if !buffer.try_reclaim(READ_BYTES) {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        if pool.bytes + buffer.capacity() <= KEPT_BYTES_MAX {
            pool.bytes += buffer.capacity();
            pool.buffers.push(buffer);
        }
    });
}

/// An empty buffer for a few small things.
pub fn take_small() -> BytesMut {
    let kept = POOL.with_borrow_mut(|pool| pool.small.pop());
    kept.unwrap_or_else(|| BytesMut::with_capacity(SMALL_BYTES))
}

/// Gives a small buffer back; one that has grown large is let go.
pub fn give_small(mut buffer: BytesMut) {
    buffer.clear();
    if !buffer.try_reclaim(SMALL_BYTES) || buffer.capacity() > SMALL_BYTES_MAX {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        if pool.small.len() < SMALL_KEPT_MAX {
            pool.small.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_same_memory_again_unless_a_slice_holds_it() {
        let mut first = take(0);
        first.extend_from_slice(b"frame");
        let place = first.as_ptr();
        give(first);
        let mut second = take(0);
        assert_eq!(second.as_ptr(), place);
        second.extend_from_slice(b"frame");
        let held = second.split_to(5).freeze();
        give(second);
        let third = take(0);
        assert_ne!(third.as_ptr(), place);
        assert_eq!((third.len(), &held[..]), (0, b"frame".as_slice()));
    }

    #[test]
    fn small_buffers_come_back_as_long_as_they_are_small() {
        let mut first = take_small();
        first.extend_from_slice(&[1; SMALL_BYTES]);
        bytes::Buf::advance(&mut first, SMALL_BYTES - 1);
        let end = first.as_ptr() as usize + 1;
        give_small(first);
        let mut second = take_small();
        assert_eq!((second.as_ptr() as usize + SMALL_BYTES, second.len()), (end, 0));
        second.extend_from_slice(&[1; SMALL_BYTES_MAX + 1]);
        give_small(second);
        assert!(POOL.with_borrow(|pool| pool.small.is_empty()));
    }

    #[test]
    fn keeps_no_more_than_its_bound() {
        let many: Vec<BytesMut> = (0..100).map(|_| take(READ_BYTES)).collect();
        many.into_iter().for_each(give);
        let kept = POOL.with_borrow(|pool| pool.buffers.iter().map(BytesMut::capacity).sum());
        assert!((READ_BYTES..=KEPT_BYTES_MAX).contains(&kept), "{kept}");
    }
}
