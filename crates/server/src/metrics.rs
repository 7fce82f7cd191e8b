//! `/metrics`: the counters of every part, read when asked, in Prometheus' text format.

mod broker;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Write};
use std::sync::Arc;

use sabir_broker::namespace::Namespace;
use sabir_broker::stats::{BrokerStats, TopicStats};
use sabir_net::counters::{Counter, Counters};

use crate::{logging, memory};

/// The counters of one listener.
pub struct Source {
    pub listener: Arc<str>,
    pub counters: Arc<Counters>,
}

/// Name, help, and where to read it. A name that ends with `_total` only rises.
type Metric = (&'static str, &'static str, fn(&Counters) -> &Counter);

const LISTENER_METRICS: &[Metric] = &[
    ("sabir_connections_accepted_total", "Connections let in.", |c| &c.accepted),
    ("sabir_connections_open", "Connections open now.", |c| &c.open),
    ("sabir_connections_refused_total", "Connections over a limit.", |c| &c.refused),
    ("sabir_accept_errors_total", "Accepts that failed.", |c| &c.accept_errors),
    ("sabir_received_bytes_total", "Bytes read from sockets.", |c| &c.bytes_in),
    ("sabir_sent_bytes_total", "Bytes written to sockets.", |c| &c.bytes_out),
    ("sabir_stalled_total", "Connections closed for not reading.", |c| &c.stalled),
    ("sabir_panics_total", "Bugs that ended a connection.", |c| &c.panics),
];

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub fn page(
    sources: &[Source],
    uptime_seconds: f64,
    broker: &BrokerStats,
    namespaces: &[Arc<Namespace>],
    topics: &[TopicStats],
) -> String {
    let mut page = Page::default();
    for (name, help, read) in LISTENER_METRICS {
        page.head(name, help);
        for source in sources {
            page.line(name, &[("listener", &source.listener)], read(&source.counters).get());
        }
    }
    page.one("sabir_uptime_seconds", "Time since the start.", format_args!("{uptime_seconds:.3}"));
    page.one("sabir_process_panics_total", "Panics of all threads.", logging::panics());
    if let Some(bytes) = memory::resident() {
        page.one("process_resident_memory_bytes", "Memory of the process.", bytes);
    }
    page.head("sabir_build_info", "The version; always 1.");
    page.line("sabir_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    broker::write(&mut page, broker);
    broker::write_namespaces(&mut page, namespaces);
    broker::write_topics(&mut page, topics);
    #[cfg(feature = "count-allocations")]
    crate::allocations::write(&mut page.0);
    page.0
}

/// The text as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric; its lines have to follow at once.
    fn head(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escape(text));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    /// A metric without labels.
    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help);
        self.line(name, &[], value);
    }
}

/// A label's value as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
