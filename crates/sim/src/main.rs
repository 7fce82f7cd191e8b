//! Long runs: `cargo run -p sabir-sim --release -- --seeds N [--from S]`. Prints progress, every
//! failure with the command that repeats it, and the rate; ends with 1 if a promise was broken.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sabir_sim::seed;

const PROGRESS: Duration = Duration::from_secs(10);
const USAGE: &str = "usage: sabir-sim --seeds N [--from S]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((count, from)) = parse(&arguments) else {
        say(USAGE);
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let (mut told, mut failed, mut lives, mut steps) = (begun, 0u64, 0, 0);
    let rate = |done: u64| done as f64 * 60.0 / begun.elapsed().as_secs_f64();
    for done in 0..count {
        let verdict = seed::run(from + done);
        lives += verdict.counts.lives;
        steps += verdict.counts.steps;
        if !verdict.broken.is_empty() {
            failed += 1;
            say(&verdict.report());
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say(&format!("{} of {count} seeds, {:.0} a minute", done + 1, rate(done + 1)));
        }
    }
    say(&format!(
        "{count} seeds from {from}: {failed} failed; {lives} lives of the broker, {steps} steps, \
         {:.0} seeds a minute",
        rate(count)
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many seeds, and the first.
fn parse(arguments: &[String]) -> Option<(u64, u64)> {
    let (mut count, mut from) = (None, 0);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seeds" => count = Some(value.parse().ok()?),
            [name, value] if name == "--from" => from = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((count?, from))
}

fn say(line: &str) {
    // Nobody reads it: then there is nobody to tell that it failed.
    let _ = writeln!(std::io::stdout(), "{line}");
}
