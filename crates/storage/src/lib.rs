//! Sabir's storage: the write-ahead log, logs of record batches, blobs, state rows, recovery. It
//! knows no queue, no user and no wire format.

pub mod aligned;
pub mod batch;
pub mod disk;
pub mod frame;
pub mod ident;
pub mod log;
pub mod ticket;
pub mod wake;
pub mod wal;
