//! Members of a group, and what is counted over them. No rule of the protocol is in here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Text;
use super::wait::WaitId;
use crate::clock::Instant;

/// One way of dividing the work that a member knows, with what it says about itself in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Text,
    pub metadata: Bytes,
}

/// What is kept of a member across a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    pub id: Text,
    /// The name of a member that keeps its place while it restarts.
    pub instance_id: Option<Text>,
    pub client_id: Text,
    pub client_host: Text,
    pub session_timeout_ms: u32,
    pub rebalance_timeout_ms: u32,
    /// In the order of the member's preference; no name twice.
    pub protocols: Arc<[Protocol]>,
    pub assignment: Bytes,
}

impl MemberRecord {
    pub fn protocol(&self, name: &str) -> Option<&Protocol> {
        self.protocols.iter().find(|protocol| &*protocol.name == name)
    }

    /// Metadata for the protocol of that name; empty if the member does not know it.
    pub fn metadata(&self, name: &str) -> Bytes {
        self.protocol(name).map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    /// Bytes that count against the limits; the assignment is counted apart.
    pub fn bytes(&self) -> usize {
        let protocols: usize = self.protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum();
        let instance = self.instance_id.as_ref().map_or(0, |id| id.len());
        self.id.len() + instance + self.client_id.len() + self.client_host.len() + protocols
    }
}

/// A member as it lives.
pub(super) struct Member {
    record: MemberRecord,
    joining: Option<WaitId>,
    pub syncing: Option<WaitId>,
    /// Has not been part of a complete round: expires even while it waits for one.
    pub is_new: bool,
    pub session_due: Instant,
}

impl Member {
    pub fn new(record: MemberRecord, is_new: bool, session_due: Instant) -> Member {
        Member { record, joining: None, syncing: None, is_new, session_due }
    }

    pub fn record(&self) -> &MemberRecord {
        &self.record
    }

    pub fn joining(&self) -> Option<WaitId> {
        self.joining
    }

    /// When its session ends; never while it waits for others.
    pub fn expires(&self) -> Option<Instant> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.session_due)
    }
}

/// Invariant: `instances`, `supported`, `joining`, `bytes` are what a walk over `map` would give.
#[derive(Default)]
pub(super) struct Members {
    map: BTreeMap<Text, Member>,
    /// Instance id → member id.
    instances: BTreeMap<Text, Text>,
    /// Protocol name → members that know it.
    supported: BTreeMap<Text, usize>,
    joining: usize,
    bytes: usize,
}

impl Members {
    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn joining(&self) -> usize {
        self.joining
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, id: &str) -> Option<&Member> {
        self.map.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.map.get_mut(id)
    }

    pub fn instance(&self, instance_id: &str) -> Option<&Text> {
        self.instances.get(instance_id)
    }

    pub fn first(&self) -> Option<&Text> {
        self.map.keys().next()
    }

    /// In the order of ids, so that it decides nothing by chance.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.map.values()
    }

    pub fn insert(&mut self, member: Member) {
        assert!(member.joining.is_none(), "a member waits only once it is in the group");
        self.count(&member.record, true);
        let id = member.record.id.clone();
        if let Some(instance) = &member.record.instance_id {
            let before = self.instances.insert(instance.clone(), id.clone());
            assert!(before.is_none(), "an instance id stands for one member");
        }
        assert!(self.map.insert(id, member).is_none(), "a member id is given once");
    }

    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.map.remove(id)?;
        self.count(&member.record, false);
        self.joining -= usize::from(member.joining.is_some());
        if let Some(instance) = &member.record.instance_id {
            self.instances.remove(instance);
        }
        Some(member)
    }

    /// Replaces what a member said of itself; its id and its instance id stay.
    pub fn update(&mut self, record: MemberRecord) {
        let member = self.map.get_mut(&record.id).expect("only members are updated");
        assert!(member.record.instance_id == record.instance_id, "an instance id stays");
        let old = std::mem::replace(&mut member.record, record.clone());
        self.count(&old, false);
        self.count(&record, true);
    }

    /// Returns the request that waited before.
    pub fn set_joining(&mut self, id: &str, wait: Option<WaitId>) -> Option<WaitId> {
        let member = self.map.get_mut(id)?;
        let before = std::mem::replace(&mut member.joining, wait);
        self.joining = self.joining + usize::from(wait.is_some()) - usize::from(before.is_some());
        before
    }

    pub fn set_assignment(&mut self, id: &str, assignment: Bytes) {
        if let Some(member) = self.map.get_mut(id) {
            member.record.assignment = assignment;
        }
    }

    /// True if every member knows that protocol.
    pub fn all_support(&self, protocol: &str) -> bool {
        self.supported.get(protocol).copied().unwrap_or(0) == self.map.len()
    }

    /// The longest that any member may need to join again, milliseconds.
    pub fn rebalance_timeout_ms(&self) -> u32 {
        self.map.values().map(|member| member.record.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Each member votes for the first of its protocols that all know; most votes win, and of
    /// equals the one that the leader likes better. None without members.
    pub fn elect_protocol(&self, leader: &str) -> Option<Text> {
        let mut votes: BTreeMap<&Text, usize> = BTreeMap::new();
        for member in self.map.values() {
            let vote = member.record.protocols.iter().find(|p| self.all_support(&p.name));
            let vote = vote.expect("a member that shares no protocol with all is never let in");
            *votes.entry(&vote.name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.retain(|_, count| *count == most);
        let order = self.map.get(leader).map(|member| &*member.record.protocols).unwrap_or(&[]);
        let liked = order.iter().map(|p| &p.name).find(|name| votes.contains_key(name));
        liked.or_else(|| votes.keys().next().copied()).cloned()
    }

    fn count(&mut self, record: &MemberRecord, more: bool) {
        for protocol in record.protocols.iter() {
            let count = self.supported.entry(protocol.name.clone()).or_default();
            if more {
                *count += 1;
            } else {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
        if more {
            self.bytes += record.bytes();
        } else {
            self.bytes -= record.bytes();
        }
    }
}
