//! Declared topics by name and by id. Readers take a snapshot of one entry; who changes something
//! holds the lock of shard 0, where the effects of the catalog are staged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use sabir_storage::planted::{self, Bug};
use sabir_storage::ticket::{Class, Ticket};

use crate::shard::Map;
use crate::topic::{NamespaceId, Topic};

#[derive(Default)]
struct Names {
    by_name: BTreeMap<NamespaceId, BTreeMap<Arc<str>, Arc<Topic>>>,
    by_uuid: Map<[u8; 16], Arc<Topic>>,
    logs: usize,
}

/// What is declared.
#[derive(Default)]
pub struct Catalog {
    names: RwLock<Names>,
    /// The frame of the last change, which may be visible here before it is durable.
    changed: AtomicU64,
}

impl Catalog {
    pub fn topic(&self, namespace: NamespaceId, name: &str) -> Option<Arc<Topic>> {
        self.names.read().by_name.get(&namespace)?.get(name).cloned()
    }

    pub fn topic_by_uuid(&self, uuid: &[u8; 16]) -> Option<Arc<Topic>> {
        self.names.read().by_uuid.get(uuid).cloned()
    }

    /// All topics of a namespace in the order of their names.
    pub fn topics(&self, namespace: NamespaceId) -> Vec<Arc<Topic>> {
        let names = self.names.read();
        names.by_name.get(&namespace).map_or_else(Vec::new, |map| map.values().cloned().collect())
    }

    /// Every topic of every namespace.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.names.read().by_name.values().flat_map(|map| map.values().cloned()).collect()
    }

    /// Partitions of all topics together.
    pub fn logs(&self) -> usize {
        self.names.read().logs
    }

    /// Notes that a change is staged; before it is entered.
    pub fn change(&self, ticket: Ticket) {
        self.changed.fetch_max(ticket.frame(), Ordering::AcqRel);
    }

    /// What every answer that tells of the catalog rests on; taken after looking.
    pub fn ticket(&self) -> Ticket {
        if planted::active(Bug::EarlyTopics) {
            return Ticket::DONE;
        }
        Ticket::new(Class::Durable, self.changed.load(Ordering::Acquire))
    }

    /// Enters a topic, or replaces its former form.
    pub fn put(&self, topic: Arc<Topic>) {
        let mut names = self.names.write();
        names.logs += topic.partitions.len();
        names.by_uuid.insert(topic.uuid, topic.clone());
        let space = names.by_name.entry(topic.namespace).or_default();
        if let Some(before) = space.insert(topic.name.clone(), topic) {
            names.logs -= before.partitions.len();
        }
    }

    pub fn remove(&self, topic: &Topic) {
        let mut names = self.names.write();
        names.by_uuid.remove(&topic.uuid);
        let space = names.by_name.entry(topic.namespace).or_default();
        if let Some(gone) = space.remove(&topic.name) {
            names.logs -= gone.partitions.len();
        }
    }
}
