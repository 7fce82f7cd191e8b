//! Cases of starting and of doing nothing: until ready, until the first answer, idle memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, note};
use crate::broker::Product;
use crate::load::kafka::probe;
use crate::table::{Table, figure, maybe, median};

/// After so long a broker that nobody uses is idle.
const IDLE_AFTER: Duration = Duration::from_secs(2);

/// Starts each product on empty directories, in turn, and returns a table.
pub fn cases(bench: &Bench, products: &[Product]) -> Result<String> {
    let starts = bench.either(3, 10);
    let mut seen: Vec<Vec<[f64; 3]>> = vec![Vec::new(); products.len()];
    for turn in 0..starts {
        for (product, seen) in products.iter().zip(&mut seen) {
            note(&format!("start {} of {starts}: {}", turn + 1, product.name()));
            let dir = bench.fresh_dir();
            let began = Instant::now();
            let broker = product.start(&dir)?;
            probe(&broker.address).context("the first Metadata")?;
            let answered = began.elapsed();
            thread::sleep(IDLE_AFTER);
            let mib = broker.memory()?.resident as f64 / 1024.0;
            seen.push([broker.ready.as_secs_f64() * 1e3, answered.as_secs_f64() * 1e3, mib]);
            broker.kill()?;
            fs::remove_dir_all(&dir)?;
        }
    }
    let mut table = Table::new(&[
        "start on an empty directory",
        "ready ms",
        "most",
        "first Metadata ms",
        "idle RSS MiB",
    ]);
    for (product, seen) in products.iter().zip(&seen) {
        let column = |at: usize| seen.iter().map(|row| row[at]).collect::<Vec<_>>();
        let most = column(0).into_iter().fold(0.0, f64::max);
        table.row([
            product.name().to_owned(),
            maybe(median(column(0))),
            figure(most),
            maybe(median(column(1))),
            maybe(median(column(2))),
        ]);
    }
    let what = format!("Median of {starts} starts; memory {IDLE_AFTER:?} after.");
    Ok(format!("\n## Start\n\n{what}\n\n{}", table.text()))
}

/// The size of the server's program as it is shipped, and as it was built.
pub fn binary_size(bench: &Bench) -> Result<String> {
    let built = fs::metadata(bench.binary())?.len();
    let copy = bench.fresh_dir();
    fs::copy(bench.binary(), &copy)?;
    let stripped = strip(&copy);
    fs::remove_file(&copy)?;
    let mb = |bytes: u64| figure(bytes as f64 / 1e6);
    let stripped = match stripped {
        Ok(bytes) => format!("{} MB", mb(bytes)),
        Err(error) => format!("not known ({error:#})"),
    };
    Ok(format!("\n## Binary\n\nStripped {stripped}; as built {} MB.\n", mb(built)))
}

fn strip(path: &Path) -> Result<u64> {
    let status = Command::new("strip").arg(path).status().context("strip")?;
    ensure!(status.success(), "strip fails");
    Ok(fs::metadata(path)?.len())
}
