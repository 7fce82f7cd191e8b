//! Where a time lies in a log. Times need not rise, neither between batches nor within one; what a
//! batch's header says of its highest time leads to the batch, and only that one is opened.
//!
//! A header may lie, and compressed records may be damaged: nobody looked into them when they came.
//! Then the front of the batch is the answer, which is never behind the record that is sought.

use std::ops::Range;

use bytes::Bytes;

use super::{LogView, Offset, TailBatch, to_offset};
use crate::batch::Header;
use crate::batch::records::{RecordRef, records};
use crate::blob::{BlobStore, Result};
use crate::extent::Extent;
use crate::index::StretchIndex;
use crate::stretch;

/// Bytes that a search reads from a blob at once.
const STEP_BYTES: u64 = 1 << 20;

/// What is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first record whose timestamp is not below this one, in milliseconds since 1970.
    From(i64),
    /// The first of the records with the highest timestamp.
    Highest,
}

/// A record that was found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Under which opening of the broker its batch was appended.
    pub epoch: i32,
}

/// What a search says at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    At(Moment),
    /// The log has no such record.
    None,
    /// This stretch has to be read from its blob first: by [`read`], off the connection's task,
    /// whose result [`Search::took`] takes.
    Cold(Extent),
}

/// A search through one log, from its start to its end.
#[derive(Clone, Debug)]
pub struct Search {
    wanted: Wanted,
    /// Everything below is searched.
    from: Offset,
    best: Option<Moment>,
}

/// Where to look next.
pub enum Pick {
    Cold(Extent),
    Warm(TailBatch),
    /// Nowhere: [`Search::end`] says what was found.
    Over,
}

impl Search {
    pub fn new(wanted: Wanted) -> Search {
        Search { wanted, from: 0, best: None }
    }

    /// Looks where the search goes on, in a log whose `visible` offsets lie in these extents and
    /// tail batches, each rising. Where a batch is in both, the tail is preferred. Opens nothing,
    /// so that it may run under the lock that keeps both.
    pub fn pick<'a>(
        &self,
        extents: impl IntoIterator<Item = &'a Extent>,
        tail: impl IntoIterator<Item = &'a TailBatch>,
        visible: Range<Offset>,
    ) -> Pick {
        let from = self.from.max(visible.start);
        let tail = tail.into_iter().filter(|batch| batch.next > from);
        let mut tail = tail.take_while(|batch| batch.next <= visible.end).peekable();
        let warm = tail.peek().map_or(Offset::MAX, |first| first.base);
        let cold = extents.into_iter().filter(|extent| to_offset(extent.next) > from);
        let mut cold = cold.take_while(|extent| to_offset(extent.base) < warm);
        match self.wanted {
            Wanted::From(_) if self.best.is_some() => Pick::Over,
            Wanted::From(timestamp) => {
                if let Some(extent) = cold.find(|extent| extent.max_timestamp >= timestamp) {
                    return Pick::Cold(*extent);
                }
                let found = tail.find(|batch| batch.max_timestamp >= timestamp);
                found.map_or(Pick::Over, |batch| Pick::Warm(batch.clone()))
            }
            Wanted::Highest => {
                let cold =
                    cold.reduce(|a, b| if b.max_timestamp > a.max_timestamp { b } else { a });
                let warm =
                    tail.reduce(|a, b| if b.max_timestamp > a.max_timestamp { b } else { a });
                let (in_cold, in_warm) =
                    (cold.map(|extent| extent.max_timestamp), warm.map(|warm| warm.max_timestamp));
                let beaten = self.best.map(|best| best.timestamp) >= in_cold.max(in_warm);
                match (cold, warm) {
                    _ if beaten => Pick::Over,
                    (Some(cold), _) if in_cold >= in_warm => Pick::Cold(*cold),
                    (_, Some(warm)) => Pick::Warm(warm.clone()),
                    _ => Pick::Over,
                }
            }
        }
    }

    /// Takes what [`read`] found in an extent.
    pub fn took(&mut self, extent: &Extent, found: Option<Moment>) {
        self.searched(to_offset(extent.next), found);
    }

    /// Opens a batch that [`Search::pick`] gave.
    pub fn open(&mut self, batch: &TailBatch, start: Offset) {
        let header = Header::parse(&batch.bytes).expect("only whole batches are appended");
        assert_eq!(header.next_offset(), batch.next, "a batch that is kept as another");
        self.searched(batch.next, within(&batch.bytes, &header, start, self.wanted));
    }

    /// What was found in everything that was searched.
    pub fn end(&self) -> Found {
        self.best.map_or(Found::None, Found::At)
    }

    fn searched(&mut self, below: Offset, found: Option<Moment>) {
        assert!(found.is_none_or(|found| found.offset < below), "found outside of what was read");
        self.from = self.from.max(below);
        // On a tie the first wins, which was found earlier.
        let better = found.filter(|new| self.best.is_none_or(|old| new.timestamp > old.timestamp));
        self.best = better.or(self.best);
    }
}

