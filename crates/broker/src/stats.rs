//! What the core counts and holds, read at the moment somebody asks. No lock is held for longer
//! than a few hundred entities take.

use std::sync::Arc;

use sabir_storage::ticket::{Class, FrameNo};
use sabir_storage::wal::WalWork;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::core::SLICE;
use crate::error::Error;
use crate::group::State;
use crate::namespace::Namespace;
use crate::policy::{Action, Resource};
use crate::shard::LogCounters;
use crate::topic::Topic;
use crate::upkeep::UpkeepStats;

/// A topic's partitions, and what went into them.
pub struct TopicStats {
    /// The name of the topic's namespace.
    pub namespace: Arc<str>,
    pub topic: Arc<Topic>,
    /// In their order.
    pub partitions: Vec<PartitionStats>,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    /// The first offset that can be read, and the one after the last.
    pub start: i64,
    pub end: i64,
    /// Bytes of its records in blobs and, where no blob has them yet, in memory.
    pub bytes: u64,
    /// Since the start of the broker.
    pub taken: LogCounters,
}

/// The broker without its topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    pub wal: WalWork,
    /// The last frame that is written, and the last that is durable.
    pub written: FrameNo,
    pub durable: FrameNo,
    /// Bytes of the WAL that an opening would read.
    pub backlog: u64,
    /// Bytes that wait to be written to the WAL.
    pub staged: usize,
    /// Bytes of recent batches in memory, and how many of them no blob holds.
    pub recent: usize,
    pub unbundled: usize,
    /// Bytes that cold reads keep.
    pub cold: usize,
    /// Publishes are refused for want of room.
    pub full: bool,
    /// Bytes of the disk: free, of all, and how many of them are kept free.
    pub disk_free: u64,
    pub disk_total: u64,
    pub disk_kept_free: u64,
    pub groups: GroupStates,
    pub upkeep: UpkeepStats,
}

/// How many groups are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStates {
    pub empty: u64,
    pub preparing: u64,
    pub completing: u64,
    pub stable: u64,
}

impl GroupStates {
    pub(crate) fn count(&mut self, state: State) {
        match state {
            State::Empty => self.empty += 1,
            State::Preparing => self.preparing += 1,
            State::Completing => self.completing += 1,
            State::Stable => self.stable += 1,
            State::Dead => {}
        }
    }
}

impl Caller {
    /// What the broker holds and has done.
    ///
    /// # Errors
    /// `Denied`; `Unavailable` if the disk does not say how much is free.
    pub fn stats(&self) -> Result<BrokerStats, Error> {
        self.allowed(Action::Describe, Resource::Cluster)?;
        self.broker.stats()
    }

    /// The topics of its namespace that this client may see, in the order of their names.
    pub fn topic_stats(&self) -> Vec<TopicStats> {
        let home = self.home();
        home.map_or_else(|_| Vec::new(), |home| self.topic_stats_of(&home))
    }

    /// The same of every namespace that this client may see.
    pub fn all_topic_stats(&self) -> Vec<TopicStats> {
        let all = self.namespaces();
        all.iter().flat_map(|namespace| self.topic_stats_of(namespace)).collect()
    }

    fn topic_stats_of(&self, namespace: &Namespace) -> Vec<TopicStats> {
        let mut topics = self.broker.catalog.topics(namespace.id);
        topics.retain(|topic| self.may(Action::Describe, Resource::Topic(&topic.name)));
        let stats = |topic| self.broker.topic_stats(&namespace.name, topic);
        topics.into_iter().map(stats).collect()
    }
}

impl Broker {
    fn stats(&self) -> Result<BrokerStats, Error> {
        let unknown = |error: std::io::Error| {
            Error::new(crate::error::Kind::Unavailable, format!("the disk is silent: {error}"))
        };
        let store = &self.keeper.store;
        let (recent, unbundled) = store.recent.bytes();
        // Read before what is written: it is never ahead of it.
        let durable = self.wal.marks().get(Class::Durable);
        Ok(BrokerStats {
            wal: self.wal.work(),
            written: self.wal.marks().get(Class::Os).max(durable),
            durable,
            backlog: self.wal.backlog(),
            staged: self.core.admission.staged(),
            recent,
            unbundled,
            cold: self.reader.bytes(),
            full: self.core.is_full(),
            disk_free: store.free().map_err(unknown)?,
            disk_total: store.total().map_err(unknown)?,
            disk_kept_free: self.settings.keeper.free_min.unwrap_or(0),
            groups: self.group_states(),
            upkeep: self.upkeep.stats(),
        })
    }

    fn group_states(&self) -> GroupStates {
        let mut states = GroupStates::default();
        for shard in 0..self.core.count() {
            let mut from = Some(0);
            while let Some(id) = from {
                from = self.core.lock(shard).groups.count_states(id, SLICE, &mut states);
            }
        }
        states
    }

    fn topic_stats(&self, namespace: &Arc<str>, topic: Arc<Topic>) -> TopicStats {
        let partitions = topic.partitions.iter().map(|partition| {
            let shard = self.core.lock(partition.shard);
            let taken = shard.logs.get(&partition.log).map(|log| log.counters);
            drop(shard);
            let view = &partition.view;
            // The start first: it may move past what was the end before.
            let (start, end) = (view.start(), view.visible());
            assert!(start <= end, "log {} from {start} to {end}", view.id);
            PartitionStats { start, end, bytes: view.bytes(), taken: taken.unwrap_or_default() }
        });
        let partitions = partitions.collect();
        TopicStats { namespace: namespace.clone(), topic, partitions }
    }
}
