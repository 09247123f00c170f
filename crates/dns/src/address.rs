use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether mail for a stranger's domain may go to this address: globally routed unicast only
/// (the special-purpose registries of RFC 6890, without the documentation networks, which route nowhere
/// and therefore do no harm but are listed as private here too).
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmarking = a == 198 && (18..20).contains(&b);
    let protocol_assignments = a == 192 && b == 0 && c == 0;
    !(a == 0
        || a >= 224
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || shared
        || benchmarking
        || protocol_assignments)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    // An address that carries an IPv4 address reaches whatever that address reaches.
    let embedded = |high: u16, low: u16| {
        let [w, x] = high.to_be_bytes();
        let [y, z] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        return embedded(g, h);
    }
    if a == 0x2002 {
        return embedded(b, c);
    }
    let global_unicast = a & 0xe000 == 0x2000;
    let documentation = (a == 0x2001 && b == 0xdb8) || (a == 0x3fff && b < 0x1000);
    let benchmarking_or_teredo = a == 0x2001 && b < 0x200;
    global_unicast && !documentation && !benchmarking_or_teredo
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_globally_routed_unicast_is_public() {
        let rows = [
            ("8.8.8.8", true),
            ("100.63.0.1", true),
            ("100.64.0.1", false),
            ("198.17.0.1", true),
            ("198.18.0.1", false),
            ("198.20.0.1", true),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("192.0.2.1", false),
            ("127.0.0.2", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::808:808", true),
            ("2002:a00:1::1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2a00:1450:4001:800::1a", true),
            ("2607:f8b0::1", true),
        ];
        for (text, public) in rows {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }
}
