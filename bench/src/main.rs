//! `sabir-bench`: a load generator, the disk's yardstick, and the cases that put Sabir, alone or
//! beside its peers, through both. `cargo xtask bench` builds and runs it.

mod allocations;
mod bench;
mod broker;
mod counters;
/// The server's own counter.
#[cfg(feature = "count-allocations")]
#[path = "../../crates/server/src/allocations.rs"]
mod counting;
mod disk;
mod kafka;
mod latency;
mod load;
mod machine;
mod micro;
mod process;
mod start;
mod storage;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// That of the server, so that what `micro` runs of it costs the same here.
#[cfg(not(feature = "count-allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[derive(Parser)]
#[command(name = "sabir-bench", about = "Measures message brokers", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send and receive messages that were encoded before.
    #[command(subcommand)]
    Load(load::Load),
    /// Measure what the disk can do by itself.
    Disk(disk::Options),
    /// Durable ingest beside the disk's own rate, start, memory, restart.
    Storage(bench::Options),
    /// The cases of the Kafka protocol, on Sabir alone or beside Apache Kafka.
    Kafka(kafka::Options),
    /// Shards behind locks against shards behind mailboxes, inside of this process.
    Micro(micro::Options),
    /// What a single record costs that joins a batch, inside of this process.
    Publish(bench::Options),
}

fn main() -> ExitCode {
    let result = match Line::parse().command {
        Command::Load(load) => load::main(load),
        Command::Disk(options) => disk::main(&options),
        Command::Storage(options) => storage::main(options),
        Command::Kafka(options) => kafka::main(options),
        Command::Micro(options) => micro::main(options),
        Command::Publish(options) => micro::publish::main(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sabir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
