#![expect(clippy::unwrap_used, reason = "tests")]
use std::net::SocketAddr;

use skein_client::PlacedIp;
use skein_policy::Source as Text;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// IPs of a pool: one as it is, one behind NAT, one behind a proxy.
const POLICY: &str = r#"
kind: ip
name: plain
bind: 192.0.2.1
ehlo: a.test
---
kind: ip
name: nat
bind: 10.0.0.2
public: 192.0.2.2
ehlo: b.test
---
kind: ip
name: far
bind: 10.0.0.3
public: 192.0.2.3
ehlo: c.test
proxy: {haproxy: "p.test:1080"}
---
kind: pool
name: default
members: [{ip: plain}, {ip: nat}, {ip: far}]
"#;

fn policy() -> Policy {
    let source = Text {
        name: "test",
        text: POLICY,
    };
    Policy::parse(&[source]).unwrap()
}

fn placed(egress: &[&str]) -> PlacedIps {
    let ips = egress.iter().enumerate().map(|(n, egress)| {
        let ip = PlacedIp {
            name: n.to_string(),
            egress: (*egress).to_owned(),
            ..PlacedIp::default()
        };
        (n.to_string(), ip)
    });
    PlacedIps {
        version: 1,
        ips: ips.collect(),
    }
}

#[test]
fn addresses_of_pools_and_nodes_are_ours_at_the_ports_where_we_listen() {
    let given = OwnAddresses {
        listeners: vec![
            SocketAddr::from(([192, 0, 2, 9], 25)),
            SocketAddr::from(([0, 0, 0, 0], 587)),
        ],
        ..OwnAddresses::default()
    };
    let interfaces = BTreeSet::from([ip("192.0.2.9"), ip("10.9.9.9")]);
    let placed = placed(&["10.0.0.7:7003", "[2001:db8::7]:7003", "node.test:7003", ""]);
    let known = own(&given, interfaces, &policy(), &placed);
    for (address, port, expected) in [
        ("192.0.2.9", 25, true),
        ("10.9.9.9", 25, false),
        ("10.9.9.9", 587, true),
        ("192.0.2.1", 25, true),
        ("10.0.0.2", 25, true),
        ("192.0.2.2", 25, true),
        ("192.0.2.2", 26, false),
        ("192.0.2.3", 25, true),
        ("10.0.0.3", 25, false),
        ("10.0.0.7", 25, true),
        ("2001:db8::7", 25, true),
        ("10.0.0.7", 7003, false),
        ("192.0.2.4", 25, false),
    ] {
        assert_eq!(
            known.is_ours(ip(address), port),
            expected,
            "{address}:{port}"
        );
    }
    let without = own(
        &given,
        BTreeSet::new(),
        &Policy::built_in(),
        &PlacedIps::default(),
    );
    assert!(
        !without.is_ours(ip("192.0.2.1"), 25),
        "it follows the policy"
    );
}

#[test]
fn the_machine_has_its_loopback_address() {
    assert!(interfaces().contains(&ip("127.0.0.1")));
}
