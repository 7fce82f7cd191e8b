//! What a run found, as text and as JSON. Megabytes are payload, in millions of bytes.

use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Sample;
use super::engine::Meter;
use super::options::Common;
use crate::latency::{Latencies, Latency, Shared, Summary};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub protocol: String,
    pub size: usize,
    pub messages_per_request: u64,
    pub pubs: usize,
    pub subs: usize,
    /// Requests in flight per publisher.
    pub window: u64,
    /// Messages per second asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    pub seconds: f64,
    pub published: u64,
    pub delivered: u64,
    pub published_per_s: f64,
    pub delivered_per_s: f64,
    pub published_mb_per_s: f64,
    pub delivered_mb_per_s: f64,
    pub generator: Cost,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Cost>,
    /// The generator used more than half of the server's CPU time: then the rate says little of
    /// the server, and its CPU time is the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_hides_server: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_us: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_us: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lag_us: Option<Summary>,
}

/// CPU time, user and system, per published or delivered message, whichever are more.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub cores: f64,
    pub us_per_message: f64,
    pub ms_per_mib: f64,
}

impl Report {
    pub fn new(
        protocol: &str,
        common: &Common,
        messages_per_request: u64,
        before: &Sample,
        after: &Sample,
    ) -> Self {
        let seconds = (after.time - before.time).as_secs_f64();
        let published = after.published - before.published;
        let delivered = after.delivered - before.delivered;
        let messages = published.max(delivered).max(1) as f64;
        let mib = messages * common.size as f64 / f64::from(1 << 20);
        let cost = |cpu: f64| Cost {
            cores: cpu / seconds,
            us_per_message: cpu * 1e6 / messages,
            ms_per_mib: cpu * 1e3 / mib,
        };
        let generator = after.generator - before.generator;
        let server = after.server.zip(before.server).map(|(after, before)| after - before);
        let per_s = |count: u64| count as f64 / seconds;
        let mb_per_s = |count: u64| per_s(count) * common.size as f64 / 1e6;
        Self {
            protocol: protocol.to_owned(),
            size: common.size,
            messages_per_request,
            pubs: common.pubs,
            subs: common.subs,
            window: common.requests_in_flight(),
            rate: common.rate,
            seconds,
            published,
            delivered,
            published_per_s: per_s(published),
            delivered_per_s: per_s(delivered),
            published_mb_per_s: mb_per_s(published),
            delivered_mb_per_s: mb_per_s(delivered),
            generator: cost(generator),
            server: server.map(cost),
            generator_hides_server: server.map(|server| generator > server / 2.0),
            ack_us: None,
            delivery_us: None,
            send_lag_us: None,
        }
    }

    /// Adds the latencies of all threads.
    pub fn with_latencies(mut self, common: &Common, meters: &[Arc<Meter>]) -> Self {
        let from = if common.rate.is_some() { "due" } else { "write" };
        let sum = |kind: fn(&Latencies) -> &Shared| {
            let mut all = Latency::new();
            for meter in meters {
                all.add(&kind(&meter.latencies).lock());
            }
            all.summary(from)
        };
        self.ack_us = sum(|latencies| &latencies.ack);
        self.delivery_us = sum(|latencies| &latencies.delivery);
        self.send_lag_us = sum(|latencies| &latencies.lag);
        self
    }

    /// One line per figure.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<12}{value}").expect("memory does not fail");
        };
        line(
            "load",
            format!(
                "{} × {} B, {} per request, {} pubs with {} in flight, {} subs",
                self.protocol,
                self.size,
                self.messages_per_request,
                self.pubs,
                self.window,
                self.subs
            ),
        );
        line("measured", format!("{:.3} s", self.seconds));
        for (name, count, per_s, mb_per_s) in [
            ("published", self.published, self.published_per_s, self.published_mb_per_s),
            ("delivered", self.delivered, self.delivered_per_s, self.delivered_mb_per_s),
        ] {
            line(name, format!("{count}, {per_s:.0}/s, {mb_per_s:.1} MB/s"));
        }
        for (name, cost) in [("server", self.server), ("generator", Some(self.generator))] {
            let Some(cost) = cost else { continue };
            let Cost { cores, us_per_message, ms_per_mib } = cost;
            let us = format!("{us_per_message:.3} µs/message");
            line(name, format!("{cores:.2} cores, {us}, {ms_per_mib:.3} ms/MiB"));
        }
        if self.generator_hides_server == Some(true) {
            line("", "the generator hides the server: take its CPU time, not the rate".to_owned());
        }
        for (name, latency) in [
            ("ack", &self.ack_us),
            ("delivery", &self.delivery_us),
            ("send lag", &self.send_lag_us),
        ] {
            let Some(Summary { from, p50, p99, p99_9, max, count }) = latency else { continue };
            let tail = format!("p99.9 {p99_9:.0}, max {max:.0} µs from {from}, of {count}");
            line(name, format!("p50 {p50:.0}, p99 {p99:.0}, {tail}"));
        }
        text
    }
}
