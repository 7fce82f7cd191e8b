//! Settings in the form in which the broker and the protocols take them.

use std::time::Duration;

use super::settings::{KafkaSettings, Settings};
use sabir_broker::topic::Effective;

/// Eighths of the memory budget: recent records; blocks of cold reads.
const TAILS: u64 = 3;
const BLOCKS: u64 = 2;

impl Settings {
    pub fn broker(&self) -> sabir_broker::Settings {
        let bound =
            |value: Option<u64>| value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX));
        let mut settings = sabir_broker::Settings::default();
        settings.wal.linger = Duration::from_millis(self.wal_linger_ms);
        let share = |parts: u64| {
            usize::try_from(self.memory_budget_bytes / 8 * parts).unwrap_or(usize::MAX)
        };
        // Records that no blob has yet are part of the tails, and bundles are written while more
        // of them come in.
        settings.keeper.tail_bytes = share(TAILS);
        settings.wal.fresh_max = settings.wal.fresh_max.min(share(TAILS));
        settings.keeper.bundle_bytes =
            usize::try_from(self.storage.bundle_bytes).unwrap_or(usize::MAX).min(share(TAILS) / 3);
        settings.keeper.blocks_bytes = share(BLOCKS);
        settings.keeper.checkpoint_every = Duration::from_millis(self.storage.checkpoint_ms);
        settings.keeper.checkpoint_bytes = self.storage.checkpoint_bytes;
        settings.upkeep.export_every = Duration::from_millis(self.storage.export_ms);
        settings.upkeep.scrub_bytes = self.storage.scrub_rate;
        let delay = self.kafka.group_initial_rebalance_delay_ms;
        settings.groups.initial_delay_ms = u32::try_from(delay).unwrap_or(u32::MAX);
        settings.defaults = Effective {
            retention_ms: bound(self.topic.retention_ms),
            retention_bytes: bound(self.topic.retention_bytes),
            segment_bytes: bound(Some(self.topic.segment_bytes)),
            message_bytes_max: bound(Some(self.kafka.message_max_bytes)),
            ..Effective::default()
        };
        settings
    }

    pub fn kafka(&self) -> sabir_kafka::Settings {
        let KafkaSettings { auto_create_topics, default_partitions, .. } = self.kafka;
        sabir_kafka::Settings {
            auto_create_topics,
            default_partitions,
            request_bytes_max: usize::try_from(self.kafka.request_max_bytes).unwrap_or(usize::MAX),
            idle: Duration::from_millis(self.kafka.idle_ms),
            ..sabir_kafka::Settings::default()
        }
    }
}
