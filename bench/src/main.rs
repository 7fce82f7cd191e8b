//! `sabir-bench`: a load generator, the disk's yardstick, and the cases that put Sabir, alone or
//! beside its peers, through both. `cargo xtask bench` builds and runs it.

mod load;
mod process;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let result = match Line::parse().command {
        Command::Load(load) => load::main(load),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sabir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
