//! What became of each step, against the budgets; the table at the end.

use super::steps::{Budget, Step};
use std::fmt::Write;

/// A single step is ended as hung after this many times the budget of its group. Less than that is
/// named and no failure: a busy machine proves nothing about the code.
pub const KILLED_AT: u64 = 4;
/// A line of a step's output that starts with this names a part it could not run, and what to
/// install.
const NOT_RUN: &str = "not run:";

pub enum Outcome {
    /// With the parts that were not run for want of something, each with what to install.
    Passed(Vec<String>),
    Failed(String),
}

impl Outcome {
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Passed(missing) if missing.is_empty() => "ok",
            Outcome::Passed(_) => "ok, in part",
            Outcome::Failed(_) => "FAILED",
        }
    }
}

struct Line {
    name: &'static str,
    budget: &'static Budget,
    seconds: f64,
    outcome: Outcome,
}

/// The steps that are done.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    pub fn add(&mut self, step: &Step, seconds: f64, outcome: Outcome) {
        self.lines.push(Line { name: step.name, budget: step.budget, seconds, outcome });
    }

    pub fn failed(&self, name: &str) -> bool {
        let failed = |line: &&Line| matches!(line.outcome, Outcome::Failed(_));
        self.lines.iter().filter(failed).any(|line| line.name == name)
    }

    /// Each budget that was touched, with the seconds used.
    fn budgets(&self) -> Vec<(&'static Budget, f64)> {
        let mut used: Vec<(&'static Budget, f64)> = Vec::new();
        for line in &self.lines {
            match used.iter_mut().find(|(budget, _)| *budget == line.budget) {
                Some((_, seconds)) => *seconds += line.seconds,
                None => used.push((line.budget, line.seconds)),
            }
        }
        used
    }

    pub fn table(&self) -> String {
        let mut table = String::from("step         seconds  result\n");
        let total: f64 = self.lines.iter().map(|line| line.seconds).sum();
        for line in &self.lines {
            let fault = match &line.outcome {
                Outcome::Failed(fault) => format!(": {fault}"),
                Outcome::Passed(_) => String::new(),
            };
            let word = line.outcome.word();
            let _ = writeln!(table, "{:<12} {:>7.1}  {word}{fault}", line.name, line.seconds);
        }
        let _ = writeln!(table, "{:<12} {total:>7.1}\n\nbudget       seconds    of", "together");
        for (budget, seconds) in self.budgets() {
            let over = if seconds > as_seconds(budget) { "  OVER BUDGET" } else { "" };
            let (name, of) = (budget.name, budget.seconds);
            let _ = writeln!(table, "{name:<12} {seconds:>7.1} {of:>5}{over}");
        }
        for missing in self.missing() {
            let _ = writeln!(table, "\nnot run: {missing}");
        }
        table
    }

    fn missing(&self) -> impl Iterator<Item = &String> {
        self.lines.iter().flat_map(|line| match &line.outcome {
            Outcome::Passed(missing) => missing.as_slice(),
            Outcome::Failed(_) => &[],
        })
    }

    /// Why the run as a whole failed; empty when it did not.
    pub fn faults(&self, ci: bool) -> Vec<String> {
        let mut faults = Vec::new();
        for line in self.lines.iter().filter(|line| self.failed(line.name)) {
            faults.push(format!("{} failed", line.name));
        }
        if ci {
            faults.extend(self.missing().map(|missing| format!("not run: {missing}")));
        }
        if self.lines.is_empty() {
            faults.push("no step was chosen".to_owned());
        }
        faults
    }
}

fn as_seconds(budget: &Budget) -> f64 {
    budget.seconds as f64
}

/// The parts that a step's output says it could not run.
pub fn not_run(output: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in output.lines().map(str::trim) {
        let starts = line.get(..NOT_RUN.len()).is_some_and(|s| s.eq_ignore_ascii_case(NOT_RUN));
        let part = line.get(NOT_RUN.len()..).unwrap_or_default().trim().to_owned();
        if starts && !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}
