//! Where this system itself takes mail, so that mail which leads back to it is found out before it goes round. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Our own addresses, as far as they are known.
///
/// A host is ours if its address and the port at which mail is handed over there are. Another service may have another
/// port of the same address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Addresses that the operator named, such as those of a load balancer: ours at any port.
    pub named: BTreeSet<IpAddr>,
    /// Where we listen for SMTP; `0.0.0.0` and `[::]` stand for all addresses of this machine.
    pub listeners: Vec<SocketAddr>,
    /// The addresses of this machine's interfaces.
    pub interfaces: BTreeSet<IpAddr>,
    /// Addresses of the cluster, wherever they are: source IPs as their nodes have them and as the world sees them, and
    /// the nodes that connect out for others. Its nodes listen at the same ports as this one.
    pub cluster: BTreeSet<IpAddr>,
}

impl OwnAddresses {
    /// Whether mail that is sent to this address would come back to us.
    pub fn is_ours(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        let has = |known: &BTreeSet<IpAddr>| known.iter().any(|one| one.to_canonical() == ip);
        if has(&self.named) {
            return true;
        }
        let is_port = self.listeners.iter().any(|at| at.port() == port);
        (is_port && has(&self.cluster)) || self.is_listener(ip, port)
    }

    /// Whether this node itself listens for SMTP there.
    pub fn is_listener(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        let mut at_port = self.listeners.iter().filter(|at| at.port() == port);
        at_port.any(|at| self.listens(at.ip().to_canonical(), ip))
    }

    fn listens(&self, at: IpAddr, ip: IpAddr) -> bool {
        // A connection to the unspecified address reaches the machine itself.
        let is_local = ip.is_loopback() || ip.is_unspecified();
        // `[::]` takes IPv4 as well, unless the machine is told otherwise.
        let is_any = at.is_unspecified() && (at.is_ipv6() || ip.is_ipv4());
        at == ip
            || (is_any && (is_local || self.interfaces.iter().any(|one| one.to_canonical() == ip)))
            || (ip.is_unspecified() && at.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn set(ips: &[&str]) -> BTreeSet<IpAddr> {
        ips.iter().map(|text| ip(text)).collect()
    }

    fn own(listeners: &[&str]) -> OwnAddresses {
        OwnAddresses {
            named: set(&["198.51.100.1"]),
            listeners: listeners.iter().map(|at| at.parse().unwrap()).collect(),
            interfaces: set(&["127.0.0.1", "::1", "192.0.2.10", "2001:db8::10"]),
            cluster: set(&["10.0.0.5", "203.0.113.5"]),
        }
    }

    #[test]
    fn address_and_port_are_compared_with_where_we_listen() {
        let one = ["192.0.2.10:25", "127.0.0.1:2525"];
        let any_v4 = ["0.0.0.0:25"];
        let any_v6 = ["[::]:25"];
        let rows: [(&[&str], &str, u16, bool); 29] = [
            (&one, "192.0.2.10", 25, true),
            (&one, "::ffff:192.0.2.10", 25, true),
            (&one, "192.0.2.10", 2525, false),
            (&one, "192.0.2.11", 25, false),
            (&one, "127.0.0.1", 2525, true),
            (&one, "127.0.0.1", 25, false),
            (&one, "127.0.0.2", 2525, false),
            (&one, "0.0.0.0", 2525, true),
            (&one, "0.0.0.0", 25, false),
            (&one, "198.51.100.1", 1, true),
            (&one, "10.0.0.5", 25, true),
            (&one, "203.0.113.5", 25, true),
            (&one, "203.0.113.5", 2525, true),
            (&one, "203.0.113.5", 587, false),
            (&one, "203.0.113.6", 25, false),
            (&any_v4, "192.0.2.10", 25, true),
            (&any_v4, "127.0.0.9", 25, true),
            (&any_v4, "0.0.0.0", 25, true),
            (&any_v4, "2001:db8::10", 25, false),
            (&any_v4, "::1", 25, false),
            (&any_v4, "192.0.2.10", 26, false),
            (&any_v4, "192.0.2.11", 25, false),
            (&any_v6, "192.0.2.10", 25, true),
            (&any_v6, "2001:db8::10", 25, true),
            (&any_v6, "2001:db8::11", 25, false),
            (&any_v6, "::1", 25, true),
            (&any_v6, "127.0.0.9", 25, true),
            (&[], "192.0.2.10", 25, false),
            (&[], "203.0.113.5", 25, false),
        ];
        for (listeners, address, port, expected) in rows {
            let own = own(listeners);
            assert_eq!(
                own.is_ours(ip(address), port),
                expected,
                "{listeners:?} {address}:{port}"
            );
        }
    }
}
