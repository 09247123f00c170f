//! What an IP address is for, by IANA's registries of special-purpose addresses (RFC 6890), and by what clouds have made of some.
//!
//! An address that carries an IPv4 address reaches whatever that one reaches, so it is of the same kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    /// Globally routed unicast.
    Public,
    /// RFC 1918; site-local addresses, which came before RFC 4193.
    Private,
    /// RFC 4193.
    UniqueLocal,
    /// RFC 6598: customers behind a provider's NAT.
    Shared,
    Loopback,
    LinkLocal,
    /// RFC 5737, RFC 3849, RFC 9637.
    Documentation,
    /// RFC 2544, RFC 5180.
    Benchmarking,
    /// Where clouds tell a machine its credentials.
    Metadata,
    /// RFC 1122: this host, this network.
    Unspecified,
    Multicast,
    /// What carries an IPv4 address in a way that has gone out of use, or that is not known here: IPv4-compatible addresses,
    /// Teredo, ISATAP to an address that is not public, relays of 6to4, NAT64 of one network (RFC 8215).
    Tunnel,
    /// The rest.
    Reserved,
}

impl AddressKind {
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match reached(ip) {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// The word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::UniqueLocal => "unique local",
            Self::Shared => "shared (carrier-grade NAT)",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Metadata => "cloud metadata",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Tunnel => "tunnel",
            Self::Reserved => "reserved",
        }
    }
}

/// Whether an address that a stranger names may be connected to: globally routed unicast only.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    AddressKind::of(ip) == AddressKind::Public
}

/// The address that connections to this one end at: the one that is carried by an IPv4-mapped address (RFC 4291 2.5.5.2), the
/// well-known prefix of NAT64 (RFC 6052 2.1) or 6to4 (RFC 3056 2); the address itself otherwise.
#[must_use]
pub fn reached(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => IpAddr::V4(joined(high, low)),
        _ => ip,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

fn of_v4(ip: Ipv4Addr) -> AddressKind {
    use AddressKind as Kind;
    match ip.octets() {
        // Amazon, Azure, Google, Oracle and others; tasks and pods of Amazon; Alibaba; Azure's host.
        [169, 254, 169 | 170, _] | [100, 100, 100, 200] | [168, 63, 129, 16] => Kind::Metadata,
        [0, ..] => Kind::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private,
        [100, 64..=127, ..] => Kind::Shared,
        [127, ..] => Kind::Loopback,
        [169, 254, ..] => Kind::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Documentation,
        [192, 88, 99, _] => Kind::Tunnel,
        [198, 18 | 19, ..] => Kind::Benchmarking,
        [224..=239, ..] => Kind::Multicast,
        [192, 0, 0, _] | [240..=255, ..] => Kind::Reserved,
        _ => Kind::Public,
    }
}

fn of_v6(ip: Ipv6Addr) -> AddressKind {
    use AddressKind as Kind;
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Kind::Tunnel,
        // Amazon; Google; Oracle; Scaleway.
        [0xfd00, 0xec2 | 0xc1, ..] | [0xfd20, 0xce, ..] | [0xfd00, 0x42, ..] => Kind::Metadata,
        [0xfc00..=0xfdff, ..] => Kind::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        [0xfec0..=0xfeff, ..] => Kind::Private,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Documentation,
        [0x2001, 2, 0, ..] => Kind::Benchmarking,
        // IETF protocol assignments (RFC 2928).
        [0x2001, 0..=0x1ff, ..] => Kind::Reserved,
        // ISATAP (RFC 5214 6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] if of_v4(joined(high, low)) != Kind::Public => {
            Kind::Tunnel
        }
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::AddressKind::*;
    use super::*;

    #[test]
    fn each_address_has_a_kind() {
        let rows = [
            (
                "8.8.8.8 100.63.0.1 100.128.0.1 172.32.0.1 198.17.0.1 198.20.0.1 1.0.0.0 223.255.255.255",
                Public,
            ),
            (
                "2a00:1450:4001:800::1a 2607:f8b0::1 2001:200::1 3fff:1000::1 2620:4f:8000::1",
                Public,
            ),
            (
                "::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2a00::5efe:8.8.8.8",
                Public,
            ),
            (
                "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 fec0::1",
                Private,
            ),
            (
                "::ffff:10.0.0.1 64:ff9b::10.1.2.3 2002:a00:1::1 2002:c0a8:101::8.8.8.8",
                Private,
            ),
            ("fc00::1 fd12:3456::1 fdff:ffff::1", UniqueLocal),
            ("100.64.0.1 100.127.255.255 ::ffff:100.64.0.1", Shared),
            (
                "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::",
                Loopback,
            ),
            (
                "169.254.0.1 169.254.255.255 fe80::1 febf::1 fe80::5efe:8.8.8.8",
                LinkLocal,
            ),
            (
                "192.0.2.1 198.51.100.1 203.0.113.255 2001:db8::1 3fff:fff::1",
                Documentation,
            ),
            ("198.18.0.1 198.19.255.255 2001:2::1", Benchmarking),
            (
                "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254",
                Metadata,
            ),
            (
                "::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 ::ffff:a9fe:a9fe",
                Metadata,
            ),
            ("0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0", Unspecified),
            ("224.0.0.1 239.255.255.255 ff02::1 ff0e::1", Multicast),
            (
                "::127.0.0.1 ::8.8.8.8 ::2 2001::1 2001:0:808:808::f7f7:f7f7 64:ff9b:1::8.8.8.8",
                Tunnel,
            ),
            (
                "192.88.99.1 2a00::5efe:10.0.0.1 2a00::200:5efe:169.254.169.254",
                Tunnel,
            ),
            (
                "192.0.0.1 192.0.0.192 240.0.0.1 255.255.255.255 100::1 ::ffff:0:127.0.0.1",
                Reserved,
            ),
            (
                "2001:1::1 2001:10::1 2001:20::1 2001:1ff::1 4000::1 5f00::1 fe00::1 64:ff9b::1:7f00:1",
                Reserved,
            ),
        ];
        for (addresses, kind) in rows {
            for address in addresses.split(' ') {
                let ip: IpAddr = address.parse().unwrap();
                assert_eq!(AddressKind::of(ip), kind, "{address}");
                assert_eq!(is_public(ip), kind == Public, "{address}");
            }
        }
    }
}
