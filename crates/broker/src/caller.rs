//! The only door to the core: an authenticated client. Every operation starts here, where
//! permission is asked, work is counted and quotas are charged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sabir_storage::log::{Offset, Read};
use sabir_storage::ticket::{Class, Ticket};
use sabir_storage::wake::Waker;

use crate::broker::{Broker, enter, leave};
use crate::clock::Now;
use crate::core::Core;
use crate::effect::Effect;
use crate::error::{Error, Kind};
use crate::limits::{LOGS_MAX, OPERATION_MAX, PARTITIONS_MAX, PRODUCER_BLOCK, STAGED_MAX};
use crate::name;
use crate::policy::{Action, Identity, Resource};
use crate::random::Random;
use crate::shard::{AppendOp, Placed};
use crate::topic::{NamespaceId, Partition, Policy, Row, Topic};

/// What one client did.
#[derive(Debug, Default)]
pub struct Counters {
    pub records_in: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub denied: AtomicU64,
}

/// An authenticated client in one namespace.
pub struct Caller {
    broker: Arc<Broker>,
    identity: Identity,
    namespace: NamespaceId,
    counters: Counters,
}

/// A topic to declare.
#[derive(Clone, Debug, Default)]
pub struct Declare {
    pub name: String,
    pub partitions: u32,
    pub policy: Policy,
    pub labels: std::collections::BTreeMap<String, String>,
}

/// What a read of a partition gave.
#[derive(Debug)]
pub struct Fetched {
    pub read: Read,
    /// The first and the next offset of the log.
    pub start: Offset,
    pub end: Offset,
}

