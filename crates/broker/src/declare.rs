//! Declaring, altering and deleting topics, and finding them. Each change is one effect in shard 0.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sabir_storage::log::LogId;
use sabir_storage::planted::{self, Bug};
use sabir_storage::ticket::Ticket;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::clock::Now;
use crate::core::Locked;
use crate::effect::Effect;
use crate::error::{Error, Kind};
use crate::limits::{LOGS_MAX, PARTITIONS_MAX};
use crate::name;
use crate::policy::{Action, Resource};
use crate::random::Random;
use crate::recovery::{enter, leave};
use crate::shard::Shard;
use crate::topic::{Policy, Row, Topic};

/// A topic to declare.
#[derive(Clone, Debug, Default)]
pub struct Declare {
    pub name: String,
    pub partitions: u32,
    pub policy: Policy,
    pub labels: BTreeMap<String, String>,
}

impl Caller {
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

    /// True if the name of any topic of the namespace begins so.
    pub fn any_topic(&self, prefix: &str) -> bool {
        self.broker.catalog.any(self.namespace, prefix)
    }

    /// What an answer rests on that tells of the catalog: its youngest change. Ask for it after
    /// the catalog was read, or a change in between is told without being kept.
    pub fn catalog_ticket(&self) -> Ticket {
        if planted::active(Bug::EarlyTopics) {
            return Ticket::DONE;
        }
        self.broker.core.lock(0).registry.catalog_ticket
    }

    /// Makes a topic; it can be used at once, and exists for good once the ticket is reached.
    ///
    /// # Errors
    /// Those of [`Caller::may_declare`] and [`Policy::check`].
    pub fn declare(
        &self,
        now: Now,
        random: &mut dyn Random,
        declare: Declare,
    ) -> Result<(Arc<Topic>, Ticket), Error> {
        let _alone = self.broker.declaring.lock();
        self.may_declare(&declare.name, declare.partitions)?;
        declare.policy.check()?;
        let Broker { core, catalog, settings, .. } = &*self.broker;
        let mut home = core.lock(0);
        let id = home.registry.next_id;
        home.registry.next_id += 1 + u64::from(declare.partitions);
        let row = Row {
            namespace: self.namespace,
            name: declare.name,
            uuid: random.uuid(),
            id,
            partitions: places(core.count(), id, id + 1, 0..declare.partitions),
            policy: declare.policy,
            labels: declare.labels,
            created_ms: now.wall,
        };
        let ticket = stage_row(&mut home, &row);
        drop(home);
        let topic = enter(core, catalog, &settings.defaults, &row, ticket.frame(), &mut |_, _| {
            Default::default()
        });
        self.broker.wal.notify();
        Ok((topic, ticket))
    }

    /// Whether a topic of this name could be declared now.
    ///
    /// # Errors
    /// `Denied`; `Invalid` for the name or the number of partitions; `TooLarge` when the broker
    /// has too many of them, or more than the namespace's quota allows; `Exists`; `NotFound` when
    /// the namespace was deleted.
    pub fn may_declare(&self, name: &str, partitions: u32) -> Result<(), Error> {
        self.allowed(Action::Create, Resource::Topic(name))?;
        name::check(name)?;
        let home = self.home()?;
        if self.topic(name).is_some() {
            return Err(Error::new(Kind::Exists, "a topic of this name exists"));
        }
        let topics = self.broker.catalog.count(home.id).0 as u64;
        within("topics", topics + 1, home.quota.topics)?;
        self.check_partitions(0, partitions)
    }

    /// Replaces how a topic is kept and labelled.
    ///
    /// # Errors
    /// `Denied`; `Invalid` as [`Policy::check`]; `NotFound` when it was deleted;
    /// `Conflict` when `topic` is no longer how it stands in the catalog: read it again and decide
    /// anew.
    pub fn alter(
        &self,
        topic: &Arc<Topic>,
        policy: Policy,
        labels: BTreeMap<String, String>,
    ) -> Result<Ticket, Error> {
        let _alone = self.broker.declaring.lock();
        self.may_alter(topic)?;
        policy.check()?;
        if topic.policy == policy && topic.labels == labels {
            return Ok(self.catalog_ticket());
        }
        let home = self.broker.core.lock(0);
        Ok(self.replace(home, &Row { policy, labels, ..Row::of(topic) }))
    }

    /// Gives a topic more partitions, `count` in all.
    ///
    /// # Errors
    /// As [`Caller::may_add_partitions`].
    pub fn add_partitions(&self, topic: &Arc<Topic>, count: u32) -> Result<Ticket, Error> {
        let _alone = self.broker.declaring.lock();
        self.may_add_partitions(topic, count)?;
        let mut row = Row::of(topic);
        let known = row.partitions.len() as u32;
        let mut home = self.broker.core.lock(0);
        let first = home.registry.next_id;
        home.registry.next_id += u64::from(count - known);
        row.partitions.extend(places(self.broker.core.count(), topic.id, first, known..count));
        Ok(self.replace(home, &row))
    }

