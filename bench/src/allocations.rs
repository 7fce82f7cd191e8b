//! What a server that was built with `count-allocations` has allocated, read from its metrics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Allocations since the start of a server, or over an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocated {
    pub blocks: u64,
    pub bytes: u64,
}

impl Allocated {
    pub fn since(self, before: Self) -> Self {
        Self { blocks: self.blocks - before.blocks, bytes: self.bytes - before.bytes }
    }
}

/// Asks the server whose admin API is at `address`. The question costs about a hundred allocations.
///
/// # Errors
/// It does not answer.
pub fn read(address: &str) -> Result<Option<Allocated>> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the server's metrics")?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 "),
        "metrics: {}",
        answer.lines().next().unwrap_or("")
    );
    Ok(parsed(&answer))
}

/// The counters on a page of metrics, where both are there.
pub fn parsed(page: &str) -> Option<Allocated> {
    let value = |name: &str| {
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    Some(Allocated {
        blocks: value("sabir_allocations_total")?,
        bytes: value("sabir_allocated_bytes_total")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_counters_or_none() {
        let check = |page: &str, want: Option<(u64, u64)>| {
            let want = want.map(|(blocks, bytes)| Allocated { blocks, bytes });
            assert_eq!(parsed(page), want, "{page}");
        };
        check("", None);
        check("sabir_allocations_total 7\r\n", None);
        let both = "# HELP sabir_allocations_total Blocks.\nsabir_allocations_total{x} 1\n\
                    sabir_allocations_total 7\nsabir_allocated_bytes_total 4096\n";
        check("sabir_allocations_totals 1\nsabir_allocated_bytes_total 1\n", None);
        check("sabir_allocations_total_ 1\nsabir_allocated_bytes_total 1\n", None);
        check(both, Some((7, 4096)));
    }
}
