//! The entities of one shard: a pure, deterministic state machine. No I/O, clock, lock or chance;
//! every input is an argument, every output is staged or returned.

use bytes::Bytes;
use hashbrown::HashMap;
use sabir_storage::batch::Header;
use sabir_storage::frame::Section;
use sabir_storage::log::{Appended, LogId, LogView, Offset};
use sabir_storage::planted::{self, Bug};
use sabir_storage::ticket::{Class, FrameNo, Ticket};
use sabir_storage::wake::Waker;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::{Now, WallMs};
use crate::effect::{self, Effect};
use crate::error::{Error, Kind};
use crate::groups::Groups;
use crate::limits::PRODUCERS_MAX;
use crate::producer::{Producer, Verdict};
use crate::topic::NamespaceId;
use join::Joining;

mod join;

/// Seeded, so that the order of a map never differs between two runs of one seed.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// One log as its shard knows it.
/// Invariant: `next` is the end of the log, staged appends included.
pub struct LogState {
    pub view: Arc<LogView>,
    pub next: Offset,
    pub class: Class,
    /// The frame whose effect made the log: nothing of it may lie in an earlier one.
    pub born: FrameNo,
    /// Each opening of the broker that appended, with its first offset.
    pub epochs: Vec<(i32, Offset)>,
    pub producers: Map<i64, Producer>,
    /// Frame up to which the stored row has everything; replay skips so far.
    pub stored: FrameNo,
    /// In the list of what the next checkpoint has to store.
    pub dirty: bool,
    /// Producers that differ from their rows.
    pub changed: BTreeSet<i64>,
    pub counters: LogCounters,
    /// The batch that single records join.
    joining: Joining,
}

/// What went into a log since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    pub records: u64,
    pub batches: u64,
    pub bytes: u64,
}

impl LogCounters {
    fn count(&mut self, batch: &Header) {
        self.records += u64::from(batch.count.unsigned_abs());
        self.batches += 1;
        self.bytes += batch.len as u64;
    }
}

/// A batch to append. `header` was validated against `batch`.
pub struct AppendOp {
    pub log: LogId,
    pub batch: Bytes,
    pub header: Header,
}

/// Where a batch lies now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    pub base: Offset,
    /// The reply rests on this.
    pub ticket: Ticket,
    /// It was there already: a resend.
    pub known: bool,
    /// The first offset of the log.
    pub start: Offset,
}

/// The entities of one shard, and what is staged of them for the open frame.
pub struct Shard {
    pub id: u16,
    /// The frame that takes what is staged now.
    pub open: FrameNo,
    /// Up to here frames are durable, as far as the shard was told.
    pub durable: FrameNo,
    /// Under which opening of the broker appends happen.
    pub epoch: i32,
    pub stage: Section,
    pub logs: Map<LogId, LogState>,
    pub groups: Groups,
    /// Logs that differ from their rows.
    pub dirty: Vec<LogId>,
    /// ... of those the ones that the running checkpoint has to store.
    pub(crate) imaging: Vec<LogId>,
    /// Only that of shard 0 is used.
    pub registry: Registry,
}

/// Numbers that the catalog gives out; lives in shard 0.
pub struct Registry {
    /// The next number for anything declared; never reused.
    pub next_id: u64,
    /// The next producer id, and the one below which all are reserved by a durable effect.
    pub next_producer: i64,
    pub producers_below: i64,
    /// The effect that reserved them.
    pub producers_ticket: Ticket,
    /// Catalog rows that differ from the stored ones, by id; None = deleted.
    pub rows: BTreeMap<u64, Option<Vec<u8>>>,
    /// The next number for a namespace; never reused.
    pub next_namespace: NamespaceId,
    /// Rows of namespaces that differ from the stored ones; None = deleted.
    pub namespaces: BTreeMap<NamespaceId, Option<Vec<u8>>>,
    /// Logs of deleted topics, whose rows and blobs the next checkpoint drops.
    pub gone: Vec<Arc<LogView>>,
    /// Frame up to which the stored catalog has everything.
    pub stored: FrameNo,
    /// The youngest effect on the catalog.
    pub catalog_ticket: Ticket,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            next_id: 1,
            next_producer: 0,
            producers_below: 0,
            producers_ticket: Ticket::DONE,
            rows: BTreeMap::new(),
            next_namespace: 1,
            namespaces: BTreeMap::new(),
            gone: Vec::new(),
            stored: 0,
            catalog_ticket: Ticket::DONE,
        }
    }
}

