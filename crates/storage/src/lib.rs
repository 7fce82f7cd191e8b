//! Sabir's storage: the write-ahead log, logs of record batches, blobs, state rows, recovery. It
//! knows no queue, no user and no wire format.

pub mod aligned;
pub mod batch;
pub mod blob;
pub mod bundle;
pub mod checkpoint;
pub mod crc;
pub mod disk;
pub mod export;
pub mod extent;
pub mod frame;
pub mod ident;
pub mod index;
pub mod inspect;
pub mod log;
pub mod planted;
pub mod reader;
pub mod recent;
pub mod repair;
pub mod scrub;
pub mod segment;
pub mod state;
pub mod store;
pub mod stretch;
pub mod ticket;
pub mod wake;
pub mod wal;

#[cfg(test)]
mod test_disk;
