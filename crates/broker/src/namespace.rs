//! Namespaces: whose topics and groups have names of their own, and one quota together. Here they
//! are declared, changed and deleted, and found without a shard's lock; what lies in them is
//! elsewhere.
//!
//! Number 0 is `default`, which is always there; `/` is another name for it. Each change is one
//! effect in shard 0, as with topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use sabir_storage::ticket::Ticket;

use crate::broker::Broker;
use crate::bytes::{Fields, Malformed, Put};
use crate::caller::Caller;
use crate::clock::{Now, WallMs};
use crate::declare::stage;
use crate::effect::Effect;
use crate::error::{Error, Kind};
use crate::limits::NAMESPACES_MAX;
use crate::name;
use crate::policy::{Action, Resource};
use crate::quota::{Meter, Quota};
use crate::topic::NamespaceId;

/// The namespace of whoever names none.
pub const DEFAULT: NamespaceId = 0;
pub const DEFAULT_NAME: &str = "default";
/// Another name for it.
pub const DEFAULT_ALIAS: &str = "/";
/// The number that no namespace has: the last one is not given out.
pub const NOWHERE: NamespaceId = NamespaceId::MAX;

const ROW_VERSION: u8 = 1;

/// A declared namespace as readers see it: replaced whole when it changes.
#[derive(Debug)]
pub struct Namespace {
    /// Never reused.
    pub id: NamespaceId,
    pub name: Arc<str>,
    pub quota: Quota,
    /// When it was made; 0 for `default`.
    pub created_ms: WallMs,
    /// The same from when it was made, or the broker opened, to its end.
    pub meter: Arc<Meter>,
}

/// What lies in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub topics: u64,
    /// Of all topics together.
    pub partitions: u64,
    pub groups: u64,
}

/// The durable part of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRow {
    pub id: NamespaceId,
    pub name: String,
    pub created_ms: WallMs,
    pub quota: Quota,
}

impl NamespaceRow {
    fn of(known: &Namespace) -> NamespaceRow {
        NamespaceRow {
            id: known.id,
            name: known.name.to_string(),
            created_ms: known.created_ms,
            quota: known.quota,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::new();
        row.put_u8(ROW_VERSION);
        row.put_u32(self.id);
        row.put_bytes(self.name.as_bytes());
        row.put_i64(self.created_ms);
        self.quota.encode(&mut row);
        row
    }

    pub fn decode(row: &[u8]) -> Result<NamespaceRow, Malformed> {
        let mut fields = Fields(row);
        if fields.u8()? != ROW_VERSION {
            return Err(Malformed);
        }
        let (id, name) = (fields.u32()?, fields.str()?.to_owned());
        let created_ms = fields.i64()?;
        let quota = Quota::decode(&mut fields)?;
        fields.end()?;
        let named = if id == DEFAULT { name == DEFAULT_NAME } else { check_name(&name).is_ok() };
        if named { Ok(NamespaceRow { id, name, created_ms, quota }) } else { Err(Malformed) }
    }
}

/// Which namespaces there are. Readers take no shard's lock; who changes something holds
/// `declaring`.
/// Invariant: both maps have the same entries, and one of them is `default`.
pub struct Namespaces {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_name: BTreeMap<Arc<str>, Arc<Namespace>>,
    by_id: BTreeMap<NamespaceId, Arc<Namespace>>,
}

impl Default for Namespaces {
    fn default() -> Namespaces {
        let namespaces = Namespaces { known: RwLock::default() };
        let name = DEFAULT_NAME.to_owned();
        let quota = Quota::default();
        namespaces.enter(NamespaceRow { id: DEFAULT, name, created_ms: 0, quota });
        namespaces
    }
}

impl Namespaces {
    pub fn find(&self, name: &str) -> Option<Arc<Namespace>> {
        let name = if name == DEFAULT_ALIAS { DEFAULT_NAME } else { name };
        self.known.read().by_name.get(name).cloned()
    }

    pub fn get(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        self.known.read().by_id.get(&id).cloned()
    }

