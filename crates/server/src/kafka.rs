//! Hands the settings to the Kafka protocol.

use std::sync::Arc;

use sabir_broker::Broker;
use sabir_kafka::Kafka;
use sabir_net::connection::Protocol;

use crate::config::settings::Settings;

pub fn protocol(settings: &Settings, broker: &Arc<Broker>, namespace: &str) -> Arc<dyn Protocol> {
    Arc::new(Kafka::new(broker.clone(), settings.kafka()).in_namespace(namespace))
}