impl Caller {
    pub fn new(broker: Arc<Broker>, identity: Identity, namespace: NamespaceId) -> Caller {
        Caller { broker, identity, namespace, counters: Counters::default() }
    }

    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Asks whether this client may do that; counts a refusal.
    pub fn allowed(&self, action: Action, resource: Resource<'_>) -> Result<(), Error> {
        if self.identity.may(action, resource) {
            return Ok(());
        }
        self.counters.denied.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(Kind::Denied, "not allowed"))
    }

    /// True once what the ticket stands for is kept.
    pub fn is_kept(&self, ticket: Ticket) -> bool {
        self.broker.wal.marks().reached(ticket)
    }

    /// Wakes `me` once the ticket is reached.
    pub fn wait(&self, ticket: Ticket, me: &Waker) {
        self.broker.wal.wait(ticket, me);
    }

    /// Appends validated batches, each to its log; one outcome per batch, in order. Shards are
    /// locked one after the other, so each batch stands for itself.
    pub fn append(
        &self,
        now: Now,
        ops: &[(u16, AppendOp)],
        me: &Waker,
    ) -> Vec<Result<Placed, Error>> {
        let core = &self.broker.core;
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut rest = ops;
        while let Some((shard, _)) = rest.first() {
            let run = rest.iter().take_while(|op| op.0 == *shard).count();
            if let Err(error) = self.admit(core) {
                outcomes.extend(rest.iter().map(|_| Err(error.clone())));
                break;
            }
            let mut locked = core.lock(*shard);
            for (_, op) in &rest[..run] {
                outcomes.push(if op.batch.len() > OPERATION_MAX {
                    Err(Error::new(Kind::TooLarge, "the batch is larger than a frame takes"))
                } else {
                    locked.append(now, op, me)
                });
            }
            drop(locked);
            rest = &rest[run..];
        }
        self.broker.wal.notify();
        for ((_, op), _) in ops.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            let records = u64::from(op.header.count.unsigned_abs());
            self.counters.records_in.fetch_add(records, Ordering::Relaxed);
            self.counters.bytes_in.fetch_add(op.batch.len() as u64, Ordering::Relaxed);
        }
        outcomes
    }

    fn admit(&self, core: &Core) -> Result<(), Error> {
        if core.staged_bytes() < STAGED_MAX {
            return Ok(());
        }
        let next = self.broker.wal.marks().get(Class::Os) + 1;
        Err(Error::throttled(Ticket::new(Class::Os, next)))
    }

    /// Reads whole batches of a partition from the one that contains `from`, at most `max_bytes`;
    /// with `always_one` the first one in any case.
    pub fn fetch(
        &self,
        partition: &Partition,
        from: Offset,
        max_bytes: usize,
        always_one: bool,
    ) -> Fetched {
        let view = &partition.view;
        let read = view.read(from, max_bytes, always_one);
        if let Read::Batches(batches) = &read {
            let bytes: usize = batches.iter().map(Bytes::len).sum();
            self.counters.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Fetched { read, start: view.start(), end: view.visible() }
    }

    /// Under which opening of the broker appends happen now.
    pub fn epoch(&self) -> i32 {
        self.broker.epoch
    }

    /// Where the log ended when `epoch`, or the largest known one below it, was the last to append.
    pub fn epoch_end(&self, partition: &Partition, epoch: i32) -> Option<(i32, Offset)> {
        self.broker.core.lock(partition.shard).logs.get(&partition.log)?.epoch_end(epoch)
    }

    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.broker.catalog.topic(self.namespace, name)
    }

    pub fn topic_by_uuid(&self, uuid: &[u8; 16]) -> Option<Arc<Topic>> {
        self.broker.catalog.topic_by_uuid(uuid).filter(|topic| topic.namespace == self.namespace)
    }

    /// All topics of the namespace in the order of their names.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.broker.catalog.topics(self.namespace)
    }

    /// Makes a topic; it can be used at once, and exists for good once the ticket is reached.
    pub fn declare(
        &self,
        now: Now,
        random: &mut dyn Random,
        declare: Declare,
    ) -> Result<(Arc<Topic>, Ticket), Error> {
        self.allowed(Action::Create, Resource::Topic(&declare.name))?;
        name::check(&declare.name)?;
        self.check_partitions(0, declare.partitions)?;
        let Broker { core, catalog, settings, .. } = &*self.broker;
        let _alone = self.broker.declaring.lock();
        let mut home = core.lock(0);
        if catalog.topic(self.namespace, &declare.name).is_some() {
            return Err(Error::new(Kind::Exists, "a topic of this name exists"));
        }
        let id = home.registry.next_id;
        let logs = u64::from(declare.partitions);
        home.registry.next_id += 1 + logs;
        let row = Row {
            namespace: self.namespace,
            name: declare.name,
            uuid: random.uuid(),
            id,
            partitions: places(core.count(), id, 0, declare.partitions),
            policy: declare.policy,
            labels: declare.labels,
            created_ms: now.wall,
        };
        let ticket = stage_row(&mut home, &row);
        drop(home);
        let topic = enter(core, catalog, &settings.defaults, &row, ticket.frame());
        self.broker.wal.notify();
        Ok((topic, ticket))
    }

    fn check_partitions(&self, known: u32, wanted: u32) -> Result<(), Error> {
        if wanted == 0 || wanted > PARTITIONS_MAX {
            return Err(Error::invalid(format!("a topic has 1 to {PARTITIONS_MAX} partitions")));
        }
        let more = (wanted - known) as usize;
        if self.broker.catalog.logs() + more > LOGS_MAX {
            let what = format!("the broker has at most {LOGS_MAX} partitions in all");
            return Err(Error::new(Kind::TooLarge, what));
        }
        Ok(())
    }

    /// Removes a topic with all its records.
    pub fn delete(&self, topic: &Topic) -> Result<Ticket, Error> {
        self.allowed(Action::Delete, Resource::Topic(&topic.name))?;
        let Broker { core, catalog, .. } = &*self.broker;
        let _alone = self.broker.declaring.lock();
        let mut home = core.lock(0);
        if catalog.topic_by_uuid(&topic.uuid).is_none() {
            return Err(Error::not_found("the topic is gone"));
        }
        let ticket = home.stage(&Effect::TopicGone { id: topic.id });
        drop(home);
        leave(core, catalog, topic);
        self.broker.wal.notify();
        Ok(ticket)
    }

    /// A producer id that nobody else has or had; it may be used once the ticket is reached.
    pub fn producer_id(&self) -> (i64, Ticket) {
        let mut home = self.broker.core.lock(0);
        let id = home.registry.next_producer;
        home.registry.next_producer += 1;
        if id >= home.registry.producers_below {
            let below = id + PRODUCER_BLOCK;
            let ticket = home.stage(&Effect::ProducerIds { below });
            home.registry.producers_below = below;
            home.registry.producers_ticket = ticket;
        }
        let ticket = home.registry.producers_ticket;
        drop(home);
        self.broker.wal.notify();
        (id, ticket)
    }
}

/// Logs and shards of new partitions: neighbours in different shards.
fn places(shards: u16, topic: u64, from: u32, to: u32) -> Vec<(u64, u16)> {
    let place = |at: u32| {
        let shard = (topic + u64::from(at)) % u64::from(shards);
        (topic + 1 + u64::from(at), u16::try_from(shard).expect("below the shard count"))
    };
    (from..to).map(place).collect()
}

fn stage_row(home: &mut crate::shard::Shard, row: &Row) -> Ticket {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    home.stage(&Effect::Topic { row: bytes.into() })
}
