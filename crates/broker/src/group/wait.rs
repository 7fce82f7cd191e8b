//! Requests that wait for their answer, and whom to wake for it. Nobody is woken in here: the
//! shard takes the wakers and fires them when its lock is free.

use std::collections::BTreeMap;

use super::GroupError;
use crate::wake::Waker;

/// One waiting request of one group; never given twice by the same `Group` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(u64);

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// The answer, given once.
    Done(T),
    /// Not yet: the waker is woken when it is worth asking again by this id.
    Wait(WaitId),
    Refused(GroupError),
}

struct Waiter<T> {
    waker: Waker,
    answer: Option<Result<T, GroupError>>,
}

/// Invariant: a waiter whose answer is there has been put into `wakes` once, unless the answer
/// goes out with the call that asked (`serving`).
pub(super) struct Waits<T> {
    last: u64,
    serving: Option<WaitId>,
    waiters: BTreeMap<WaitId, Waiter<T>>,
    wakes: Vec<Waker>,
}

impl<T> Default for Waits<T> {
    fn default() -> Waits<T> {
        Waits { last: 0, serving: None, waiters: BTreeMap::new(), wakes: Vec::new() }
    }
}

impl<T> Waits<T> {
    /// Registers the request that is being served now; `finish` ends it.
    pub fn begin(&mut self, waker: &Waker) -> WaitId {
        self.last += 1;
        let id = WaitId(self.last);
        self.serving = Some(id);
        self.waiters.insert(id, Waiter { waker: waker.clone(), answer: None });
        id
    }

    pub fn finish(&mut self, id: WaitId) -> Outcome<T> {
        self.serving = None;
        self.take(id)
    }

    /// The first answer counts; a waiter that went away is passed over.
    pub fn answer(&mut self, id: WaitId, answer: Result<T, GroupError>) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        if waiter.answer.is_some() {
            return;
        }
        waiter.answer = Some(answer);
        if self.serving != Some(id) {
            self.wakes.push(waiter.waker.clone());
        }
    }

    /// An id that is not known (answered already, or from before a restart) is an unknown member.
    pub fn take(&mut self, id: WaitId) -> Outcome<T> {
        match self.waiters.get(&id) {
            None => Outcome::Refused(GroupError::UnknownMember),
            Some(Waiter { answer: None, .. }) => Outcome::Wait(id),
            Some(_) => match self.waiters.remove(&id).and_then(|waiter| waiter.answer) {
                Some(Ok(reply)) => Outcome::Done(reply),
                Some(Err(error)) => Outcome::Refused(error),
                None => Outcome::Refused(GroupError::UnknownMember),
            },
        }
    }

    /// The waiting party is no more; what it waited for goes on without it.
    pub fn gone(&mut self, waker: &Waker) {
        self.waiters.retain(|_, waiter| !waiter.waker.same(waker));
    }

    pub fn take_wakes(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.wakes);
    }

    /// Requests without an answer.
    pub fn open(&self) -> usize {
        self.waiters.values().filter(|waiter| waiter.answer.is_none()).count()
    }
}
