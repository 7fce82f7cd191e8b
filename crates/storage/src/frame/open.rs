//! Batches of a section that records still join. A batch has its place among the effects once it
//! is closed; until then its bytes count as if it had.

use super::{Payload, Section};
use crate::batch::HEADER;
use crate::batch::encode::Encoded;
use crate::batch::open::{BatchIx, Begin, OpenBatch};
use crate::log::Appended;

impl Section {
    /// Begins a batch; it needs at least one record.
    pub fn begin(&mut self, begin: Begin) -> BatchIx {
        self.waiting += begin.front + HEADER;
        self.classes.add(begin.class);
        self.batches.begin(begin)
    }

    /// The batch, as long as records may join it.
    pub fn joinable(&self, at: BatchIx) -> Option<&OpenBatch> {
        self.batches.get(at).filter(|batch| !batch.closed)
    }

    /// Adds a record at the next offset of a batch; returns its bytes.
    pub fn join(&mut self, at: BatchIx, timestamp: i64, record: &Encoded<'_>) -> usize {
        let added = self.batches.join(at, timestamp, record);
        self.waiting += added;
        added
    }

    /// How many batches were begun.
    pub fn batches(&self) -> BatchIx {
        self.batches.len()
    }

    /// Ends a batch, behind the front of its effect, which was just put into the buffer.
    pub fn close(&mut self, at: BatchIx) {
        let place = self.end();
        let (batch, header) = self.batches.close(at);
        self.bytes.extend_from_slice(&header);
        self.waiting -= batch.begin.front + batch.len();
        self.spliced += batch.bytes;
        self.splices.push((self.bytes.len(), Payload::Records(at)));
        self.appends.push(Appended {
            view: batch.begin.view.clone(),
            at: place,
            len: batch.len(),
            base: batch.begin.base,
            next: batch.next(),
            max_timestamp: batch.max_timestamp,
            class: batch.begin.class,
        });
    }
}