    /// Whether a topic could be given more partitions now, `count` in all.
    ///
    /// # Errors
    /// Those of [`Caller::alter`]; `Invalid` when these are not more than there are, or too many
    /// for one topic; `TooLarge` when the broker has too many of them.
    pub fn may_add_partitions(&self, topic: &Arc<Topic>, count: u32) -> Result<(), Error> {
        self.may_alter(topic)?;
        let known = topic.partitions.len() as u32;
        if count <= known {
            return Err(Error::invalid(format!("the topic has {known} partitions already")));
        }
        self.check_partitions(known, count)
    }

    fn may_alter(&self, topic: &Arc<Topic>) -> Result<(), Error> {
        self.allowed(Action::Alter, Resource::Topic(&topic.name))?;
        match self.broker.catalog.topic_by_uuid(&topic.uuid) {
            None => Err(Error::not_found("the topic is gone")),
            Some(stands) if Arc::ptr_eq(&stands, topic) => Ok(()),
            Some(_) => Err(Error::new(Kind::Conflict, "the topic has changed meanwhile")),
        }
    }

    /// Stages the new row of a topic and makes it known.
    fn replace(&self, mut home: Locked<'_>, row: &Row) -> Ticket {
        let Broker { core, catalog, settings, .. } = &*self.broker;
        let known =
            catalog.topic_by_uuid(&row.uuid).expect("it stands there, nobody else changes it");
        let same = known.partitions.iter().zip(&row.partitions).all(|(a, b)| a.log == b.0);
        assert!(same && known.partitions.len() <= row.partitions.len(), "partitions stay");
        let ticket = stage_row(&mut home, row);
        drop(home);
        enter(core, catalog, &settings.defaults, row, ticket.frame(), &mut |_, _| {
            Default::default()
        });
        self.broker.wal.notify();
        ticket
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
        let home = self.home()?;
        let partitions = self.broker.catalog.count(home.id).1 + more;
        within("partitions", partitions as u64, home.quota.partitions)
    }

    /// Removes a topic with all its records.
    pub fn delete(&self, topic: &Topic) -> Result<Ticket, Error> {
        self.allowed(Action::Delete, Resource::Topic(&topic.name))?;
        let Broker { core, catalog, .. } = &*self.broker;
        let _alone = self.broker.declaring.lock();
        let mut home = core.lock(0);
        // As it stands now: it may have got more partitions than the caller has seen.
        let Some(topic) = catalog.topic_by_uuid(&topic.uuid) else {
            return Err(Error::not_found("the topic is gone"));
        };
        let ticket = if planted::active(Bug::ForgetDelete) {
            Ticket::DONE
        } else {
            stage(&mut home, &Effect::TopicGone { id: topic.id })
        };
        home.registry.rows.insert(topic.id, None);
        home.registry.gone.extend(topic.partitions.iter().map(|partition| partition.view.clone()));
        drop(home);
        leave(catalog, &topic);
        self.broker.agenda.forget(topic.uuid, ticket.frame());
        self.broker.wal.notify();
        Ok(ticket)
    }
}

/// Checks a number against the quota of a namespace.
fn within(what: &str, count: u64, most: Option<u64>) -> Result<(), Error> {
    match most {
        Some(most) if count > most => {
            let message = format!("the quota of the namespace allows {most} {what}");
            Err(Error::new(Kind::TooLarge, message))
        }
        _ => Ok(()),
    }
}

/// Logs and shards of the partitions `at` of a topic: neighbours in different shards.
fn places(shards: u16, topic: u64, first: LogId, at: Range<u32>) -> Vec<(LogId, u16)> {
    let shard = |at: u32| {
        let shard = (topic + u64::from(at)) % u64::from(shards);
        u16::try_from(shard).expect("below the shard count")
    };
    (first..).zip(at.map(shard)).collect()
}

fn stage_row(home: &mut Shard, row: &Row) -> Ticket {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    home.registry.rows.insert(row.id, Some(bytes.clone()));
    stage(home, &Effect::Topic { row: bytes.into() })
}

/// Stages a change of the catalog: whoever tells of it from now on waits for it.
pub(crate) fn stage(home: &mut Shard, effect: &Effect) -> Ticket {
    let ticket = home.stage(effect);
    let before = home.registry.catalog_ticket.frame();
    assert!(before <= ticket.frame(), "a change of the catalog before the last one");
    home.registry.catalog_ticket = ticket;
    ticket
}

#[cfg(test)]
mod tests;
