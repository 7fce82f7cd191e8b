//! What a run found, as figures and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::cache::Cut;
use super::history::{Rule, Violation};

/// Violations that are written out in full; all are counted.
const EXAMPLES_MAX: usize = 20;

/// One crash cycle.
#[derive(Clone, Debug, Default)]
pub struct Cycle {
    /// Records acknowledged in it.
    pub acked: usize,
    /// Crashes: a start can be hit too.
    pub crashes: u32,
    pub restarts: Vec<Duration>,
    /// What the cache held at the last cut, and kept.
    pub cut: Option<Cut>,
    /// A part of the cache was to survive.
    pub torn: bool,
    pub violations: Vec<Violation>,
}

/// All cycles of one mode.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub name: String,
    pub cycles: usize,
    pub crashes: u32,
    pub acked: usize,
    pub torn: usize,
    /// Cuts that hit a cache with something in it.
    pub non_empty: usize,
    pub cut: Cut,
    pub slowest: Duration,
    pub violations: BTreeMap<Rule, u64>,
    pub examples: Vec<String>,
    /// Further figures of the mode, one line each.
    pub notes: Vec<String>,
}

impl Tally {
    pub fn new(name: impl Into<String>) -> Tally {
        Tally { name: name.into(), ..Tally::default() }
    }

    pub fn add(&mut self, number: usize, cycle: &Cycle) {
        self.cycles += 1;
        self.crashes += cycle.crashes;
        self.acked += cycle.acked;
        self.torn += usize::from(cycle.torn);
        let cut = cycle.cut.unwrap_or_default();
        self.non_empty += usize::from(cut.held > 0);
        self.cut.held += cut.held;
        self.cut.kept += cut.kept;
        self.slowest = cycle.restarts.iter().copied().fold(self.slowest, Duration::max);
        for violation in &cycle.violations {
            self.flag(&format!("cycle {number}"), violation);
        }
    }

    pub fn flag(&mut self, place: &str, violation: &Violation) {
        *self.violations.entry(violation.rule).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{place}: {violation}"));
        }
    }

    /// Adds the other lane of the same mode.
    pub fn join(&mut self, other: Tally) {
        self.cycles += other.cycles;
        self.crashes += other.crashes;
        self.acked += other.acked;
        self.torn += other.torn;
        self.non_empty += other.non_empty;
        self.cut.held += other.cut.held;
        self.cut.kept += other.cut.kept;
        self.slowest = self.slowest.max(other.slowest);
        for (rule, count) in other.violations {
            *self.violations.entry(rule).or_default() += count;
        }
        self.examples.extend(other.examples);
        self.notes.extend(other.notes);
    }

    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

/// The whole run as Markdown.
pub fn markdown(command: &str, seed: u64, took: Duration, tallies: &[Tally]) -> String {
    let mut text = String::new();
    let verdict = if tallies.iter().all(Tally::passed) { "passed" } else { "FAILED" };
    let seconds = took.as_secs();
    let _ = writeln!(text, "# Torture: {verdict}\n");
    let _ = writeln!(text, "`{command}`, seed {seed}, {seconds} s\n");
    let mut rows: Vec<Vec<String>> = vec![vec!["".to_owned()]];
    rows[0].extend(tallies.iter().map(|tally| tally.name.clone()));
    let mut row = |name: &str, figure: &dyn Fn(&Tally) -> String| {
        let figures = tallies.iter().map(figure);
        rows.push(std::iter::once(name.to_owned()).chain(figures).collect());
    };
    row("cycles", &|tally| tally.cycles.to_string());
    row("crashes", &|tally| tally.crashes.to_string());
    row("records acknowledged", &|tally| tally.acked.to_string());
    let always = |rule: &Rule| *rule != Rule::Unfound;
    for rule in Rule::ALL.into_iter().filter(always) {
        row(rule.name(), &|tally| tally.violations.get(&rule).unwrap_or(&0).to_string());
    }
    row("slowest restart, ms", &|tally| tally.slowest.as_millis().to_string());
    row("cuts with part of the cache surviving", &|tally| tally.torn.to_string());
    row("cuts with something in the cache", &|tally| tally.non_empty.to_string());
    row("bytes in the cache at the cuts", &|tally| tally.cut.held.to_string());
    row("of them kept", &|tally| tally.cut.kept.to_string());
    for (number, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len() - 1));
        }
    }
    for tally in tallies.iter().filter(|tally| !tally.notes.is_empty()) {
        let _ = writeln!(text, "\n## {}\n", tally.name);
        for note in &tally.notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    for tally in tallies.iter().filter(|tally| !tally.passed()) {
        let _ = writeln!(text, "\n## Violations: {}\n", tally.name);
        for example in &tally.examples {
            let _ = writeln!(text, "- {example}");
        }
    }
    text
}
