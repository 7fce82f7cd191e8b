//! `cargo xtask bench`: builds the server and the benchmark with optimisation, then hands all
//! arguments on: `storage`, `micro`, `publish`, `kafka --self`, `kafka --peer`, each with
//! `--quick`; `load`, `disk`.

use std::process::Command;

use anyhow::{Context, Result, ensure};

pub fn run(args: &[String]) -> Result<()> {
    cargo(&["build", "--release", "--package", "sabir-server", "--package", "sabir-bench"])?;
    let mut run = vec!["run", "--quiet", "--release", "--package", "sabir-bench", "--"];
    run.extend(args.iter().map(String::as_str));
    cargo(&run)
}

fn cargo(args: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).status().context("cargo")?;
    ensure!(status.success(), "cargo {}: {status}", args[0]);
    Ok(())
}
