//! Fires wakes that arise many at once, from within the runtime: there a wake is a place in the
//! queue of a worker, while each one from another thread may have to rouse a worker by a system
//! call.

use std::sync::Arc;

use parking_lot::Mutex;
use sabir_broker::Broker;
use sabir_broker::wake::Waker;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Wakes fired before others on the same worker have their turn.
const SLICE: usize = 64;

/// What is to be fired.
#[derive(Default)]
struct Bag {
    wakers: Mutex<Vec<Waker>>,
    filled: Notify,
}

/// Fires for the broker until the task is aborted.
pub fn start(broker: &Broker) -> JoinHandle<()> {
    let bag: Arc<Bag> = Arc::default();
    let given = bag.clone();
    broker.herald().name(move |wakers| {
        let mut bag = given.wakers.lock();
        let first = bag.is_empty();
        bag.append(wakers);
        drop(bag);
        if first {
            given.filled.notify_one();
        }
    });
    tokio::spawn(async move {
        let mut wakers = Vec::new();
        loop {
            bag.filled.notified().await;
            std::mem::swap(&mut *bag.wakers.lock(), &mut wakers);
            fire(&mut wakers).await;
        }
    })
}

/// Fires all of them, in order.
async fn fire(wakers: &mut Vec<Waker>) {
    for (number, waker) in wakers.drain(..).enumerate() {
        if number > 0 && number % SLICE == 0 {
            tokio::task::yield_now().await;
        }
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[tokio::test]
    async fn fires_in_order_and_lets_others_work_in_between() {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
            }
        });
        let seen: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        let mut wakers: Vec<Waker> = (0..3 * SLICE)
            .map(|number| {
                let (seen, turns) = (seen.clone(), turns.clone());
                Waker::new(move || seen.lock().push((number, turns.load(SeqCst))))
            })
            .collect();
        tokio::task::yield_now().await;
        fire(&mut wakers).await;
        other.abort();
        let seen = seen.lock();
        assert!(wakers.is_empty() && seen.iter().map(|one| one.0).eq(0..3 * SLICE));
        for (slice, next) in seen.chunks(SLICE).zip(seen.chunks(SLICE).skip(1)) {
            assert!(slice.iter().all(|one| one.1 == slice[0].1), "{slice:?}");
            assert!(next[0].1 > slice[0].1, "nobody else had a turn");
        }
    }
}