impl Shard {
    pub fn new(id: u16) -> Shard {
        Shard {
            id,
            open: 1,
            durable: 0,
            epoch: 0,
            stage: Section::of(id),
            logs: Map::default(),
            groups: Groups::default(),
            dirty: Vec::new(),
            imaging: Vec::new(),
            registry: Registry::default(),
        }
    }

    /// The ticket of whatever is staged now.
    pub fn ticket(&self, class: Class) -> Ticket {
        Ticket::new(class, self.open)
    }

    /// Takes a log in: a new one, or one that its row describes.
    pub fn add_log(&mut self, view: Arc<LogView>, class: Class, born: FrameNo) -> &mut LogState {
        let next = view.visible();
        let log = LogState {
            view: view.clone(),
            next,
            class,
            born,
            epochs: Vec::new(),
            producers: Map::default(),
            stored: 0,
            dirty: true,
            changed: BTreeSet::new(),
            counters: LogCounters::default(),
            joining: Joining::default(),
        };
        self.dirty.push(view.id);
        self.logs.entry(view.id).or_insert(log)
    }

    /// Appends a batch, or finds that it is there already.
    pub fn append(&mut self, now: Now, op: &AppendOp, me: &Waker) -> Result<Placed, Error> {
        let Shard { open, durable, epoch, stage, logs, dirty, .. } = self;
        let log = logs.get_mut(&op.log).filter(|log| !log.view.is_gone());
        let log = log.ok_or_else(|| Error::not_found("the topic is gone"))?;
        let ticket = log.ticket(*open, *durable)?;
        let start = log.view.start();
        if op.header.has_producer() {
            match Producer::judge(log.producers.get(&op.header.producer_id), &op.header) {
                Verdict::Append => {}
                Verdict::Known { base, ticket } => {
                    let early = planted::active(Bug::AckKnownEarly);
                    let ticket = if early { Ticket::DONE } else { ticket };
                    return Ok(Placed { base, ticket, known: true, start });
                }
                Verdict::OutOfOrder => {
                    return Err(Error::new(Kind::Conflict, "a batch before this one is missing"));
                }
                Verdict::Fenced => {
                    return Err(Error::new(Kind::Fenced, "a newer producer has taken over"));
                }
            }
        }
        assert_eq!(op.header.len, op.batch.len(), "a header that is not of this batch");
        log.end_joining(*open, stage);
        let base = log.next;
        let at = effect::append(stage, op.log, &op.batch, base, *epoch);
        let placed = Header { base_offset: base, leader_epoch: *epoch, ..op.header };
        log.take(&placed, ticket, now.wall, dirty);
        log.counters.count(&placed);
        stage.appends.push(Appended {
            view: log.view.clone(),
            at,
            len: op.batch.len(),
            base,
            next: log.next,
            max_timestamp: op.header.max_timestamp,
            class: log.class,
        });
        stage.classes.add(log.class);
        wake(stage, log.class, me);
        Ok(Placed { base, ticket, known: false, start })
    }

    /// Stages an effect on an entity of this shard; it is durable with the ticket returned.
    pub fn stage(&mut self, effect: &Effect) -> Ticket {
        effect::stage(&mut self.stage, effect);
        self.stage.classes.add(Class::Durable);
        self.ticket(Class::Durable)
    }

    /// Takes the stage for the open frame and opens the next.
    pub fn cut(&mut self, frame: FrameNo, mut fresh: Section) -> Option<Section> {
        assert_eq!(self.open, frame, "shard {} is open for another frame", self.id);
        self.open = frame + 1;
        if self.stage.is_empty() {
            return None;
        }
        fresh.shard = self.id;
        Some(std::mem::replace(&mut self.stage, fresh))
    }

