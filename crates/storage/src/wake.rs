//! Whom to wake when something they wait for may have happened. Knows no runtime: what a wake does
//! is given by whoever made the waker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

struct Cell {
    pending: AtomicBool,
    fire: Box<dyn Fn() + Send + Sync>,
}

/// The handle of one waiting party (a connection, a background task). Waking it any number of
/// times before it has looked costs one wake.
#[derive(Clone)]
pub struct Waker(Arc<Cell>);

impl Waker {
    pub fn new(fire: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(Cell { pending: AtomicBool::new(false), fire: Box::new(fire) }))
    }

    /// For parties that nobody ever has to wake.
    pub fn none() -> Waker {
        Waker::new(|| {})
    }

    pub fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            (self.0.fire)();
        }
    }

    /// Called by the woken party before it looks at what may have happened.
    pub fn take(&self) -> bool {
        self.0.pending.swap(false, Ordering::AcqRel)
    }

    pub fn same(&self, other: &Waker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Fires wakes for those who have more to do than that: the threads of the WAL would wake a thread
/// of the runtime for each, and delay the next frame by all of them.
#[derive(Default)]
pub struct Herald(OnceLock<Box<Fire>>);

type Fire = dyn Fn(&mut Vec<Waker>) + Send + Sync;

impl Herald {
    /// Names who fires them from now on; it must take all of them and not block. Until then, and
    /// where nobody is named, they are fired where they arise.
    pub fn name(&self, fire: impl Fn(&mut Vec<Waker>) + Send + Sync + 'static) {
        let named = self.0.set(Box::new(fire));
        assert!(named.is_ok(), "a herald is named once");
    }

    /// Fires these soon, and empties the list.
    pub fn wake(&self, wakers: &mut Vec<Waker>) {
        match self.0.get() {
            Some(fire) if wakers.len() > 1 => fire(wakers),
            _ => wakers.drain(..).for_each(|waker| waker.wake()),
        }
        assert!(wakers.is_empty(), "a herald takes every wake");
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waker({:p})", Arc::as_ptr(&self.0))
    }
}
