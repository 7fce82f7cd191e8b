//! `sabir config`: checks a file, shows what is in effect and where it was written.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::SettingArgs;
use crate::config::settings::Settings;
use crate::config::{Config, Inputs, document};
use crate::exposure;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with a file, if anything is.
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show every setting, its value and where that was written.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Print a settings file with every default instead.
    #[arg(long, conflicts_with = "json")]
    default: bool,
}

pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Check { file } => {
            let name = file.display().to_string();
            let config = Config::load(&Inputs { file: Some(file), ..Inputs::default() })?;
            exposure::check(&Settings::new(&config).listeners)?;
            println!("{name}: nothing wrong");
        }
        Command::Show(args) if args.default => print!("{}", document::defaults()),
        Command::Show(args) => {
            let config = Config::load(&args.settings.inputs()?)?;
            if args.json {
                println!("{:#}", document::effective_json(&config));
            } else {
                print!("{}", document::effective(&config));
            }
        }
    }
    Ok(())
}
