#![expect(clippy::unwrap_used, reason = "tests")]
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn guard(networks: &[&str]) -> Guard {
    Guard {
        networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
        ports: vec![],
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn only_public_addresses_are_connected_to() {
    for address in ["8.8.8.8", "2a00:1450:4001:800::1a", "64:ff9b::808:808"] {
        assert_eq!(guard(&[]).check_address(ip(address), true), Ok(()));
        let plain = guard(&[]).check_address(ip(address), false);
        assert_eq!(plain, Err(Refused::Plain(ip(address))));
    }
    for address in [
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:10.0.0.1",
        "::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "2001:0:1::",
        "255.255.255.255",
    ] {
        assert!(
            guard(&[]).check_address(ip(address), true).is_err(),
            "{address}"
        );
    }
}

#[test]
fn networks_that_are_listed_are_open_but_for_what_is_never() {
    let open = guard(&[
        "10.0.0.0/8",
        "127.0.0.1/32",
        "fd00::/8",
        "169.254.0.0/16",
        "::/0",
        "0.0.0.0/0",
    ]);
    for address in [
        "10.1.2.3",
        "127.0.0.1",
        "fd12::1",
        "::ffff:10.1.2.3",
        "64:ff9b::a01:203",
        "169.254.1.1",
    ] {
        for is_https in [true, false] {
            assert_eq!(
                open.check_address(ip(address), is_https),
                Ok(()),
                "{address}"
            );
        }
    }
    for address in [
        "169.254.169.254",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "::7f00:1",
        "2001:0:1::",
        "255.255.255.255",
        "::ffff:169.254.169.254",
        "168.63.129.16",
    ] {
        let found = open.check_address(ip(address), true);
        assert!(matches!(found, Err(Refused::Never { .. })), "{address}");
    }
    let one = guard(&["10.1.0.0/16"]);
    assert!(one.check_address(ip("10.2.0.1"), true).is_err());
    // A network of carriers opens nothing that they carry.
    assert!(
        guard(&["64:ff9b::/96"])
            .check_address(ip("64:ff9b::a00:1"), true)
            .is_err()
    );
}

#[test]
fn a_host_has_those_of_its_addresses_that_are_permitted() {
    let found = guard(&[]).permitted(&[ip("10.0.0.1"), ip("8.8.8.8"), ip("::1")], true);
    assert_eq!(found, Ok(vec![ip("8.8.8.8")]));
    let refused = guard(&[]).permitted(&[ip("10.0.0.1"), ip("::1")], true);
    let told = refused.unwrap_err().unwrap().to_string();
    assert!(told.starts_with("10.0.0.1 is a private address"), "{told}");
    assert_eq!(guard(&[]).permitted(&[], true), Err(None));
}

#[test]
fn urls_are_checked_when_they_are_set() {
    let internal = guard(&["10.0.0.0/8"]);
    let check = |guard: &Guard, text: &str, allow_http, told: &str| {
        let found = guard.check_url(&Url::parse(text).unwrap(), allow_http);
        let found = found.map_err(|refused| refused.to_string());
        match told {
            "" => assert_eq!(found, Ok(()), "{text}"),
            told => assert!(
                found.clone().is_err_and(|found| found.contains(told)),
                "{text}: {found:?}"
            ),
        }
    };
    let public = guard(&[]);
    check(&public, "https://hooks.example.com/in", false, "");
    check(&public, "https://hooks.example.com:8443/in", false, "");
    check(&public, "https://8.8.8.8/in", false, "");
    check(
        &public,
        "http://hooks.example.com/in",
        false,
        "must begin with https://",
    );
    check(
        &public,
        "http://hooks.example.com/in",
        true,
        "must begin with https://",
    );
    check(&public, "https://hooks.example.com:25/", false, "port 25");
    check(&public, "https://hooks.example.com:80/", false, "port 80");
    check(&public, "https://10.0.0.1/", false, "private");
    check(&public, "https://[::ffff:127.0.0.1]/", false, "loopback");
    check(&public, "https://[fd00:ec2::254]/", false, "never");
    for name in [
        "localhost",
        "a.localhost",
        "hooks",
        "x.svc.cluster.local",
        "metadata.google.internal",
        "a.home.arpa",
    ] {
        check(
            &public,
            &format!("https://{name}/"),
            false,
            "internal network",
        );
        check(&internal, &format!("https://{name}/"), false, "");
    }
    check(&public, "https://notlocal.example/", false, "");
    check(&internal, "http://hooks:80/in", true, "");
    check(
        &internal,
        "http://hooks/in",
        false,
        "must begin with https://",
    );
    check(&internal, "http://10.0.0.1/in", true, "");
    check(&internal, "http://8.8.8.8/in", true, "plain http://");
    let mut ports = guard(&[]);
    ports.ports.push(9000);
    check(&ports, "https://hooks.example.com:9000/", false, "");
}

fn forbidden_v4() -> impl Strategy<Value = Ipv4Addr> {
    let any_within = |net: &str| {
        let net: ipnet::Ipv4Net = net.parse().unwrap();
        let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
        (first..=last).prop_map(Ipv4Addr::from_bits).boxed()
    };
    let nets = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "169.254.169.254/32",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ];
    proptest::strategy::Union::new(nets.map(any_within))
}

/// One part of an address, in a base and with zeros in front.
fn part(value: u32, base: u8, zeros: usize) -> String {
    let zeros = "0".repeat(zeros);
    match base % 4 {
        0 => value.to_string(),
        1 => format!("0{zeros}{value:o}"),
        2 => format!("0x{zeros}{value:x}"),
        _ => format!("0X{zeros}{value:X}"),
    }
}

/// Spellings that clients are known to take for an IPv4 address.
fn spelling(ip: Ipv4Addr, parts: usize, bases: [u8; 4], zeros: usize, disguise: u8) -> String {
    let bits = ip.to_bits();
    let room = 8 * (4 - (parts - 1)) as u32;
    let heads = (0..parts - 1).map(|nth| bits >> (24 - 8 * nth) & 0xff);
    let last = (u64::from(bits) & ((1u64 << room) - 1)) as u32;
    let all = heads.chain([last]).zip(bases);
    let all: Vec<String> = all.map(|(value, base)| part(value, base, zeros)).collect();
    let plain = all.join(".");
    match disguise {
        0 => format!("{plain}."),
        1 => plain.replace('.', "%2e"),
        2 => plain.replace('1', "%31"),
        3 => plain.replace('.', "\u{3002}"),
        4 => plain.replace('1', "\u{ff11}"),
        5 => format!("hooks.example.com@{plain}"),
        6 => format!("hooks.example.com\\@{plain}"),
        7 => format!("[{plain}]"),
        8 => format!("\u{200b}{plain}"),
        9 => plain.replace('1', "\u{2460}"),
        10 => format!("{plain}\t"),
        11 => format!("{plain}:443"),
        _ => plain,
    }
}

/// IPv6 addresses that end at an IPv4 address.
fn carriers(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let v6 = |segments: [u16; 8]| Ipv6Addr::from(segments).to_string();
    let mapped = ip.to_ipv6_mapped();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = mapped.segments();
    vec![
        format!("::ffff:{ip}"),
        format!("::FFFF:{high:X}:{low:X}"),
        format!("{s0:04x}:{s1:04x}:{s2:04x}:{s3:04x}:{s4:04x}:{s5:04x}:{s6:04x}:{s7:04x}"),
        format!("0:0:0:0:0:ffff:{ip}"),
        format!("::{ip}"),
        format!("::ffff:0:{ip}"),
        format!("64:ff9b::{ip}"),
        v6([0x64, 0xff9b, 1, 0, 0, 0, high, low]),
        v6([0x2002, high, low, 0, 0, 0, 0, 1]),
        v6([0x2001, 0, high, low, 0, 0, 0, 0]),
        v6([0x2001, 0, 0x808, 0x808, 0, 0, !high, !low]),
        v6([0x2a00, 1, 2, 3, 0, 0x5efe, high, low]),
    ]
}

fn is_taken(host: &str) -> bool {
    let url = Url::parse(&format!("https://{host}/"));
    url.is_ok_and(|url| Guard::default().check_url(&url, false).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_spelling_of_a_forbidden_address_gets_through(
        ip in forbidden_v4(), parts in 1..=4usize, bases: [u8; 4], zeros in 0..4usize, disguise in 0..16u8,
    ) {
        let host = spelling(ip, parts, bases, zeros, disguise);
        prop_assert!(!is_taken(&host), "{}", host);
        for carrier in carriers(ip) {
            prop_assert!(!is_taken(&format!("[{carrier}]")), "{}", carrier);
            prop_assert!(Guard::default().check_address(carrier.parse().unwrap(), true).is_err(), "{}", carrier);
        }
    }

    /// Of IPv6, only global unicast is left.
    #[test]
    fn ipv6_is_global_unicast_or_carries_what_is_public(bits: u128) {
        let v6 = Ipv6Addr::from_bits(bits);
        if Guard::default().check_address(v6.into(), true).is_ok() {
            let is_global = v6.segments()[0] & 0xe000 == 0x2000;
            prop_assert!(is_global || reached(v6.into()).is_ipv4());
        }
    }

    /// What a client that reads URLs as browsers do would connect to is never forbidden where the URL was taken.
    #[test]
    fn what_is_taken_is_permitted_as_others_read_it(text in "https://[0-9a-fA-FxX.:%\\[\\]@\\\\]{1,24}/") {
        let taken = Url::parse(&text).is_ok_and(|url| Guard::default().check_url(&url, false).is_ok());
        if let (true, Ok(other)) = (taken, ::url::Url::parse(&text)) {
            let address = match other.host().unwrap() {
                ::url::Host::Ipv4(v4) => Some(IpAddr::from(v4)),
                ::url::Host::Ipv6(v6) => Some(IpAddr::from(v6)),
                ::url::Host::Domain(_) => None,
            };
            let check = |address| Guard::default().check_address(address, true);
            prop_assert_eq!(address.map_or(Ok(()), check), Ok(()));
        }
    }
}
