//! Who may enter where: the rule that keeps a listener without TLS and login on this machine,
//! and the table that shows what is open.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Result, bail};

use crate::admin::shapes::Exposed;
use crate::config::settings::ListenerSettings;

/// Refuses what would let strangers in, unless the listener says that it shall.
pub fn check(listeners: &[ListenerSettings]) -> Result<()> {
    for listener in listeners.iter().filter(|listener| !listener.insecure) {
        let open = listener
            .addresses
            .iter()
            .find(|address| address.ips.iter().any(|ip| !ip.to_canonical().is_loopback()));
        if let Some(address) = open {
            bail!(
                "listener {name} would be reachable from other machines at {at} without TLS and \
                 login; use a loopback address, or allow it with --insecure {name} or \
                 `insecure = true` under [listeners.{name}]",
                name = listener.name,
                at = address.written,
            );
        }
    }
    Ok(())
}

/// One row of the table. There is no TLS and no login yet.
pub fn row(
    listener: &str,
    protocol: &str,
    address: SocketAddr,
    advertise: Option<&str>,
) -> Exposed {
    Exposed {
        listener: listener.to_owned(),
        protocol: protocol.to_owned(),
        namespace: None,
        address: address.to_string(),
        advertise: advertise.map(str::to_owned),
        tls: false,
        login: false,
        local: address.ip().to_canonical().is_loopback(),
    }
}

/// What is open and to whom.
pub fn table(rows: &[Exposed]) -> String {
    let head = ["listener", "protocol", "address", "tls", "who may enter"].map(str::to_owned);
    let mut lines = vec![head];
    for row in rows {
        let who = match (row.login, row.local) {
            (true, _) => "who logs in",
            (false, true) => "anyone on this machine",
            (false, false) => "ANYONE WHO REACHES IT, without login",
        };
        let address = match &row.advertise {
            Some(advertise) => format!("{} as {advertise}", row.address),
            None => row.address.clone(),
        };
        let tls = if row.tls { "yes" } else { "no" };
        let listener = row.listener.clone();
        let protocol = match &row.namespace {
            Some(namespace) => format!("{} of {namespace}", row.protocol),
            None => row.protocol.clone(),
        };
        lines.push([listener, protocol, address, tls.to_owned(), who.to_owned()]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    lines.iter().fold(String::new(), |mut text, line| {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line[4]);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;
    use crate::config::{Config, Inputs};

    fn check_listen(listen: &[&str], insecure: &[&str]) -> Result<(), String> {
        let listen = listen.iter().map(|text| (*text).to_owned()).collect();
        let insecure = insecure.iter().map(|text| (*text).to_owned()).collect();
        let config = Config::load(&Inputs { listen, insecure, ..Inputs::default() }).unwrap();
        check(&Settings::new(&config).listeners).map_err(|error| error.to_string())
    }

    #[test]
    fn only_loopback_without_leave() {
        assert_eq!(check_listen(&[], &[]), Ok(()));
        assert_eq!(check_listen(&["kafka=127.3.2.1:1", "http=[::1]:2"], &[]), Ok(()));
        assert_eq!(check_listen(&["kafka=[::ffff:127.0.0.1]:1"], &[]), Ok(()));
        for open in ["0.0.0.0:9092", "[::]:9092", "192.168.1.7:9092", "[::ffff:10.0.0.1]:1"] {
            let listen = format!("kafka={open}");
            let refusal = check_listen(&[&listen], &["http"]).unwrap_err();
            let begin = format!("listener kafka would be reachable from other machines at {open}");
            assert!(refusal.starts_with(&begin), "{refusal}");
            assert!(refusal.contains("--insecure kafka"), "{refusal}");
            assert_eq!(check_listen(&[&listen], &["kafka"]), Ok(()));
        }
    }

    #[test]
    fn the_table_shouts_where_strangers_may_enter() {
        let row =
            |address: &str, advertise| row("kafka", "kafka", address.parse().unwrap(), advertise);
        let table = table(&[row("127.0.0.1:9092", None), row("0.0.0.0:1", Some("a.example:2"))]);
        let want = "\
listener  protocol  address                   tls  who may enter
kafka     kafka     127.0.0.1:9092            no   anyone on this machine
kafka     kafka     0.0.0.0:1 as a.example:2  no   ANYONE WHO REACHES IT, without login
";
        assert_eq!(table, want);
    }
}
