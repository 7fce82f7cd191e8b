//! The clients of a run: small state machines over the protocol's own codec, which record in the
//! history what they tried and what they were told.

pub mod admin;
pub mod consumer;
pub mod link;
pub mod producer;
pub mod publisher;
pub mod records;
pub mod rogue;
pub mod topics;

use sabir_broker::clock::Now;

use crate::chance::Chance;
use crate::life::Life;
use crate::model::{ClientId, Event, History};
use crate::net::Net;

/// What a client may use when it acts.
pub struct Ctx<'a> {
    pub net: &'a mut Net,
    /// None while the broker is down.
    pub life: Option<&'a Life>,
    pub history: &'a mut History,
    pub chance: &'a mut Chance,
    pub now: Now,
    /// Nothing new is begun: what is under way is brought to its end.
    pub finishing: bool,
}

impl Ctx<'_> {
    /// Notes an answer that no broker may give.
    pub fn wrong(&mut self, client: ClientId, what: impl Into<String>) {
        self.history.add(Event::Wrong { client, what: what.into() });
    }
}

/// A client.
pub trait Client {
    /// Does one thing: connects, sends a request or takes an answer. False if there is nothing to
    /// do at the moment.
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool;

    /// Its network connection breaks.
    fn hang_up(&mut self, net: &mut Net);

    /// True if it waits for nothing and has nothing left to do.
    fn is_done(&self, life: &Life) -> bool;

    /// Who it is and what it waits for, for the report of a run that got stuck.
    fn describe(&self) -> String;
}
