//! One life of the broker: from its opening on a disk to its end, however it comes.

use std::sync::Arc;

use sabir_broker::caller::Caller;
use sabir_broker::policy::Identity;
use sabir_broker::pump::Pump;
use sabir_broker::random::Random;
use sabir_broker::ticket::{Class, FrameNo};
use sabir_broker::{Broker, OpenError, Settings};
use sabir_kafka::Kafka;
use sabir_storage::disk::sim::{Handle, SimDisk};

/// A running broker without threads, and the protocol in front of it.
pub struct Life {
    pub broker: Arc<Broker>,
    pub pump: Pump,
    pub kafka: Kafka,
    /// Looks at the core from inside: for checks that no client can make.
    pub caller: Caller,
    /// What is synced, and of which nobody was told yet.
    pub syncing: Option<FrameNo>,
}

impl Life {
    pub fn begin(
        disk: &Arc<SimDisk>,
        settings: Settings,
        protocol: &sabir_kafka::Settings,
        random: &mut dyn Random,
    ) -> Result<Life, OpenError> {
        let disk = Arc::new(Handle(disk.clone()));
        let (broker, pump) = Broker::without_threads(disk, settings, random)?;
        let kafka = Kafka::new(broker.clone(), protocol.clone());
        let caller = Caller::new(broker.clone(), Identity::anonymous(), 0);
        Ok(Life { broker, pump, kafka, caller, syncing: None })
    }

    /// True if something is written that is not durable.
    pub fn wants_sync(&self) -> bool {
        self.syncing.is_none() && self.pump.mark(Class::Durable) < self.pump.mark(Class::Os)
    }
}
