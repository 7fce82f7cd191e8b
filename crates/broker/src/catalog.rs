//! Declared namespaces, and topics by name and by id. Readers take a snapshot of one entry; who
//! changes something holds the lock of shard 0, where the effects of the catalog are staged.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::namespace::Namespaces;
use crate::shard::Map;
use crate::topic::{NamespaceId, Topic};

#[derive(Default)]
struct Names {
    by_name: BTreeMap<NamespaceId, Space>,
    by_uuid: Map<[u8; 16], Arc<Topic>>,
    logs: usize,
}

/// The topics of one namespace.
#[derive(Default)]
struct Space {
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    /// Their partitions.
    logs: usize,
}

/// What is declared.
#[derive(Default)]
pub struct Catalog {
    pub namespaces: Namespaces,
    names: RwLock<Names>,
}

impl Catalog {
    pub fn topic(&self, namespace: NamespaceId, name: &str) -> Option<Arc<Topic>> {
        self.names.read().by_name.get(&namespace)?.topics.get(name).cloned()
    }

    pub fn topic_by_uuid(&self, uuid: &[u8; 16]) -> Option<Arc<Topic>> {
        self.names.read().by_uuid.get(uuid).cloned()
    }

    /// All topics of a namespace in the order of their names.
    pub fn topics(&self, namespace: NamespaceId) -> Vec<Arc<Topic>> {
        let names = self.names.read();
        let space = names.by_name.get(&namespace);
        space.map_or_else(Vec::new, |space| space.topics.values().cloned().collect())
    }

    /// True if the name of any topic of the namespace begins so.
    pub fn any(&self, namespace: NamespaceId, prefix: &str) -> bool {
        let names = self.names.read();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let space = names.by_name.get(&namespace);
        let first = space.and_then(|space| space.topics.range::<str, _>(from).next());
        first.is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// Every topic of every namespace.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.names
            .read()
            .by_name
            .values()
            .flat_map(|space| space.topics.values().cloned())
            .collect()
    }

    /// Topics of a namespace, and their partitions.
    pub fn count(&self, namespace: NamespaceId) -> (usize, usize) {
        let names = self.names.read();
        let space = names.by_name.get(&namespace);
        space.map_or((0, 0), |space| (space.topics.len(), space.logs))
    }

    /// Partitions of all topics together.
    pub fn logs(&self) -> usize {
        self.names.read().logs
    }

    /// Enters a topic, or replaces its former form.
    pub fn put(&self, topic: Arc<Topic>) {
        let mut names = self.names.write();
        let Names { by_name, by_uuid, logs } = &mut *names;
        by_uuid.insert(topic.uuid, topic.clone());
        let space = by_name.entry(topic.namespace).or_default();
        let partitions = topic.partitions.len();
        let before = space.topics.insert(topic.name.clone(), topic);
        let before = before.map_or(0, |before| before.partitions.len());
        assert!(before <= partitions, "partitions never go");
        space.logs += partitions - before;
        *logs += partitions - before;
    }

    pub fn remove(&self, topic: &Topic) {
        let mut names = self.names.write();
        let Names { by_name, by_uuid, logs } = &mut *names;
        by_uuid.remove(&topic.uuid);
        let Some(space) = by_name.get_mut(&topic.namespace) else { return };
        if let Some(gone) = space.topics.remove(&topic.name) {
            space.logs -= gone.partitions.len();
            *logs -= gone.partitions.len();
        }
        if space.topics.is_empty() {
            by_name.remove(&topic.namespace);
        }
    }
}
