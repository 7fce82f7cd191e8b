//! Who holds a port, as far as Linux lets us see it.

use std::fs;
use std::net::SocketAddr;

/// State of a listening socket in the kernel's tables.
const LISTENING: &str = "0A";

/// "java (pid 1234)", if it can be told.
pub fn of(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode =
        tables.iter().find_map(|table| inode(&fs::read_to_string(table).ok()?, address.port()))?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |entry: fs::DirEntry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        };
        if descriptors.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of the socket that listens on a port, whatever its address: a wildcard keeps all.
fn inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (*fields.get(1)?, *fields.get(3)?);
        let (_, local_port) = local.rsplit_once(':')?;
        let matches = u16::from_str_radix(local_port, 16).ok()? == port && state == LISTENING;
        matches.then(|| fields.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_very_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of(socket.local_addr().unwrap()).unwrap();
        let pid = format!("(pid {})", std::process::id());
        assert!(holder.ends_with(&pid), "{holder}");
    }

    #[test]
    fn reads_the_kernels_table() {
        let line = |state: &str, inode: u64| {
            let times = "00000000:00000000 00:00000000 00000000     0        0";
            format!("   0: 0100007F:2384 00000000:0000 {state} {times} {inode} 1 0\n")
        };
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when inode\n";
        let table = head.to_owned() + &line("01", 11) + &line("0A", 4242);
        assert_eq!(inode(&table, 0x2384), Some(4242));
        assert_eq!(inode(&table, 1), None);
    }
}
