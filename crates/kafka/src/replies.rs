//! Responses that are encoded and wait for what they rest on, in the order of the requests. In the
//! steady state nothing here allocates: all small bytes lie in one ring.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use sabir_broker::ticket::Ticket;
use sabir_net::outbox::Outbox;

use crate::codec::Splices;

/// Written bytes from this many on are handed over instead of copied.
const COPY_BYTES_MAX: usize = 2048;
/// Memory that a connection keeps while no response waits.
const KEPT_BYTES_MAX: usize = 4096;

/// A response that was just encoded. Its bytes are in the buffer that it was encoded into, so it
/// has to be queued before the next one is encoded.
pub struct Reply {
    /// It may leave once this is reached.
    pub ticket: Ticket,
    /// Bytes in the buffer.
    pub len: usize,
    /// What belongs between them.
    pub splices: Splices,
}

/// The responses of one connection. Invariant: `bytes` and `shared` hold exactly what the entries
/// count.
#[derive(Default)]
pub struct Replies {
    entries: VecDeque<Entry>,
    /// What was written field by field, of all of them.
    bytes: VecDeque<u8>,
    /// Shared bytes, each with how many of `bytes` of the same response come before it.
    shared: VecDeque<(usize, Bytes)>,
}

struct Entry {
    ticket: Ticket,
    bytes: usize,
    shared: usize,
}

impl Replies {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the first one rests on.
    pub fn first(&self) -> Option<Ticket> {
        self.entries.front().map(|entry| entry.ticket)
    }

    /// Queues the response that was encoded into `buffer`.
    pub fn push(&mut self, reply: Reply, buffer: &mut BytesMut) {
        assert_eq!(reply.len, buffer.len(), "a response is queued before the next is encoded");
        let before = self.shared.len();
        let bytes = if reply.len < COPY_BYTES_MAX {
            self.bytes.extend(buffer.iter());
            self.shared.extend(reply.splices);
            reply.len
        } else {
            let mut from = 0;
            for (place, splice) in reply.splices {
                self.shared.push_back((0, buffer.split_to(place - from).freeze()));
                self.shared.push_back((0, splice));
                from = place;
            }
            self.shared.push_back((0, std::mem::take(buffer).freeze()));
            0
        };
        let shared = self.shared.len() - before;
        self.entries.push_back(Entry { ticket: reply.ticket, bytes, shared });
    }

    /// Moves the first ones whose tickets are reached into the outbox.
    pub fn send(&mut self, out: &mut Outbox, is_kept: impl Fn(Ticket) -> bool) {
        while let Some(entry) = self.entries.pop_front_if(|entry| is_kept(entry.ticket)) {
            let mut sent = 0;
            for (place, part) in self.shared.drain(..entry.shared) {
                take(&mut self.bytes, place - sent, out);
                sent = place;
                out.share(part);
            }
            take(&mut self.bytes, entry.bytes - sent, out);
        }
        if self.entries.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX {
            *self = Replies::default();
        }
    }
}

fn take(bytes: &mut VecDeque<u8>, count: usize, out: &mut Outbox) {
    let (front, back) = bytes.as_slices();
    let in_front = count.min(front.len());
    let buffer = out.buffer();
    buffer.extend_from_slice(&front[..in_front]);
    buffer.extend_from_slice(&back[..count - in_front]);
    bytes.drain(..count);
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use sabir_broker::ticket::Class;
    use smallvec::smallvec;

    use super::*;

    fn sent(out: &mut Outbox) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = out.fill(&mut slices);
            let before = bytes.len();
            slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
            out.advance(bytes.len() - before);
        }
        bytes
    }

    #[test]
    fn responses_leave_whole_and_in_order_as_their_tickets_are_reached() {
        let mut replies = Replies::default();
        let mut buffer = BytesMut::new();
        let mut want: Vec<Vec<u8>> = Vec::new();
        let shared = |len: usize| Bytes::from(vec![b's'; len]);
        for round in 0..50_u64 {
            let lens = [3, 0, 40, COPY_BYTES_MAX - 1, COPY_BYTES_MAX, 9000];
            let len = lens[round as usize % lens.len()];
            let written = vec![b'a' + (round % 26) as u8; len];
            let splices: Splices = match round % 4 {
                0 => smallvec![],
                1 => smallvec![(len / 2, shared(3000))],
                2 => smallvec![(0, shared(1)), (len, shared(5))],
                _ => smallvec![(len / 3, shared(10)), (len / 3, shared(4000))],
            };
            let mut whole = Vec::new();
            let mut from = 0;
            for (place, part) in &splices {
                whole.extend_from_slice(&written[from..*place]);
                whole.extend_from_slice(part);
                from = *place;
            }
            whole.extend_from_slice(&written[from..]);
            want.push(whole);
            buffer.clear();
            buffer.extend_from_slice(&written);
            let ticket = Ticket::new(Class::Durable, round);
            replies.push(Reply { ticket, len, splices }, &mut buffer);
            // Some of them leave now, the others later with more behind them.
            if round % 7 == 0 {
                let upto = round / 2;
                assert_eq!(replies.first().map(Ticket::frame), Some(round + 1 - want.len() as u64));
                let due = want.len() - (round - upto) as usize;
                let due: Vec<u8> = want.drain(..due).flatten().collect();
                let mut out = Outbox::default();
                replies.send(&mut out, |ticket| ticket.frame() <= upto);
                assert_eq!(sent(&mut out), due, "round {round}");
            }
        }
        let mut out = Outbox::default();
        replies.send(&mut out, |_| true);
        assert_eq!(sent(&mut out), want.concat());
        assert!(replies.is_empty() && replies.first().is_none());
        assert!(replies.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
