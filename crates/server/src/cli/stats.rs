//! `sabir stats`: what the server is doing.

use std::time::Duration;

use anyhow::Result;

use super::client::ServerArgs;
use super::table::table;
use crate::admin::shapes::Stats;

pub fn run(server: &ServerArgs) -> Result<()> {
    server.show("GET", "/v1/stats", None::<&()>, show)
}

fn show(stats: Stats) -> String {
    let rows: Vec<[String; 7]> = stats
        .listeners
        .into_iter()
        .map(|at| {
            let [open, accepted, refused, received, sent, panics] =
                [at.open, at.accepted, at.refused, at.received_bytes, at.sent_bytes, at.panics]
                    .map(|number| number.to_string());
            [at.name, open, accepted, refused, received, sent, panics]
        })
        .collect();
    let head = ["listener", "open", "accepted", "refused", "received", "sent", "panics"];
    format!(
        "version {}\nup {:?}\nmemory {:.1} MiB\n\n{}",
        stats.version,
        Duration::from_secs(stats.uptime_ms / 1000),
        stats.memory_bytes as f64 / f64::from(1 << 20),
        table(head, &rows),
    )
}
