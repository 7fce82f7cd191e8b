//! `/metrics`: the counters of every part, read when asked, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use sabir_net::counters::{Counter, Counters};

use crate::memory;

/// The counters of one listener.
pub struct Source {
    pub listener: Arc<str>,
    pub counters: Arc<Counters>,
}

/// Name, help, whether it only rises, and where to read it.
type Metric = (&'static str, &'static str, bool, fn(&Counters) -> &Counter);

const LISTENER_METRICS: &[Metric] = &[
    ("connections_accepted_total", "Connections let in.", true, |c| &c.accepted),
    ("connections_open", "Connections open now.", false, |c| &c.open),
    ("connections_refused_total", "Connections over a limit.", true, |c| &c.refused),
    ("accept_errors_total", "Accepts that failed.", true, |c| &c.accept_errors),
    ("received_bytes_total", "Bytes read from sockets.", true, |c| &c.bytes_in),
    ("sent_bytes_total", "Bytes written to sockets.", true, |c| &c.bytes_out),
    ("stalled_total", "Connections closed for not reading.", true, |c| &c.stalled),
    ("panics_total", "Bugs that ended a connection.", true, |c| &c.panics),
];

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub fn page(sources: &[Source], uptime_seconds: f64) -> String {
    let mut page = String::new();
    for (name, help, rises, read) in LISTENER_METRICS {
        head(&mut page, &format!("sabir_{name}"), help, *rises);
        for source in sources {
            let (listener, value) = (escape(&source.listener), read(&source.counters).get());
            let _ = writeln!(page, "sabir_{name}{{listener=\"{listener}\"}} {value}");
        }
    }
    head(&mut page, "sabir_uptime_seconds", "Time since the start.", false);
    let _ = writeln!(page, "sabir_uptime_seconds {uptime_seconds:.3}");
    if let Some(bytes) = memory::resident() {
        let name = "process_resident_memory_bytes";
        head(&mut page, name, "Memory of the process.", false);
        let _ = writeln!(page, "{name} {bytes}");
    }
    #[cfg(feature = "count-allocations")]
    crate::allocations::write(&mut page);
    page
}

fn head(page: &mut String, name: &str, help: &str, rises: bool) {
    let kind = if rises { "counter" } else { "gauge" };
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_text_format() {
        let source = Source { listener: "a\"b\\c".into(), counters: Arc::default() };
        source.counters.accepted.add(3);
        let page = page(&[source], 1.5);
        let want = "\
# HELP sabir_connections_accepted_total Connections let in.
# TYPE sabir_connections_accepted_total counter
sabir_connections_accepted_total{listener=\"a\\\"b\\\\c\"} 3
";
        assert!(page.starts_with(want), "{page}");
        assert!(page.contains("\nsabir_uptime_seconds 1.500\n"), "{page}");
        assert!(page.lines().all(|line| line.starts_with('#') || line.split(' ').count() == 2));
    }
}
