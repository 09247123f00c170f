//! Addresses of people, cut to what may be kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network that an address is of: /24, or /48 of IPv6, where a customer has one. What is IPv4 in the form of IPv6 counts as IPv4.
#[must_use]
pub fn truncate_ip(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0 << 8)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !0 << 80)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_to_their_network() {
        for (address, network) in [
            ("192.0.2.255", "192.0.2.0"),
            ("255.255.255.255", "255.255.255.0"),
            ("::ffff:192.0.2.7", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::1", "::"),
        ] {
            let cut = truncate_ip(address.parse().expect("an address"));
            assert_eq!(cut.to_string(), network, "{address}");
            assert_eq!(truncate_ip(cut), cut);
        }
    }
}
