//! The binary `sabir`: the broker and the commands that talk to one.

mod admin;
#[cfg(feature = "count-allocations")]
mod allocations;
mod base64;
mod cli;
mod config;
mod exposure;
mod herald;
mod holder;
mod kafka;
mod logging;
mod memory;
mod metrics;
mod protocols;
mod ready;
mod serve;
mod shutdown;
mod ticker;

use std::process::ExitCode;

use clap::Parser;

#[cfg(not(feature = "count-allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    memory::keep_pages_small();
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sabir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
