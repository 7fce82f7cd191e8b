//! Declared topics by name and by id. Readers take a snapshot of one entry; who changes something
//! holds the lock of shard 0, where the effects of the catalog are staged.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

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

    /// True if the name of any topic of the namespace begins so.
    pub fn any(&self, namespace: NamespaceId, prefix: &str) -> bool {
        let names = self.names.read();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let first = names.by_name.get(&namespace).and_then(|map| map.range::<str, _>(from).next());
        first.is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// Every topic of every namespace.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.names.read().by_name.values().flat_map(|map| map.values().cloned()).collect()
    }

    /// Partitions of all topics together.
    pub fn logs(&self) -> usize {
        self.names.read().logs
    }

    /// Enters a topic, or replaces its former form.
    pub fn put(&self, topic: Arc<Topic>) {
        let mut names = self.names.write();
        names.logs += topic.partitions.len();
        names.by_uuid.insert(topic.uuid, topic.clone());
        let space = names.by_name.entry(topic.namespace).or_default();
        let partitions = topic.partitions.len();
        if let Some(before) = space.insert(topic.name.clone(), topic) {
            assert!(before.partitions.len() <= partitions, "partitions never go");
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
