//! `sabir repair` and `sabir export`: what to do when a disk has damaged something, and before.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sabir_broker::clock::Clock;
use sabir_broker::inspect::Damage;
use sabir_broker::repair::{self, Lost, Repair};
use sabir_net::clock::SystemClock;
use serde_json::{Value, json};

use super::client::ServerArgs;
use crate::admin::shapes::Exported;

#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory. The server must be stopped.
    #[arg(value_name = "DATA-DIR")]
    data: PathBuf,
    /// Do it. Without, nothing is changed: it is only said what would be done.
    #[arg(long)]
    yes: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Fails if something is damaged that was not repaired.
pub fn run(args: &RepairArgs) -> Result<()> {
    let data = args.data.display();
    let time_ms = args.yes.then(|| SystemClock::start().now().wall);
    let repair = match repair::repair(&args.data, time_ms) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("{error}; stop it first"),
        done => done.with_context(|| format!("cannot repair {data}"))?,
    };
    if args.json {
        println!("{:#}", as_json(&repair));
    } else {
        print!("{repair}");
    }
    if repair.refused.is_some() {
        return Err(anyhow!("{data} is damaged and was left as it is"));
    }
    if repair.is_healthy() || repair.quarantine.is_some() {
        return Ok(());
    }
    Err(anyhow!(
        "{data} is damaged and was left as it is: `sabir repair {data} --yes` does the above"
    ))
}

/// Asks a running server for an export.
pub fn run_export(server: &ServerArgs) -> Result<()> {
    let show = |done: Exported| match done.path {
        Some(path) => {
            format!("{path}: the rows of checkpoint {}, {} bytes\n", done.checkpoint, done.bytes)
        }
        None => "there is nothing to export yet\n".to_owned(),
    };
    server.show("POST", "/v1/export", None::<&()>, show)
}

fn as_json(repair: &Repair) -> Value {
    let damage = |damage: &Damage| {
        json!({
            "path": damage.path,
            "from": damage.range.start,
            "to": damage.range.end,
            "what": damage.what,
        })
    };
    let lost = |lost: &Lost| {
        json!({
            "topic": lost.topic,
            "partition": lost.partition,
            "from": lost.offsets.start,
            "to": lost.offsets.end,
            "after_ms": lost.after_ms,
            "before_ms": lost.before_ms,
        })
    };
    json!({
        "healthy": repair.is_healthy(),
        "damages": repair.damages.iter().map(damage).collect::<Vec<_>>(),
        "lost": repair.lost.iter().map(lost).collect::<Vec<_>>(),
        "doubts": repair.doubts,
        "actions": repair.actions,
        "moved": repair.moved,
        "refused": repair.refused,
        "quarantine": repair.quarantine,
    })
}
