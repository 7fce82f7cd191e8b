//! `sabir inspect`: prints what a data directory holds and what in it is damaged.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sabir_broker::inspect::{self, Damage, Fact, Facts, Report};
use serde_json::{Value, json};

use super::table::table;

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The data directory.
    #[arg(value_name = "DATA-DIR")]
    data: PathBuf,
    /// Only these files or folders of it, with every frame, stretch or row.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Read although a broker runs; what it changes meanwhile may look like damage.
    #[arg(long)]
    force: bool,
}

/// Fails if anything is damaged.
pub fn run(args: &InspectArgs) -> Result<()> {
    let data = args.data.display();
    let paths: Result<Vec<String>> =
        args.paths.iter().map(|path| inside(&args.data, path)).collect();
    let report = match inspect::inspect(&args.data, &paths?, args.force) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("{error}; stop it, or read what it may be changing with --force")
        }
        read => read.with_context(|| format!("cannot inspect {data}"))?,
    };
    if args.json {
        println!("{:#}", as_json(&report));
    } else {
        print!("{}", as_text(&report));
    }
    if report.is_intact() {
        return Ok(());
    }
    let mut names: Vec<&str> = report.damages.iter().map(|damage| damage.path.as_str()).collect();
    names.dedup();
    Err(anyhow!("{data} is damaged: {}", names.join(", ")))
}

/// The path relative to the data directory, also where a shell has completed the whole.
fn inside(data: &Path, path: &Path) -> Result<String> {
    let path = path.strip_prefix(data).unwrap_or(path);
    let text = path.to_str().with_context(|| format!("{} is no file of ours", path.display()))?;
    Ok(text.trim_end_matches('/').to_owned())
}

fn as_text(report: &Report) -> String {
    let rows: Vec<[String; 4]> = report
        .files
        .iter()
        .map(|file| {
            let holds = line(&file.facts);
            [file.path.clone(), file.kind.to_owned(), file.bytes.to_string(), holds]
        })
        .collect();
    let mut text = table(["file", "kind", "bytes", "holds"], &rows);
    for file in report.files.iter().filter(|file| !file.parts.is_empty()) {
        text.push_str(&format!("\n{}\n", file.path));
        for part in &file.parts {
            text.push_str(&format!("  {}\n", line(part)));
        }
    }
    for note in &report.notes {
        text.push_str(&format!("\nnote: {}: {}\n", note.path, note.what));
    }
    for Damage { path, range, what, means } in &report.damages {
        let (from, to) = (range.start, range.end);
        text.push_str(&format!("\nDAMAGED: {path}, bytes {from}..{to}: {what}\n  {means}\n"));
    }
    let count = report.files.len();
    if report.is_intact() {
        text.push_str(&format!("\n{count} files, all intact\n"));
    } else {
        let damages = report.damages.len();
        text.push_str(&format!("\n{count} files, {damages} damaged places\n"));
    }
    text
}

fn line(facts: &Facts) -> String {
    let facts: Vec<String> = facts
        .iter()
        .map(|(name, fact)| match fact {
            Fact::Number(number) => format!("{name} {number}"),
            Fact::Text(text) => format!("{name} {text}"),
        })
        .collect();
    facts.join(", ")
}

fn as_json(report: &Report) -> Value {
    let facts = |facts: &Facts| {
        let values = facts.iter().map(|(name, fact)| {
            let value = match fact {
                Fact::Number(number) => json!(number),
                Fact::Text(text) => json!(text),
            };
            (name.replace(' ', "_"), value)
        });
        Value::Object(values.collect())
    };
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            json!({
                "path": file.path,
                "kind": file.kind,
                "bytes": file.bytes,
                "holds": facts(&file.facts),
                "parts": file.parts.iter().map(facts).collect::<Vec<_>>(),
            })
        })
        .collect();
    let damages: Vec<Value> = report
        .damages
        .iter()
        .map(|damage| {
            json!({
                "path": damage.path,
                "from": damage.range.start,
                "to": damage.range.end,
                "what": damage.what,
                "means": damage.means,
            })
        })
        .collect();
    let notes: Vec<Value> =
        report.notes.iter().map(|note| json!({ "path": note.path, "what": note.what })).collect();
    json!({
        "intact": report.is_intact(),
        "files": files,
        "damages": damages,
        "notes": notes,
    })
}
