//! What the cases share: where they run, how one load runs against a fresh broker, and where the
//! results go.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::broker::{Broker, Product, last_words};
use crate::counters::{self, Counts, printed_by};
use crate::load::report::Report;
use crate::machine;

/// Width of the text of the results, in columns.
const COLUMNS: usize = 100;

/// Options of all sets of cases.
#[derive(Args, Clone)]
pub struct Options {
    /// A few seconds for each case: shows that all works, not what it costs.
    #[arg(long)]
    quick: bool,
    /// The server [default: `sabir` beside this program].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the brokers keep their data [default: `bench-data` beside this program].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the tables go [default: `bench/results` of the sources].
    #[arg(long)]
    results: Option<PathBuf>,
}

/// A set of cases that is being run.
pub struct Bench {
    pub quick: bool,
    pub dir: PathBuf,
    program: PathBuf,
    binary: PathBuf,
    results: PathBuf,
    load_at_start: String,
    /// Directories handed out.
    used: Cell<u32>,
}

impl Bench {
    /// # Errors
    /// There is no server to be measured.
    pub fn new(options: Options) -> Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let beside = |name: &str| program.with_file_name(name);
        let binary = options.binary.unwrap_or_else(|| beside("sabir"));
        ensure!(binary.is_file(), "{} is missing: build it first", binary.display());
        let dir = options.dir.unwrap_or_else(|| beside("bench-data"));
        let dir = dir.join(std::process::id().to_string());
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let results = options.results;
        let results =
            results.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("results"));
        Ok(Self {
            quick: options.quick,
            dir,
            program,
            binary,
            results,
            load_at_start: machine::load(),
            used: Cell::new(0),
        })
    }

    pub fn sabir(&self) -> Product {
        Product::Sabir { binary: self.binary.clone() }
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// `short` with `--quick`, else `long`.
    pub fn either<T>(&self, short: T, long: T) -> T {
        if self.quick { short } else { long }
    }

    /// A directory that nobody has used, on the disk that is measured.
    pub fn fresh_dir(&self) -> PathBuf {
        self.used.set(self.used.get() + 1);
        self.dir.join(format!("run-{}", self.used.get()))
    }

    /// Starts `product` on an empty directory, lets `work` use it, stops it and removes its data.
    pub fn with_broker<T>(
        &self,
        product: &Product,
        work: impl FnOnce(&Broker, &Path) -> Result<T>,
    ) -> Result<T> {
        machine::settle()?;
        let dir = self.fresh_dir();
        let broker = product.start(&dir)?;
        let result = work(&broker, &dir).with_context(|| {
            format!("{}, whose last words are:\n{}", product.name(), last_words(&dir))
        });
        broker.kill()?;
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        result
    }

    /// Runs one load in a process of its own.
    pub fn load(&self, broker: &Broker, line: &str) -> Result<Report> {
        note(&format!("load kafka {line}"));
        let mut command = Command::new(&self.program);
        let text = printed_by(command.args(arguments(broker, line)))?;
        serde_json::from_str(&text).context("what the load prints")
    }

    /// The same, with what the kernel counts meanwhile.
    pub fn counted(
        &self,
        broker: &Broker,
        dir: &Path,
        line: &str,
    ) -> Result<(Report, Option<Counts>)> {
        note(&format!("load kafka {line}, counted"));
        let arguments = arguments(broker, line);
        let before = broker.allocated()?;
        let (text, mut counts) = counters::during(broker.pid(), &self.program, &arguments, dir)?;
        if let (Some(counts), Some(before)) = (&mut counts, before) {
            counts.allocated = broker.allocated()?.map(|after| after.since(before));
        }
        Ok((serde_json::from_str(&text).context("what the load prints")?, counts))
    }

    /// Starts a load whose figures nobody wants, as it does not end well.
    pub fn load_beside(&self, broker: &Broker, line: &str) -> Result<Child> {
        note(&format!("load kafka {line}, to be cut off"));
        let mut command = Command::new(&self.program);
        let command = command.args(arguments(broker, line));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("the load")
    }

    /// Prints the results, writes them to `bench/results/NAME.md`, and removes all data.
    pub fn finish(&self, name: &str, products: &[Product], body: &str) -> Result<()> {
        let mut text = format!("# {name}\n\n{}", machine::describe(&self.dir));
        for product in products {
            text.push_str(&format!("- {}: {}\n", product.name(), product.version()));
        }
        let (before, after) = (&self.load_at_start, machine::load());
        text.push_str(&format!("- Load averages at the start {before}, at the end {after}\n"));
        if self.quick {
            text.push_str("\n**A quick run: it shows that all works, not what it costs.**\n");
        }
        text.push_str(body);
        let text = wrapped(&text);
        print!("{text}");
        fs::create_dir_all(&self.results)?;
        let quick = self.either("-quick", "");
        let path = self.results.join(format!("{name}{quick}.md"));
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        note(&format!("written to {}", path.display()));
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Some may be left by a case that failed; what cannot be removed is below the target.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Breaks what is no table into lines that a reader of the file takes in.
fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let indent = if line.starts_with("- ") { "  " } else { "" };
        let mut width = 0;
        for (at, word) in line.split(' ').enumerate() {
            let len = word.chars().count();
            if at > 0 && !line.starts_with('|') && width + 1 + len > COLUMNS {
                out.push('\n');
                out.push_str(indent);
                width = indent.len();
            } else if at > 0 {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += len;
        }
        out.push('\n');
    }
    out
}

/// Says on the terminal what is going on.
pub fn note(text: &str) {
    eprintln!("· {text}");
}

fn arguments(broker: &Broker, line: &str) -> Vec<String> {
    let pid = broker.pid().to_string();
    let fixed = ["load", "kafka", "--json", "--keep", "--server", &broker.address, "--pid", &pid];
    fixed.into_iter().chain(line.split_ascii_whitespace()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_and_tables_are_not() {
        let word = "x".repeat(49);
        let check = |text: &str, want: &str| assert_eq!(wrapped(text), want);
        check("a\n\n  b\n", "a\n\n  b\n");
        check(&format!("{word} {word} y"), &format!("{word} {word}\ny\n"));
        check(&format!("- {word} {word} y"), &format!("- {word}\n  {word} y\n"));
        check(&format!("| {word} | {word} |"), &format!("| {word} | {word} |\n"));
    }
}
