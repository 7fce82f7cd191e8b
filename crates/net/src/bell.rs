//! Turns a wake of the core into a poll of the connection's task.

use std::sync::Arc;
use std::task::{Context, Waker as TaskWaker};

use parking_lot::Mutex;
use sabir_broker::wake::Waker;

/// What a task listens on. Its flag is the one inside the `Waker`.
pub struct Bell {
    waker: Waker,
    sleeper: Arc<Mutex<Option<TaskWaker>>>,
}

impl Bell {
    pub fn new() -> Bell {
        let sleeper = Arc::new(Mutex::new(None::<TaskWaker>));
        let asleep = sleeper.clone();
        let waker = Waker::new(move || {
            let task = asleep.lock().take();
            if let Some(task) = task {
                task.wake();
            }
        });
        Bell { waker, sleeper }
    }

    /// The handle to give away.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// True if it was rung since the last call; else the task is polled again once it is.
    pub fn poll(&self, cx: &Context<'_>) -> bool {
        // First register, then look: a ring in between finds the task or is seen here.
        let mut sleeper = self.sleeper.lock();
        if !sleeper.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *sleeper = Some(cx.waker().clone());
        }
        drop(sleeper);
        self.waker.take()
    }
}