impl LogView {
    /// Goes on with a search as far as memory has the log. Opens one batch, or two where the start
    /// of the log lies within the first.
    pub fn search(&self, search: &mut Search) -> Found {
        loop {
            let visible = self.start()..self.visible();
            let pick = {
                let body = self.body.read();
                search.pick(&body.extents, &body.tail, visible.clone())
            };
            match pick {
                Pick::Cold(extent) => return Found::Cold(extent),
                Pick::Warm(batch) => search.open(&batch, visible.start),
                Pick::Over => return search.end(),
            }
        }
    }
}

/// Searches a stretch in its blob, from `start` on. Reads the region that the index leads to;
/// more only where the start of the log lies within the stretch.
pub fn read(
    blobs: &dyn BlobStore,
    extent: &Extent,
    index: &StretchIndex,
    start: Offset,
    wanted: Wanted,
) -> Result<Option<Moment>> {
    let first = match wanted {
        Wanted::From(timestamp) => timestamp,
        Wanted::Highest => extent.max_timestamp,
    };
    let Some(base) = stretch::find_timestamp(blobs, extent, index, first)? else {
        return Ok(None);
    };
    let mut from = base.max(start.cast_unsigned());
    // The batch with the highest time lies behind the start as a whole: nothing beats it.
    let whole = base.cast_signed() >= start;
    let mut search = Search::new(wanted);
    let mut step = 1;
    loop {
        let bytes = stretch::read_stretch(blobs, extent, index, from, step)?;
        if bytes.is_empty() {
            return Ok(search.best);
        }
        for batch in crate::batch::split(&bytes) {
            // What was read was checked; what does not parse now was stored so.
            let Ok((header, bytes)) = batch else { return Ok(search.best) };
            let promising = match wanted {
                Wanted::From(timestamp) => header.max_timestamp >= timestamp,
                Wanted::Highest => {
                    search.best.is_none_or(|best| header.max_timestamp > best.timestamp)
                }
            };
            if promising {
                search.searched(header.next_offset(), within(&bytes, &header, start, wanted));
            }
            if search.best.is_some() && (whole || matches!(wanted, Wanted::From(_))) {
                return Ok(search.best);
            }
            from = header.next_offset().cast_unsigned();
        }
        step = STEP_BYTES;
    }
}

/// The record of one batch that is sought, at `start` or behind it. None only if all that would do
/// lie before `start`.
fn within(batch: &Bytes, header: &Header, start: Offset, wanted: Wanted) -> Option<Moment> {
    let epoch = header.leader_epoch;
    let front =
        Moment { offset: header.base_offset.max(start), timestamp: header.max_timestamp, epoch };
    if header.is_append_time() {
        return Some(front);
    }
    let Ok(records) = records(batch) else { return Some(front) };
    let moment = |record: &RecordRef<'_>| Moment {
        offset: record.offset,
        timestamp: record.timestamp,
        epoch,
    };
    let (mut highest, mut before): (Option<Moment>, bool) = (None, false);
    for record in &records {
        let Ok(record) = record else { return Some(front) };
        match wanted {
            Wanted::From(timestamp) if record.timestamp < timestamp => {}
            _ if record.offset < start => before = true,
            Wanted::From(_) => return Some(moment(&record)),
            Wanted::Highest => {
                if highest.is_none_or(|known| record.timestamp > known.timestamp) {
                    highest = Some(moment(&record));
                }
            }
        }
    }
    // The time that the header promises may belong to a record before the start.
    let kept = before || highest.is_some_and(|found| found.timestamp >= header.max_timestamp);
    if kept { highest } else { Some(front) }
}

#[cfg(test)]
mod tests;
