//! Producers as one log remembers them, so that a resend changes nothing. Epochs and sequences
//! follow KIP-98 and KIP-360.

use std::collections::VecDeque;

use sabir_storage::batch::Header;
use sabir_storage::log::Offset;
use sabir_storage::ticket::Ticket;

use crate::bytes::{Fields, Malformed, Put};
use crate::clock::WallMs;
use crate::limits::RESENDS;

/// What a log knows of one producer.
/// Invariant: `recent` has at most [`RESENDS`] entries, in order, all of `epoch`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Producer {
    pub epoch: i16,
    /// When it was last heard of.
    pub last_ms: WallMs,
    recent: VecDeque<Recent>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Recent {
    first: i32,
    last: i32,
    base: Offset,
    ticket: Ticket,
}

/// What a log makes of a batch with a producer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Append,
    /// It has this batch already, at that offset; the reply rests on that ticket.
    Known {
        base: Offset,
        ticket: Ticket,
    },
    /// A batch before this one is missing.
    OutOfOrder,
    /// A newer instance of the producer has taken over.
    Fenced,
}

impl Producer {
    /// What to do with a batch; `known` is None for a producer that the log has never heard of,
    /// or has forgotten: then any sequence is a beginning.
    pub fn judge(known: Option<&Producer>, batch: &Header) -> Verdict {
        let Some(known) = known else { return Verdict::Append };
        if batch.producer_epoch < known.epoch {
            return Verdict::Fenced;
        }
        if batch.producer_epoch > known.epoch {
            let begins = batch.base_sequence == 0;
            return if begins { Verdict::Append } else { Verdict::OutOfOrder };
        }
        let range = (batch.base_sequence, batch.last_sequence());
        if let Some(same) = known.recent.iter().find(|seen| (seen.first, seen.last) == range) {
            return Verdict::Known { base: same.base, ticket: same.ticket };
        }
        match known.recent.back() {
            None => Verdict::Append,
            Some(last) if batch.base_sequence == after(last.last) => Verdict::Append,
            Some(_) => Verdict::OutOfOrder,
        }
    }

    /// Takes note of an appended batch.
    pub fn record(&mut self, batch: &Header, base: Offset, ticket: Ticket, now_ms: WallMs) {
        if batch.producer_epoch != self.epoch {
            self.recent.clear();
            self.epoch = batch.producer_epoch;
        }
        if self.recent.len() == RESENDS {
            self.recent.pop_front();
        }
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        self.recent.push_back(Recent { first, last, base, ticket });
        self.last_ms = self.last_ms.max(now_ms);
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        into.put_i16(self.epoch);
        into.put_i64(self.last_ms);
        into.put_u8(self.recent.len() as u8);
        for seen in &self.recent {
            into.put_i32(seen.first);
            into.put_i32(seen.last);
            into.put_i64(seen.base);
        }
    }

    pub fn decode(fields: &mut Fields<'_>) -> Result<Producer, Malformed> {
        let mut producer =
            Producer { epoch: fields.i16()?, last_ms: fields.i64()?, recent: VecDeque::new() };
        for _ in 0..fields.u8()? {
            producer.recent.push_back(Recent {
                first: fields.i32()?,
                last: fields.i32()?,
                base: fields.i64()?,
                ticket: Ticket::DONE,
            });
        }
        if producer.recent.len() > RESENDS { Err(Malformed) } else { Ok(producer) }
    }

    /// The last sequence number, or -1.
    pub fn last_sequence(&self) -> i32 {
        self.recent.back().map_or(-1, |last| last.last)
    }
}

/// Sequences wrap to 0 after 2^31 - 1.
fn after(sequence: i32) -> i32 {
    if sequence == i32::MAX { 0 } else { sequence + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32) -> Header {
        Header {
            base_offset: 0,
            len: 0,
            leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 1,
            producer_epoch: epoch,
            base_sequence: sequence,
            count,
        }
    }

    #[test]
    fn resends_are_known_gaps_are_refused_and_epochs_fence() {
        let mut producer = Producer { epoch: 3, ..Producer::default() };
        for n in 0..7 {
            let ticket = Ticket::new(sabir_storage::ticket::Class::Durable, n + 1);
            producer.record(&batch(3, n as i32 * 2, 2), n as i64 * 10, ticket, 5);
        }
        let check = |batch: Header, want: Verdict| {
            assert_eq!(Producer::judge(Some(&producer), &batch), want, "{batch:?}");
        };
        let ticket = Ticket::new(sabir_storage::ticket::Class::Durable, 3);
        check(batch(3, 14, 1), Verdict::Append);
        check(batch(3, 4, 2), Verdict::Known { base: 20, ticket });
        check(batch(3, 2, 2), Verdict::OutOfOrder);
        check(batch(3, 4, 1), Verdict::OutOfOrder);
        check(batch(3, 15, 1), Verdict::OutOfOrder);
        check(batch(2, 14, 1), Verdict::Fenced);
        check(batch(4, 0, 1), Verdict::Append);
        check(batch(4, 1, 1), Verdict::OutOfOrder);
        assert_eq!(Producer::judge(None, &batch(0, 99, 1)), Verdict::Append);
    }

    #[test]
    fn sequences_wrap() {
        let mut producer = Producer::default();
        producer.record(&batch(0, i32::MAX - 1, 2), 0, Ticket::DONE, 0);
        assert_eq!(Producer::judge(Some(&producer), &batch(0, 0, 5)), Verdict::Append);
        producer.record(&batch(0, 0, 5), 2, Ticket::DONE, 0);
        assert_eq!(producer.last_sequence(), 4);
    }

    #[test]
    fn a_row_says_the_same_as_the_producer() {
        let mut producer = Producer { epoch: 3, last_ms: 9, ..Producer::default() };
        producer.record(&batch(3, 0, 2), 7, Ticket::DONE, 11);
        let mut row = Vec::new();
        producer.encode(&mut row);
        assert_eq!(Producer::decode(&mut Fields(&row)), Ok(producer));
        assert_eq!(Producer::decode(&mut Fields(&row[..row.len() - 1])), Err(Malformed));
    }
}
