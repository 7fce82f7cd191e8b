//! `/v1/stats`: what the server is doing, for people and programs; `/metrics` says the same to
//! Prometheus.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use sabir_broker::caller::Caller;
use sabir_broker::stats::{BrokerStats, TopicStats};

use super::Admin;
use super::answer::{Refused, aside};
use super::namespaces::Asker;
use super::shapes::{
    DiskStats, GroupCounts, ListenerStats, MemoryStats, Stats, TopicCounts, UpkeepCounts, WalStats,
};
use crate::metrics::Source;
use crate::{logging, memory};

pub async fn show(
    State(admin): State<Arc<Admin>>,
    Asker(caller): Asker,
) -> Result<Json<Stats>, Refused> {
    aside(move || collect(&admin, &caller)).await.map(Json)
}

/// The topics are those of the caller's namespace, everything else is of the whole server.
fn collect(admin: &Admin, caller: &Caller) -> Result<Stats, Refused> {
    let up = admin.clock.now().mono.since(admin.started).as_millis();
    let broker = caller.stats()?;
    let BrokerStats { wal, groups, upkeep, .. } = broker;
    Ok(Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(up).unwrap_or(u64::MAX),
        memory_bytes: memory::resident().unwrap_or(0),
        panics: logging::panics(),
        listeners: admin.sources().iter().map(listener).collect(),
        wal: WalStats {
            frames: wal.frames,
            bytes: wal.bytes,
            syncs: wal.syncs,
            backlog_bytes: broker.backlog,
            staged_bytes: broker.staged as u64,
            written: broker.written,
            durable: broker.durable,
        },
        memory: MemoryStats {
            recent_bytes: broker.recent as u64,
            unbundled_bytes: broker.unbundled as u64,
            cold_bytes: broker.cold as u64,
        },
        disk: DiskStats {
            total_bytes: broker.disk_total,
            free_bytes: broker.disk_free,
            kept_free_bytes: broker.disk_kept_free,
            full: broker.full,
        },
        groups: GroupCounts {
            empty: groups.empty,
            preparing: groups.preparing,
            completing: groups.completing,
            stable: groups.stable,
        },
        upkeep: UpkeepCounts {
            exports: upkeep.exports,
            exported_ms: upkeep.exported_ms,
            scrubs: upkeep.scrubs,
            scrubbed_bytes: upkeep.scrubbed_bytes,
            findings: upkeep.findings,
        },
        topics: caller.topic_stats().iter().map(topic).collect(),
    })
}

fn listener(source: &Source) -> ListenerStats {
    let counters = &source.counters;
    ListenerStats {
        name: source.listener.to_string(),
        open: counters.open.get(),
        accepted: counters.accepted.get(),
        refused: counters.refused.get(),
        received_bytes: counters.bytes_in.get(),
        sent_bytes: counters.bytes_out.get(),
        panics: counters.panics.get(),
    }
}

fn topic(stats: &TopicStats) -> TopicCounts {
    let parts = &stats.partitions;
    let there = parts.iter().map(|part| u64::try_from(part.end - part.start).unwrap_or(0));
    TopicCounts {
        name: stats.topic.name.to_string(),
        partitions: parts.len() as u32,
        records: there.sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        records_in: parts.iter().map(|part| part.taken.records).sum(),
        batches_in: parts.iter().map(|part| part.taken.batches).sum(),
        bytes_in: parts.iter().map(|part| part.taken.bytes).sum(),
    }
}
