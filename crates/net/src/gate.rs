//! Who may come in: connections per address and in all. One gate per process counts all
//! listeners together.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Descriptors that connections may not use: files of the storage, the admin listener.
pub const DESCRIPTORS_KEPT: usize = 64;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateSettings {
    /// Connections of all listeners together.
    pub connections_max: usize,
    /// Connections of one IPv4 address or one IPv6 /64 network.
    pub connections_per_address_max: usize,
}

#[derive(Debug, Default)]
struct Inside {
    total: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Counts who is in.
#[derive(Debug)]
pub struct Gate {
    settings: GateSettings,
    inside: Mutex<Inside>,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Address,
    Total,
}

/// The right to be in, given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub fn new(settings: GateSettings) -> Arc<Gate> {
        Arc::new(Gate { settings, inside: Mutex::default() })
    }

    pub fn enter(self: &Arc<Gate>, from: IpAddr) -> Result<Pass, Refusal> {
        let address = party(from);
        let mut inside = self.inside.lock();
        if inside.total >= self.settings.connections_max {
            return Err(Refusal::Total);
        }
        let count = inside.by_address.entry(address).or_default();
        if *count >= self.settings.connections_per_address_max {
            return Err(Refusal::Address);
        }
        *count += 1;
        inside.total += 1;
        Ok(Pass { gate: self.clone(), address })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock();
        inside.total -= 1;
        let count = inside.by_address.get_mut(&self.address).expect("a pass was counted");
        *count -= 1;
        if *count == 0 {
            inside.by_address.remove(&self.address);
        }
    }
}

/// Whom an address stands for: a mapped IPv4 address for itself, an IPv6 address for its /64,
/// since every host has the whole of it.
fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

/// Raises the soft limit on descriptors to the hard one and returns how many connections fit
/// beside what is kept for others.
pub fn connections_by_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    let now = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted.current,
        Err(_) => before.current,
    };
    // None stands for "no limit".
    let limit = now.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.saturating_sub(DESCRIPTORS_KEPT).clamp(1, 1 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn limits_each_party_and_the_total_and_lets_in_again() {
        let gate = Gate::new(GateSettings { connections_max: 4, connections_per_address_max: 2 });
        let mut inside = vec![gate.enter(ip("10.0.0.1")).unwrap()];
        inside.push(gate.enter(ip("::ffff:10.0.0.1")).unwrap());
        assert_eq!(gate.enter(ip("10.0.0.1")).unwrap_err(), Refusal::Address);
        inside.push(gate.enter(ip("2001:db8::1")).unwrap());
        inside.push(gate.enter(ip("2001:db8::ffff:1")).unwrap());
        assert_eq!(gate.enter(ip("10.0.0.9")).unwrap_err(), Refusal::Total);
        inside.remove(3);
        inside.remove(0);
        assert!(gate.enter(ip("10.0.0.1")).is_ok());
        let other = gate.enter(ip("2001:db8:0:0:9::1"));
        assert!(other.is_ok(), "{other:?}");
        drop(other);
        drop(inside);
        assert_eq!(gate.inside.lock().by_address.len(), 0);
        assert_eq!(gate.inside.lock().total, 0);
    }
}
