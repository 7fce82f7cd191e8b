//! Kafka: its wire protocol over the broker core. Knows requests and responses; opens no socket
//! and no file, and reads no clock.

pub mod api;
pub mod assignment;
pub mod codec;
pub mod config;
mod connection;
pub mod error_code;
mod errors;
pub mod generated;
mod groups;
mod names;
mod operations;
mod replies;
mod request;
mod session;
mod settings;

use std::sync::Arc;

use sabir_broker::Broker;
use sabir_broker::caller::Caller;
use sabir_broker::clock::Now;
use sabir_broker::namespace::{DEFAULT_NAME, NOWHERE};
use sabir_broker::policy::Identity;
use sabir_net::connection::{Connection, Peer, Protocol};

pub use request::SERVED;
pub use settings::Settings;

/// Kafka's protocol as the server registers it.
pub struct Kafka {
    broker: Arc<Broker>,
    settings: Arc<Settings>,
    namespace: Arc<str>,
}

impl Kafka {
    pub const NAME: &'static str = "kafka";
    pub const PORT: u16 = 9092;

    /// Serves the default namespace.
    pub fn new(broker: Arc<Broker>, settings: Settings) -> Kafka {
        Kafka { broker, settings: Arc::new(settings), namespace: DEFAULT_NAME.into() }
    }

    /// Serves the namespace of this name instead. It is looked up for each connection: one that was
    /// deleted and made anew is found again.
    pub fn in_namespace(self, name: &str) -> Kafka {
        Kafka { namespace: name.into(), ..self }
    }
}

impl Protocol for Kafka {
    fn accept(&self, peer: Peer, now: Now) -> Box<dyn Connection> {
        let namespace = self.broker.namespace(&self.namespace).map_or(NOWHERE, |known| known.id);
        let caller = Caller::new(self.broker.clone(), Identity::anonymous(), namespace);
        let settings = self.settings.clone();
        Box::new(connection::KafkaConnection::new(settings, peer, caller, now))
    }
}
