//! Where other nodes may connect to through this one. Pure, but for the addresses of this machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What is refused whatever the request says. The sender chooses targets by what DNS says, and a thief of its certificate
/// by other means: neither may reach through this node what only this node can reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Addresses of this machine and its link count as any others, as they must where all hosts are on one machine.
    pub allow_local: bool,
    /// Of the services of this node, which are not reached through it at any of its addresses.
    pub own_ports: BTreeSet<u16>,
    /// Where other nodes of the cluster listen to each other.
    pub nodes: BTreeSet<SocketAddr>,
}

impl Targets {
    /// `is_here` says whether an address is on this machine.
    ///
    /// # Errors
    /// The target is refused, in words that follow it.
    pub fn check(
        &self,
        target: SocketAddr,
        is_here: impl FnOnce(IpAddr) -> bool,
    ) -> Result<(), &'static str> {
        let ip = target.ip();
        if self.nodes.contains(&target) {
            return Err("is a port of the cluster itself");
        }
        let is_local = is_local(ip);
        let is_here = is_local || is_here(ip);
        if is_here && self.own_ports.contains(&target.port()) {
            return Err("is a port of this node itself");
        }
        match (self.allow_local, is_local, is_here) {
            (false, true, _) => Err("is an address of this machine or its link"),
            (false, false, true) => Err("is an address of this node"),
            _ => Ok(()),
        }
    }
}

/// Loopback, link-local (where clouds tell machines their secrets), unspecified, and what is no host's address.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            // ::/96 holds ::, ::1 and IPv4 addresses of an abandoned form.
            let embedded = ip.to_bits() >> 32 == 0;
            let translated = ip.to_ipv4_mapped().is_some_and(|ip| is_local(ip.into()));
            let nat64 = ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
                && is_local(
                    Ipv4Addr::from_bits(
                        u32::try_from(ip.to_bits() & 0xffff_ffff).unwrap_or_default(),
                    )
                    .into(),
                );
            ip.is_multicast() || ip.is_unicast_link_local() || embedded || translated || nat64
        }
    }
}

/// Whether an address is on an interface of this machine.
pub fn is_here(ip: IpAddr) -> bool {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return false;
    };
    let mut addresses = interfaces.filter_map(|interface| interface.address);
    addresses.any(|address| {
        let four = address.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
        let six = || address.as_sockaddr_in6().map(|six| IpAddr::from(six.ip()));
        four.or_else(six) == Some(ip)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn nothing_of_the_node_and_the_cluster_is_reached_through_it() {
        let strict = Targets {
            allow_local: false,
            own_ports: BTreeSet::from([7002]),
            nodes: BTreeSet::from(["10.0.0.9:7000".parse().unwrap()]),
        };
        let lax = Targets {
            allow_local: true,
            ..strict.clone()
        };
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        // (target, refused, refused where local targets are allowed)
        for (target, is_refused, is_refused_by_lax) in [
            ("198.51.100.1:25", false, false),
            ("[2001:db8::1]:25", false, false),
            // A smarthost in a private network.
            ("10.0.0.1:25", false, false),
            ("[fd00::1]:25", false, false),
            ("198.51.100.1:7002", false, false),
            ("10.0.0.9:25", false, false),
            ("10.0.0.9:7000", true, true),
            ("127.0.0.1:25", true, false),
            ("127.8.8.8:25", true, false),
            ("127.0.0.1:7002", true, true),
            ("0.0.0.0:25", true, false),
            ("0.0.0.0:7002", true, true),
            ("169.254.169.254:80", true, false),
            ("224.0.0.1:25", true, false),
            ("255.255.255.255:25", true, false),
            ("192.0.2.1:25", true, false),
            ("192.0.2.1:7002", true, true),
            ("[::1]:25", true, false),
            ("[::1]:7002", true, true),
            ("[::]:25", true, false),
            ("[::127.0.0.1]:25", true, false),
            ("[::ffff:127.0.0.1]:25", true, false),
            ("[64:ff9b::127.0.0.1]:25", true, false),
            ("[64:ff9b::198.51.100.1]:25", false, false),
            ("[fe80::1]:25", true, false),
            ("[ff02::1]:25", true, false),
        ] {
            let target: SocketAddr = target.parse().unwrap();
            let refused = |targets: &Targets| targets.check(target, |ip| ip == here).is_err();
            assert_eq!(refused(&strict), is_refused, "{target}");
            assert_eq!(
                refused(&lax),
                is_refused_by_lax,
                "{target} where local ones are allowed"
            );
        }
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        assert!(is_here("127.0.0.1".parse().unwrap()));
        // TEST-NET-1, RFC 5737.
        assert!(!is_here("192.0.2.77".parse().unwrap()));
    }
}
