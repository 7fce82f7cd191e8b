//! The command line: what may be typed. What it means is in the modules below.

mod client;
mod config;
mod group;
mod inspect;
mod namespace;
mod publish;
mod repair;
mod stats;
mod table;
mod topic;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::config::Inputs;
use crate::serve;

/// A durable message broker: one log, many protocols.
#[derive(Debug, Parser)]
#[command(name = "sabir", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker.
    Serve(ServeArgs),
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::Command),
    /// Check the files of a data directory, and say what is in them.
    Inspect(inspect::InspectArgs),
    /// Say what of a damaged data directory can be saved, and save it.
    Repair(repair::RepairArgs),
    /// Have a running server export its state rows, from which lost ones are restored.
    Export(client::ServerArgs),
    /// Publish lines as records of a topic.
    Publish(publish::PublishArgs),
    /// Topics of a running server.
    Topic(topic::TopicArgs),
    /// Consumer groups of a running server.
    Group(group::GroupArgs),
    /// Namespaces of a running server, and their quotas.
    Namespace(namespace::NamespaceArgs),
    /// What a running server is doing.
    Stats(stats::StatsArgs),
    /// Where a running server can be reached, and by whom.
    Exposure(client::ServerArgs),
}

/// Settings that flags give.
#[derive(Debug, Default, Args)]
pub struct SettingArgs {
    /// Settings file.
    #[arg(long, value_name = "FILE", env = "SABIR_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Listen here, and only where this says; may be repeated. Port 0 = any that is free.
    #[arg(long, value_name = "NAME=ADDRESS")]
    listen: Vec<String>,
    /// Tell clients of a listener to connect here.
    #[arg(long, value_name = "NAME=HOST:PORT")]
    advertise: Vec<String>,
    /// Let a listener without TLS and login be reached from other machines.
    #[arg(long, value_name = "NAME")]
    insecure: Vec<String>,
    /// How log lines look: auto, human, json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// The most frequent level logged: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any other setting.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// Write the addresses here, as JSON, once all listeners accept.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Serve(args) => serve::run(&args.settings.inputs()?, args.ready_file),
        Command::Config(command) => config::run(command),
        Command::Inspect(args) => inspect::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Export(server) => repair::run_export(&server),
        Command::Publish(args) => publish::run(&args),
        Command::Topic(args) => topic::run(args),
        Command::Group(args) => group::run(args),
        Command::Namespace(args) => namespace::run(args),
        Command::Stats(args) => stats::run(&args),
        Command::Exposure(server) => stats::run_exposure(&server),
    }
}

impl SettingArgs {
    fn inputs(self) -> Result<Inputs> {
        let mut flags = Vec::new();
        for pair in self.set {
            let Some((key, value)) = pair.split_once('=') else {
                anyhow::bail!("--set: expected KEY=VALUE, found {pair:?}");
            };
            flags.push(("--set".to_owned(), key.to_owned(), value.to_owned()));
        }
        let named = [
            ("--data", "data_dir", self.data),
            ("--log-format", "log.format", self.log_format),
            ("--log-level", "log.level", self.log_level),
        ];
        for (flag, key, value) in named {
            flags.extend(value.map(|value| (flag.to_owned(), key.to_owned(), value)));
        }
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Inputs {
            file: self.config,
            environment: environment.collect(),
            flags,
            listen: self.listen,
            advertise: self.advertise,
            insecure: self.insecure,
        })
    }
}