    /// All of them in the order of their names.
    pub fn all(&self) -> Vec<Arc<Namespace>> {
        self.known.read().by_name.values().cloned().collect()
    }

    /// Makes a namespace known as its row says; the meter of one that is known stays.
    pub(crate) fn enter(&self, row: NamespaceRow) -> Arc<Namespace> {
        let mut known = self.known.write();
        let before = known.by_id.get(&row.id);
        assert!(before.is_none_or(|before| *before.name == *row.name), "a name stays");
        let meter = before.map_or_else(Arc::default, |before| before.meter.clone());
        meter.set(&row.quota);
        let NamespaceRow { id, name, created_ms, quota } = row;
        let namespace = Arc::new(Namespace { id, name: name.into(), quota, created_ms, meter });
        known.by_name.insert(namespace.name.clone(), namespace.clone());
        known.by_id.insert(id, namespace.clone());
        assert_eq!(known.by_name.len(), known.by_id.len(), "a name or a number is there twice");
        namespace
    }

    /// The same for a row that was stored; a later one may replace it.
    ///
    /// # Errors
    /// If it contradicts what is known.
    pub(crate) fn restore(&self, row: NamespaceRow) -> Result<(), Malformed> {
        let same = |known: Arc<Namespace>| known.id == row.id && *known.name == *row.name;
        let (by_id, by_name) = (self.get(row.id), self.find(&row.name));
        if !(by_id.is_none_or(same) && by_name.is_none_or(same)) {
            return Err(Malformed);
        }
        self.enter(row);
        Ok(())
    }

    pub(crate) fn leave(&self, id: NamespaceId) {
        assert_ne!(id, DEFAULT, "the default namespace is always there");
        let mut known = self.known.write();
        if let Some(gone) = known.by_id.remove(&id) {
            known.by_name.remove(&gone.name);
        }
    }
}

impl Broker {
    /// The namespace of that name; `/` is `default`.
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.catalog.namespaces.find(name)
    }
}

