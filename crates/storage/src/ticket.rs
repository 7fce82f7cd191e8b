//! A place in the order of the WAL, and how far the WAL has come. No file, no frame bytes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Number of a frame of one WAL: dense, from 1. Limit: 2^54 - 1.
pub type FrameNo = u64;

const FRAME_BITS: u32 = 54;
const CLASS_BITS: u32 = 2;

/// When something counts as kept. Ordered from the weaker to the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// The write has returned: survives a crash of the process, not of the machine.
    Os = 0,
    /// Synced to the device: survives a power cut.
    #[default]
    Durable = 1,
}

/// A promise that becomes true once the mark of its class reaches its frame.
///
/// 8 bits WAL index, 2 bits class, 54 bits frame number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// A ticket that every mark has reached: rests on nothing.
    pub const DONE: Ticket = Ticket(0);

    pub fn new(class: Class, frame: FrameNo) -> Ticket {
        assert!(frame < 1 << FRAME_BITS, "frame number out of range");
        Ticket((class as u64) << FRAME_BITS | frame)
    }

    pub fn frame(self) -> FrameNo {
        self.0 & ((1 << FRAME_BITS) - 1)
    }

    pub fn class(self) -> Class {
        match self.0 >> FRAME_BITS & ((1 << CLASS_BITS) - 1) {
            0 => Class::Os,
            _ => Class::Durable,
        }
    }

    /// The ticket that is reached when both are.
    pub fn join(self, other: Ticket) -> Ticket {
        if self == Ticket::DONE {
            return other;
        }
        if other == Ticket::DONE {
            return self;
        }
        Ticket::new(self.class().max(other.class()), self.frame().max(other.frame()))
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}@{}", self.class(), self.frame())
    }
}

/// How far a WAL has come, one mark per class; each only rises.
#[derive(Debug, Default)]
pub struct Marks {
    written: AtomicU64,
    durable: AtomicU64,
}

impl Marks {
    pub fn new(at: FrameNo) -> Marks {
        Marks { written: AtomicU64::new(at), durable: AtomicU64::new(at) }
    }

    pub fn get(&self, class: Class) -> FrameNo {
        self.cell(class).load(Ordering::Acquire)
    }

    /// True once what the ticket stands for is kept as its class promises.
    pub fn reached(&self, ticket: Ticket) -> bool {
        ticket.frame() <= self.get(ticket.class())
    }

    pub fn raise(&self, class: Class, upto: FrameNo) {
        let before = self.cell(class).fetch_max(upto, Ordering::AcqRel);
        assert!(before <= upto, "a mark never falls: {class:?} from {before} to {upto}");
    }

    fn cell(&self, class: Class) -> &AtomicU64 {
        match class {
            Class::Os => &self.written,
            Class::Durable => &self.durable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_reached_by_the_mark_of_its_own_class() {
        let marks = Marks::default();
        let (os, durable) = (Ticket::new(Class::Os, 7), Ticket::new(Class::Durable, 7));
        marks.raise(Class::Os, 7);
        assert!(marks.reached(os) && !marks.reached(durable));
        marks.raise(Class::Durable, 6);
        assert!(!marks.reached(durable));
        marks.raise(Class::Durable, 7);
        assert!(marks.reached(durable));
    }

    #[test]
    fn joined_tickets_wait_for_the_later_frame_at_the_stricter_class() {
        let joined = Ticket::new(Class::Os, 9).join(Ticket::new(Class::Durable, 3));
        assert_eq!((joined.class(), joined.frame()), (Class::Durable, 9));
        assert_eq!(Ticket::DONE.join(joined), joined);
        assert!(Marks::default().reached(Ticket::DONE));
    }
}
