//! Sabir's storage: the write-ahead log, logs of record batches, blobs, state rows, recovery. It
//! knows no queue, no user and no wire format.

pub mod aligned;
pub mod crc;
pub mod disk;
pub mod state;
#[cfg(test)]
mod test_disk;
pub mod ticket;
pub mod wake;
