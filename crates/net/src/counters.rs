//! What a listener counts. Only rises, except `open`; read by the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number, written often and read rarely.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one listener.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections let in.
    pub accepted: Counter,
    /// Connections open at the moment.
    pub open: Counter,
    /// Connections closed at once because a limit was reached.
    pub refused: Counter,
    /// Failed accepts, most often for want of descriptors.
    pub accept_errors: Counter,
    /// Bytes read from sockets.
    pub bytes_in: Counter,
    /// Bytes written to sockets.
    pub bytes_out: Counter,
    /// Connections closed because the peer did not take its bytes in time.
    pub stalled: Counter,
    /// Panics in protocol code. Each is a bug and ended its connection.
    pub panics: Counter,
}
