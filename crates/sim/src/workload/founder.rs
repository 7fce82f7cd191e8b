//! Somebody who makes the topics that are kept otherwise than usual, and makes them again if a
//! crash took them before they were kept.

use sabir_broker::declare::Declare;
use sabir_broker::error::Kind;
use sabir_broker::ticket::{Class, Ticket};
use sabir_broker::topic::Policy;

use crate::life::Life;
use crate::model::{Change, ClientId, Event, Keeping};
use crate::net::Net;
use crate::workload::{Client, Ctx};

/// What it makes.
#[derive(Clone, Debug)]
pub struct FounderPlan {
    pub topics: Vec<(String, Policy)>,
    pub partitions: u32,
}

struct Waiting {
    ticket: Ticket,
    event: Event,
    /// Of the life that gave the ticket.
    epoch: i32,
}

/// The founder's state.
pub struct Founder {
    id: ClientId,
    plan: FounderPlan,
    waiting: Vec<Waiting>,
}

impl Founder {
    pub fn new(id: ClientId, plan: FounderPlan) -> Founder {
        Founder { id, plan, waiting: Vec::new() }
    }

    fn found(&mut self, ctx: &mut Ctx<'_>, life: &Life, name: &str, policy: &Policy) {
        let (name, change) = (name.to_owned(), Change::Made);
        ctx.history.add(Event::TopicTried { name: name.clone(), change });
        let mut random = ctx.chance.fork();
        let declare = Declare {
            name: name.clone(),
            partitions: self.plan.partitions,
            policy: policy.clone(),
            ..Declare::default()
        };
        match life.caller.declare(ctx.now, &mut random, declare) {
            Ok((made, ticket)) => {
                let topic = made.uuid;
                let how = Keeping {
                    relaxed: policy.durability == Some(Class::Os),
                    retention_ms: policy.retention_ms,
                    retention_bytes: policy.retention_bytes,
                };
                ctx.history.add(Event::Kept { topic, how });
                let event = Event::TopicDone { name, topic, change };
                self.waiting.push(Waiting { ticket, event, epoch: life.caller.epoch() });
            }
            Err(error) if error.kind == Kind::Throttled => {}
            Err(error) => ctx.wrong(self.id, format!("{name} cannot be made: {error}")),
        }
    }

    fn missing(&self, life: &Life) -> Option<(String, Policy)> {
        let missing = |topic: &&(String, Policy)| life.caller.topic(&topic.0).is_none();
        self.plan.topics.iter().find(missing).cloned()
    }
}

impl Client for Founder {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some(life) = ctx.life else { return false };
        self.waiting.retain(|waiting| waiting.epoch == life.caller.epoch());
        let kept = self.waiting.iter().position(|waiting| life.caller.is_kept(waiting.ticket));
        if let Some(at) = kept {
            ctx.history.add(self.waiting.swap_remove(at).event);
            return true;
        }
        let Some((name, policy)) = self.missing(life) else { return false };
        self.found(ctx, life, &name, &policy);
        true
    }

    fn hang_up(&mut self, _net: &mut Net) {}

    fn is_done(&self, life: &Life) -> bool {
        let epoch = life.caller.epoch();
        self.missing(life).is_none() && self.waiting.iter().all(|waiting| waiting.epoch != epoch)
    }

    fn describe(&self) -> String {
        format!("founder {}: waits for {}", self.id, self.waiting.len())
    }
}
