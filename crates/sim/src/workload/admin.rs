//! Somebody who makes and deletes topics, straight at the door of the core, and is told when it is
//! kept.

use sabir_broker::declare::Declare;
use sabir_broker::error::Kind;
use sabir_broker::ticket::Ticket;

use crate::life::Life;
use crate::model::{Change, ClientId, Event};
use crate::net::Net;
use crate::workload::{Client, Ctx};

/// How it works.
#[derive(Clone, Debug)]
pub struct AdminPlan {
    pub topics: Vec<String>,
    pub partitions: u32,
    /// One step in this many does something.
    pub pause: u64,
}

struct Waiting {
    ticket: Ticket,
    event: Event,
    /// Of the life that gave the ticket.
    epoch: i32,
}

/// The administrator's state.
pub struct Admin {
    id: ClientId,
    plan: AdminPlan,
    waiting: Option<Waiting>,
}

impl Admin {
    pub fn new(id: ClientId, plan: AdminPlan) -> Admin {
        Admin { id, plan, waiting: None }
    }

    fn change(&mut self, ctx: &mut Ctx<'_>, life: &Life) {
        let name = ctx.chance.pick(&self.plan.topics).clone();
        let known = life.caller.topic(&name);
        let change = if known.is_some() { Change::Gone } else { Change::Made };
        ctx.history.add(Event::TopicTried { name: name.clone(), change });
        let done = match known {
            Some(topic) => life.caller.delete(&topic).map(|ticket| (topic.uuid, ticket)),
            None => {
                let partitions = self.plan.partitions;
                let declare = Declare { name: name.clone(), partitions, ..Declare::default() };
                let mut random = ctx.chance.fork();
                let declared = life.caller.declare(ctx.now, &mut random, declare);
                declared.map(|(topic, ticket)| (topic.uuid, ticket))
            }
        };
        match done {
            Ok((topic, ticket)) => {
                let event = Event::TopicDone { name, topic, change };
                self.waiting = Some(Waiting { ticket, event, epoch: life.caller.epoch() });
            }
            Err(error) if error.kind == Kind::Throttled => {}
            Err(error) => ctx.wrong(self.id, format!("{name} cannot be changed: {error}")),
        }
    }
}

impl Client for Admin {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some(life) = ctx.life else { return false };
        if let Some(waiting) = &self.waiting {
            if waiting.epoch != life.caller.epoch() {
                self.waiting = None;
            } else if life.caller.is_kept(waiting.ticket) {
                ctx.history.add(waiting.event.clone());
                self.waiting = None;
            } else {
                return false;
            }
            return true;
        }
        if ctx.finishing || !ctx.chance.one_in(self.plan.pause) {
            return false;
        }
        self.change(ctx, life);
        true
    }

    fn hang_up(&mut self, _net: &mut Net) {}

    fn is_done(&self, life: &Life) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.epoch != life.caller.epoch())
    }

    fn describe(&self) -> String {
        format!("admin {}: waits: {}", self.id, self.waiting.is_some())
    }
}