impl Caller {
    /// The namespaces that this client may see, in the order of their names. What an answer rests
    /// on is [`Caller::catalog_ticket`].
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let mut all = self.broker.catalog.namespaces.all();
        all.retain(|one| self.may(Action::Describe, Resource::Namespace(&one.name)));
        all
    }

    /// The namespace of that name.
    ///
    /// # Errors
    /// `NotFound`, also where this client may not see it.
    pub fn find_namespace(&self, name: &str) -> Result<Arc<Namespace>, Error> {
        let found = self.broker.namespace(name);
        let seen =
            |one: &Arc<Namespace>| self.may(Action::Describe, Resource::Namespace(&one.name));
        found.filter(seen).ok_or_else(|| Error::not_found(format!("no namespace {name:?}")))
    }

    /// How much lies in a namespace.
    pub fn usage(&self, namespace: &Namespace) -> Usage {
        let (topics, partitions) = self.broker.catalog.count(namespace.id);
        let groups = self.broker.groups.count(namespace.id);
        Usage { topics: topics as u64, partitions: partitions as u64, groups: groups as u64 }
    }

    /// Makes a namespace; it can be used at once, and exists for good once the ticket is reached.
    ///
    /// # Errors
    /// `Denied`; `Invalid` for the name or the quota; `Exists`; `TooLarge` when there are too many.
    pub fn declare_namespace(
        &self,
        now: Now,
        name: &str,
        quota: Quota,
    ) -> Result<(Arc<Namespace>, Ticket), Error> {
        let _alone = self.broker.declaring.lock();
        self.allowed(Action::Create, Resource::Namespace(name))?;
        let namespaces = &self.broker.catalog.namespaces;
        if namespaces.find(name).is_some() {
            return Err(Error::new(Kind::Exists, format!("there is a namespace {name:?} already")));
        }
        check_name(name)?;
        quota.check()?;
        if namespaces.all().len() > NAMESPACES_MAX {
            let what = format!("the broker has at most {NAMESPACES_MAX} namespaces");
            return Err(Error::new(Kind::TooLarge, what));
        }
        let mut home = self.broker.core.lock(0);
        let id = home.registry.next_namespace;
        let Some(next) = id.checked_add(1) else {
            return Err(Error::new(
                Kind::TooLarge,
                "the broker has no numbers for namespaces left",
            ));
        };
        home.registry.next_namespace = next;
        drop(home);
        let row = NamespaceRow { id, name: name.to_owned(), created_ms: now.wall, quota };
        Ok(self.put_namespace(row))
    }

    /// Changes the quota of a namespace as it stands; live connections keep to it at once. Who is
    /// held back at that moment waits to the end of what was told.
    ///
    /// # Errors
    /// `Denied`; `NotFound`; `Invalid` as [`Quota::check`]; those of `change`.
    pub fn alter_quota(
        &self,
        name: &str,
        change: impl FnOnce(&mut Quota) -> Result<(), Error>,
    ) -> Result<(Arc<Namespace>, Ticket), Error> {
        let _alone = self.broker.declaring.lock();
        let known = self.find_namespace(name)?;
        self.allowed(Action::Alter, Resource::Namespace(&known.name))?;
        let mut quota = known.quota;
        change(&mut quota)?;
        quota.check()?;
        if quota == known.quota {
            return Ok((known, self.catalog_ticket()));
        }
        Ok(self.put_namespace(NamespaceRow { quota, ..NamespaceRow::of(&known) }))
    }

    /// Stages the row of a namespace and makes it known.
    fn put_namespace(&self, row: NamespaceRow) -> (Arc<Namespace>, Ticket) {
        let bytes = row.encode();
        let mut home = self.broker.core.lock(0);
        home.registry.namespaces.insert(row.id, Some(bytes.clone()));
        let ticket = stage(&mut home, &Effect::Namespace { row: bytes.into() });
        drop(home);
        let namespace = self.broker.catalog.namespaces.enter(row);
        self.broker.wal.notify();
        (namespace, ticket)
    }

    /// Deletes a namespace in which nothing is left. Whoever is still connected to it finds nothing
    /// there, and can make nothing.
    ///
    /// # Errors
    /// `Denied`; `NotFound`; `Invalid` for `default`; `Conflict` while it has topics or groups.
    pub fn delete_namespace(&self, name: &str) -> Result<Ticket, Error> {
        let _alone = self.broker.declaring.lock();
        let known = self.find_namespace(name)?;
        self.allowed(Action::Delete, Resource::Namespace(&known.name))?;
        if known.id == DEFAULT {
            let what = format!("the namespace {DEFAULT_NAME:?} cannot be deleted");
            return Err(Error::invalid(what));
        }
        let Usage { topics, groups, .. } = self.usage(&known);
        if topics > 0 || groups > 0 {
            let what = format!(
                "the namespace {:?} still has {topics} topics and {groups} groups: delete them \
                 first",
                known.name
            );
            return Err(Error::new(Kind::Conflict, what));
        }
        let mut home = self.broker.core.lock(0);
        home.registry.namespaces.insert(known.id, None);
        let ticket = stage(&mut home, &Effect::NamespaceGone { id: known.id });
        drop(home);
        self.broker.catalog.namespaces.leave(known.id);
        self.broker.wal.notify();
        Ok(ticket)
    }

    /// The namespace of this client, while it is there. Only who holds `declaring` knows that it
    /// stays.
    ///
    /// # Errors
    /// `NotFound` once it was deleted.
    pub(crate) fn home(&self) -> Result<Arc<Namespace>, Error> {
        let known = self.broker.catalog.namespaces.get(self.namespace());
        known.ok_or_else(|| Error::not_found("the namespace is gone"))
    }
}

/// Checks the name of a new namespace.
///
/// # Errors
/// `Invalid`.
pub fn check_name(name: &str) -> Result<(), Error> {
    name::check(name)?;
    if name == DEFAULT_NAME || name == DEFAULT_ALIAS {
        return Err(Error::invalid(format!("{name:?} is the namespace that is always there")));
    }
    if name::is_reserved(name) || name.starts_with("amq.") {
        return Err(Error::invalid("names that begin with sabir. or amq. are reserved"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
