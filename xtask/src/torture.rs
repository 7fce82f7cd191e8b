//! `cargo xtask torture`.

mod cache;
mod control;
mod disk;
mod lots;
mod powerdisk;
mod process;
mod sys;
mod writer;

use std::path::Path;

use anyhow::{Result, ensure};

pub fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["powerdisk", image, path] => powerdisk::serve(Path::new(image), Path::new(path)),
        ["with-parent", ..] => process::run_with_parent(&args[1..]),
        ["line-server", path, way] => writer::serve(Path::new(path), way),
        ["line-check", way, cycles, kind] => {
            ensure!(rustix::process::geteuid().is_root(), "needs root");
            sys::private_mounts()?;
            writer::check(way, cycles.parse()?, kind.parse().map_err(anyhow::Error::msg)?)
        }
        _ => Ok(()),
    }
}