    /// Replays an append on the state of the log; what the row has already is skipped.
    pub fn replay_append(&mut self, frame: FrameNo, log: LogId, header: &Header) {
        let Shard { logs, dirty, .. } = self;
        let Some(log) = logs.get_mut(&log) else { return };
        if frame > log.stored {
            assert_eq!(header.base_offset, log.next, "replay of log {} has a gap", log.view.id);
            log.take(header, Ticket::DONE, header.max_timestamp, dirty);
            if planted::active(Bug::ForgetProducers) {
                log.producers.clear();
            }
        }
    }

    /// Offsets of the log below `next` are given out, whatever became of them.
    pub fn skip_to(&mut self, log: LogId, next: Offset) {
        let Shard { logs, dirty, .. } = self;
        let Some(log) = logs.get_mut(&log).filter(|log| log.next < next) else { return };
        log.next = next;
        log.touch(dirty);
    }

    /// Moves the start of a log; nothing below it may be read any more.
    pub fn set_start(&mut self, log: LogId, start: Offset) {
        let Shard { logs, dirty, .. } = self;
        let Some(log) = logs.get_mut(&log) else { return };
        log.view.set_start(start);
        log.touch(dirty);
    }
}

/// Wakes `me` with the frame.
fn wake(stage: &mut Section, class: Class, me: &Waker) {
    let known = stage.wakes.last().is_some_and(|last| last.0 == class && last.1.same(me));
    if !known {
        stage.wakes.push((class, me.clone()));
    }
}

impl LogState {
    /// What an append to the log in this frame rests on.
    ///
    /// # Errors
    /// `Throttled` where the log itself is made in a later frame.
    fn ticket(&self, open: FrameNo, durable: FrameNo) -> Result<Ticket, Error> {
        if self.born > open {
            return Err(Error::throttled(Ticket::new(Class::Os, open)));
        }
        let ticket = Ticket::new(self.class, open);
        // A ticket has one class: joined with the birth of a log, work that need not be synced
        // waits for its own sync too, so only while the birth is not durable.
        if self.born > durable {
            return Ok(ticket.join(Ticket::new(Class::Durable, self.born)));
        }
        Ok(ticket)
    }

    /// Takes note of a placed batch.
    fn take(&mut self, batch: &Header, ticket: Ticket, now_ms: WallMs, dirty: &mut Vec<LogId>) {
        assert_eq!(batch.base_offset, self.next, "offsets of log {} are dense", self.view.id);
        self.next = batch.next_offset();
        self.touch(dirty);
        self.note_epoch(batch.leader_epoch, batch.base_offset);
        if batch.has_producer() {
            if self.producers.len() >= PRODUCERS_MAX
                && !self.producers.contains_key(&batch.producer_id)
            {
                self.forget_oldest_producer();
            }
            let producer = self.producers.entry(batch.producer_id).or_default();
            producer.record(batch, batch.base_offset, ticket, now_ms);
            self.changed.insert(batch.producer_id);
        }
    }

    fn note_epoch(&mut self, epoch: i32, from: Offset) {
        if self.epochs.last().is_none_or(|last| last.0 < epoch) {
            self.epochs.push((epoch, from));
        }
    }

    fn touch(&mut self, dirty: &mut Vec<LogId>) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(self.view.id);
        }
    }

    fn forget_oldest_producer(&mut self) {
        let oldest = self.producers.iter().min_by_key(|(id, producer)| (producer.last_ms, **id));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.producers.remove(&id);
            self.changed.insert(id);
        }
    }

    /// Forgets producers that were last heard of before this time.
    pub fn expire_producers(&mut self, before_ms: WallMs) {
        let changed = &mut self.changed;
        self.producers.retain(|id, producer| {
            let stays = producer.last_ms >= before_ms;
            if !stays {
                changed.insert(*id);
            }
            stays
        });
    }

    /// The end of the log as it was when `epoch` last appended: the largest known epoch not above
    /// it, and the offset where the next one began (KIP-101).
    pub fn epoch_end(&self, epoch: i32) -> Option<(i32, Offset)> {
        let after = self.epochs.partition_point(|known| known.0 <= epoch);
        let (found, _) = *self.epochs.get(after.checked_sub(1)?)?;
        let end = self.epochs.get(after).map_or(self.view.visible(), |next| next.1);
        Some((found, end))
    }
}
