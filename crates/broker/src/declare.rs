//! Declaring, altering and deleting topics, and finding them. Each change is one effect in shard 0.

use std::collections::BTreeMap;
use std::sync::Arc;

use sabir_storage::ticket::Ticket;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::clock::Now;
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
        let topic = enter(core, catalog, &settings.defaults, &row, ticket.frame(), &mut |_, _| {
            Default::default()
        });
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
        home.registry.rows.insert(topic.id, None);
        home.registry.gone.extend(topic.partitions.iter().map(|partition| partition.view.clone()));
        drop(home);
        leave(core, catalog, topic);
        self.broker.wal.notify();
        Ok(ticket)
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

fn stage_row(home: &mut Shard, row: &Row) -> Ticket {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    home.registry.rows.insert(row.id, Some(bytes.clone()));
    home.stage(&Effect::Topic { row: bytes.into() })
}
