//! Whom an address stands for. Pure.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One client as limits count it: an IPv4 address, or the /64 that a host with IPv6 has to itself.
pub fn client_of(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::from(address)),
        IpAddr::V6(address) => IpNet::V6(truncated(address, 64)),
    }
}

/// The network that one owner of many addresses has: a /24 of IPv4, a /48 of IPv6.
pub fn network_of(client: IpNet) -> IpNet {
    match client {
        IpNet::V4(client) => {
            let network = Ipv4Net::new(client.addr(), 24).map(|network| network.trunc());
            IpNet::V4(network.unwrap_or(client))
        }
        IpNet::V6(client) => IpNet::V6(truncated(client.addr(), 48)),
    }
}

fn truncated(address: Ipv6Addr, prefix: u8) -> Ipv6Net {
    Ipv6Net::new(address, prefix).map_or(Ipv6Net::from(address), |network| network.trunc())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_host_is_one_client_however_many_addresses_it_has() {
        for (address, client, network) in [
            ("192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"),
            (
                "2001:db8:1:2:3:4:5:6",
                "2001:db8:1:2::/64",
                "2001:db8:1::/48",
            ),
            (
                "2001:db8:1:2:ffff::1",
                "2001:db8:1:2::/64",
                "2001:db8:1::/48",
            ),
            ("::1", "::/64", "::/48"),
        ] {
            let found = client_of(address.parse().unwrap());
            assert_eq!(found.to_string(), client, "{address}");
            assert_eq!(network_of(found).to_string(), network, "{address}");
        }
    }
}
