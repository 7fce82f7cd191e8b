//! Where groups are, by name. Readers take no shard's lock; who makes a group holds `declaring`.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::group::Text;
use crate::topic::NamespaceId;

/// A group's number and home. It may be gone by the time it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRef {
    pub(crate) id: u64,
    pub(crate) shard: u16,
}

/// The groups that exist.
#[derive(Default)]
pub struct GroupNames {
    names: RwLock<BTreeMap<NamespaceId, BTreeMap<Text, GroupRef>>>,
}

impl GroupNames {
    pub fn find(&self, namespace: NamespaceId, name: &str) -> Option<GroupRef> {
        self.names.read().get(&namespace)?.get(name).copied()
    }

    /// All groups of a namespace in the order of their names.
    pub fn all(&self, namespace: NamespaceId) -> Vec<(Text, GroupRef)> {
        let names = self.names.read();
        let space = names.get(&namespace).into_iter().flatten();
        space.map(|(name, at)| (name.clone(), *at)).collect()
    }

    /// Groups of one namespace.
    pub fn count(&self, namespace: NamespaceId) -> usize {
        self.names.read().get(&namespace).map_or(0, BTreeMap::len)
    }

    /// Groups of all namespaces together.
    pub fn len(&self) -> usize {
        self.names.read().values().map(BTreeMap::len).sum()
    }

    /// The name means this group from now on, unless it means a newer one: replay may come upon a
    /// group that is long gone.
    pub fn put(&self, namespace: NamespaceId, name: Text, at: GroupRef) {
        let mut names = self.names.write();
        let known = names.entry(namespace).or_default().entry(name).or_insert(at);
        if known.id < at.id {
            *known = at;
        }
    }

    /// That group is gone; a newer one of the same name stays.
    pub fn remove(&self, namespace: NamespaceId, name: &str, id: u64) {
        let mut names = self.names.write();
        let Some(space) = names.get_mut(&namespace) else { return };
        if space.get(name).is_some_and(|at| at.id == id) {
            space.remove(name);
        }
    }
}
