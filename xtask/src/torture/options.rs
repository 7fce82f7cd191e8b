//! What `cargo xtask torture` can be told.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::disk::FileSystem;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// kill -9 under load
    Kill,
    /// power cuts under load (needs root)
    Power,
    /// one flipped bit in each kind of file
    Bitflip,
    /// a disk that really fills up (needs root)
    Full,
    /// everything above
    All,
    /// the loops must find a planted bug (needs root)
    Selftest,
}

/// Crash the broker under load and count what it acknowledged and lost.
///
/// Exit status: 0 all is well, 1 violations, 2 the run proves nothing.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask torture", no_binary_name = true)]
pub struct Options {
    #[arg(value_enum, default_value = "all")]
    pub what: What,
    /// Cycles of kill or power [default: 200 and 100]
    #[arg(long)]
    pub cycles: Option<usize>,
    /// The slice that every test run takes: kill × 40, power × 20
    #[arg(long)]
    pub quick: bool,
    /// File system of the broker's disk
    #[arg(long, default_value = "ext4", value_name = "ext4|xfs")]
    pub fs: FileSystem,
    /// Share of the power cuts in which a random part of the disk's cache survives
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    pub torn: f64,
    /// Of the moments and of what survives [default: from the clock]
    #[arg(long)]
    pub seed: Option<u64>,
    /// One data directory for all cycles, not a fresh one every five
    #[arg(long)]
    pub keep: bool,
    /// From the first reply to the crash
    #[arg(long, num_args = 2, value_names = ["MIN", "MAX"])]
    pub seconds_per_cycle: Option<Vec<f64>>,
    /// Loops of one kind side by side [default: 1; kill and power always run side by side]
    #[arg(long, default_value_t = 1)]
    pub lanes: usize,
    /// A finished binary instead of one that is built here
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Where to write the Markdown report, too
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Tries for each kind of file in bitflip [default: 6, quick 1]
    #[arg(long)]
    pub flips: Option<usize>,
    /// Size of the disk that is filled, in MB
    #[arg(long, default_value_t = 96)]
    pub full_size: u64,
    /// Another broker, as a command line with {data} and {port}
    #[arg(long, hide = true)]
    pub start: Option<String>,
    /// Sync the disk once after the first reply of each cycle, for other brokers
    #[arg(long, hide = true)]
    pub settle: bool,
    /// Further arguments of `sabir serve`, split at spaces
    #[arg(long, hide = true, default_value = "", allow_hyphen_values = true)]
    pub serve: String,
}
