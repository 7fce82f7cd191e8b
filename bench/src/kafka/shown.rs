//! What the runs of a case have shown, and the tables that say so.

use crate::counters::Counts;
use crate::latency::Summary;
use crate::load::report::{Cost, Report};
use crate::table::{Table, figure, maybe, mean};

/// What the runs of one product in one case have shown.
pub struct Shown {
    product: &'static str,
    pub reports: Vec<Report>,
    /// The most memory that any of them took.
    pub peak_mib: f64,
    /// What the kernel counted, and over how many messages.
    pub counted: Option<(u64, Counts)>,
}

impl Shown {
    pub fn new(product: &'static str) -> Self {
        Self { product, reports: Vec::new(), peak_mib: 0.0, counted: None }
    }

    /// The mean over the runs that have this figure.
    pub fn mean(&self, figure: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        mean(&self.reports.iter().filter_map(figure).collect::<Vec<_>>())
    }

    pub fn server(&self, figure: fn(Cost) -> f64) -> Option<f64> {
        self.mean(|report| report.server.map(figure))
    }

    fn rate(&self) -> Option<f64> {
        self.mean(|report| Some(rate(report)))
    }

    fn ack_ms(&self, at: fn(&Summary) -> f64) -> String {
        maybe(self.mean(|report| report.ack_us.as_ref().map(|us| at(us) / 1e3)))
    }

    fn counts(&self, count: fn(&Counts) -> Option<u64>, per: f64) -> String {
        maybe(
            self.counted.as_ref().and_then(|(messages, counts)| {
                Some(count(counts)? as f64 * per / *messages as f64)
            }),
        )
    }
}

/// Messages per second, those that were more: published or delivered.
fn rate(report: &Report) -> f64 {
    report.published_per_s.max(report.delivered_per_s)
}

/// The tables of a case, and how the first product stands to the others.
pub fn tables(shown: &[Shown]) -> String {
    let mut text = rate_table(shown);
    for peer in &shown[1..] {
        let ratio = |over: Option<f64>, under: Option<f64>| {
            maybe(over.zip(under).map(|(over, under)| over / under))
        };
        let cpu = |shown: &Shown| shown.server(|cost| cost.us_per_message);
        text += &format!(
            "\n{} against {}: {}× the rate, 1/{} of the CPU time per message.\n",
            shown[0].product,
            peer.product,
            ratio(shown[0].rate(), peer.rate()),
            ratio(cpu(peer), cpu(&shown[0])),
        );
    }
    let rounds = shown.iter().map(|shown| {
        let rates: Vec<_> = shown.reports.iter().map(|report| figure(rate(report))).collect();
        format!("{} {}", shown.product, rates.join(" and "))
    });
    let rounds: Vec<_> = rounds.collect();
    text + &format!("\nMessages/s by round: {}.\n\n{}", rounds.join("; "), count_table(shown))
}

fn rate_table(shown: &[Shown]) -> String {
    let mut table = Table::new(&[
        "",
        "messages/s",
        "MB/s",
        "server µs/msg",
        "ms/MiB",
        "cores",
        "generator µs/msg",
        "ack p50 ms",
        "p99",
        "p99.9",
        "max",
        "peak MiB",
    ]);
    for shown in shown {
        let hidden = shown.reports.iter().any(|r| r.generator_hides_server == Some(true));
        let mb_per_s = |r: &Report| Some(r.published_mb_per_s.max(r.delivered_mb_per_s));
        table.row([
            format!("{}{}", shown.product, if hidden { " *" } else { "" }),
            maybe(shown.rate()),
            maybe(shown.mean(mb_per_s)),
            maybe(shown.server(|cost| cost.us_per_message)),
            maybe(shown.server(|cost| cost.ms_per_mib)),
            maybe(shown.server(|cost| cost.cores)),
            maybe(shown.mean(|report| Some(report.generator.us_per_message))),
            shown.ack_ms(|us| us.p50),
            shown.ack_ms(|us| us.p99),
            shown.ack_ms(|us| us.p99_9),
            shown.ack_ms(|us| us.max),
            figure(shown.peak_mib),
        ]);
    }
    table.text()
}

fn count_table(shown: &[Shown]) -> String {
    let mut table = Table::new(&[
        "per 1000 messages",
        "syscalls",
        "fdatasync, fsync",
        "writes to files",
        "page faults",
        "switches",
        "allocations",
        "allocated KiB",
        "counted by",
    ]);
    for shown in shown {
        let tool = shown.counted.as_ref().map_or("neither perf nor strace", |c| c.1.tool);
        table.row([
            shown.product.to_owned(),
            shown.counts(|counts| Some(counts.syscalls), 1e3),
            shown.counts(|counts| Some(counts.syncs), 1e3),
            shown.counts(|counts| Some(counts.file_writes), 1e3),
            shown.counts(|counts| counts.page_faults, 1e3),
            shown.counts(|counts| counts.context_switches, 1e3),
            shown.counts(|counts| Some(counts.allocated?.blocks), 1e3),
            shown.counts(|counts| Some(counts.allocated?.bytes), 1e3 / 1024.0),
            tool.to_owned(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(product: &'static str, per_s: f64, us: f64) -> Shown {
        let cost = Cost { cores: 1.0, us_per_message: us, ms_per_mib: us };
        let report = Report {
            protocol: "kafka".to_owned(),
            size: 1024,
            messages_per_request: 1,
            pubs: 1,
            subs: 0,
            window: 5,
            rate: None,
            seconds: 1.0,
            published: 1,
            delivered: 0,
            published_per_s: per_s,
            delivered_per_s: 0.0,
            published_mb_per_s: per_s,
            delivered_mb_per_s: 0.0,
            generator: cost,
            server: Some(cost),
            generator_hides_server: Some(us < 1.0),
            ack_us: None,
            delivery_us: None,
            send_lag_us: None,
        };
        let counts = Counts { tool: "perf", syscalls: 50, ..Counts::default() };
        let counted = Some((100, counts));
        Shown { product, reports: vec![report], peak_mib: 12.0, counted }
    }

    #[test]
    fn ratios_and_marks() {
        let text = tables(&[shown("Ours", 300.0, 0.5), shown("Theirs", 100.0, 5.0)]);
        assert!(text.contains("Ours against Theirs: 3.00× the rate, 1/10.0 of the CPU"), "{text}");
        assert!(text.contains("| Ours * |") && text.contains("| Theirs |"), "{text}");
        assert!(text.contains("Messages/s by round: Ours 300; Theirs 100."), "{text}");
        assert!(text.contains("|      500 |"), "{text}");
    }
}
