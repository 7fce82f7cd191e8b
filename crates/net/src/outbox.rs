//! Bytes on their way to a socket, in order: small ones copied together, large ones shared.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::pool;

/// Shared payloads up to this size are copied; a vectored write of many small pieces costs more.
const COPY_MAX: usize = 2048;
/// From here on, the connection reads no further requests.
pub const FULL_BYTES: usize = 1024 * 1024;
/// Places in the list of parts that an idle connection keeps.
const KEPT_PARTS_MAX: usize = 4;

/// What a connection has to send. Shared payloads are not copied. Invariant: `open` follows after
/// all of `parts`.
#[derive(Debug, Default)]
pub struct Outbox {
    parts: VecDeque<Bytes>,
    open: BytesMut,
    queued: usize,
}

impl Outbox {
    /// Bytes waiting to be sent.
    pub fn len(&self) -> usize {
        self.queued + self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if so much is waiting that no further requests should be taken.
    pub fn is_full(&self) -> bool {
        self.len() >= FULL_BYTES
    }

    /// The buffer to encode small things into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.open.capacity() == 0 {
            self.open = pool::take_small();
        }
        &mut self.open
    }

    /// Appends a shared payload.
    pub fn share(&mut self, part: Bytes) {
        if part.len() <= COPY_MAX {
            self.buffer().extend_from_slice(&part);
            return;
        }
        self.seal();
        self.queued += part.len();
        self.parts.push_back(part);
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let part = self.open.split().freeze();
            self.queued += part.len();
            self.parts.push_back(part);
        }
    }

    /// The next pieces for one vectored write; returns how many of `slices` were set.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let open = Some(&*self.open).filter(|open| !open.is_empty());
        let pieces = self.parts.iter().map(|part| &**part).chain(open);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Gives the memory of an empty outbox back.
    pub fn release(&mut self) {
        if self.is_empty() {
            pool::give_small(std::mem::take(&mut self.open));
            self.parts.shrink_to(KEPT_PARTS_MAX);
        }
    }

    /// Drops the first `sent` bytes.
    pub fn advance(&mut self, mut sent: usize) {
        assert!(sent <= self.len(), "sent more than was queued");
        while sent > 0 {
            let Some(first) = self.parts.front_mut() else {
                return self.open.advance(sent);
            };
            let step = sent.min(first.len());
            first.advance(step);
            sent -= step;
            self.queued -= step;
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_copied_and_shared_bytes_over_partial_writes() {
        let mut outbox = Outbox::default();
        outbox.buffer().extend_from_slice(b"head");
        outbox.share(Bytes::from(vec![b'x'; 2000]));
        outbox.share(Bytes::from_static(b"small"));
        outbox.buffer().extend_from_slice(b"tail");
        let mut sent = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = outbox.fill(&mut slices);
            assert!((1..=2).contains(&filled), "{filled}");
            let first = slices[0].to_vec();
            let step = first.len().min(700);
            sent.extend_from_slice(&first[..step]);
            outbox.advance(step);
        }
        let want = [b"head".as_slice(), &[b'x'; 2000], b"small", b"tail"].concat();
        assert_eq!(sent, want);
    }
}
