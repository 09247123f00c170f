#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;

type Code = (u8, u16, u16);
/// Answers by preference; the number of hosts and whether some failed, or the code.
type HostsRow = (Vec<(u16, AddressAnswer)>, Result<(usize, bool), Code>);

fn config() -> Config {
    Config {
        own_hostname: "mx.us.test".into(),
        own_addresses: OwnAddresses {
            listeners: vec!["198.51.100.25:25".parse().unwrap()],
            ..OwnAddresses::default()
        },
        ..Config::default()
    }
}

fn records(list: &[(u16, &str)]) -> MxAnswer {
    MxAnswer::Records(list.iter().map(|(p, e)| (*p, (*e).to_owned())).collect())
}

#[test]
fn mx_answers_become_targets_or_reasons() {
    let rows: Vec<(&str, MxAnswer, Result<&str, Code>)> = vec![
        ("d.test", MxAnswer::NoDomain, Err((5, 1, 2))),
        ("d.test", MxAnswer::NoRecords, Ok("0 d.test")),
        ("mx.us.test", MxAnswer::NoRecords, Err((5, 4, 6))),
        ("d.test", records(&[(0, "")]), Err((5, 1, 10))),
        (
            "d.test",
            records(&[(0, ""), (10, "mx.d.test")]),
            Ok("10 mx.d.test"),
        ),
        (
            "d.test",
            records(&[(20, "b"), (10, "c"), (10, "a")]),
            Ok("10 a,10 c,20 b"),
        ),
        ("d.test", records(&[(20, "a"), (10, "a")]), Ok("10 a")),
        (
            "d.test",
            records(&[(10, "a"), (20, "mx.us.test"), (20, "b"), (30, "c")]),
            Ok("10 a"),
        ),
        (
            "d.test",
            records(&[(10, "MX.us.test"), (20, "b")]),
            Err((5, 4, 6)),
        ),
    ];
    for (domain, answer, expected) in rows {
        let got = targets(domain, answer.clone(), &config());
        let got = got.map(|(_, hosts)| {
            hosts
                .iter()
                .map(|(p, e)| format!("{p} {e}"))
                .collect::<Vec<_>>()
                .join(",")
        });
        assert_eq!(
            got.as_deref().map_err(ResolveError::enhanced),
            expected,
            "{domain} {answer:?}"
        );
    }
}

#[test]
fn a_huge_mx_set_is_cut() {
    let many: Vec<(u16, String)> = (0..500).map(|n| (n, format!("h{n}.test"))).collect();
    let (_, hosts) = targets("d.test", MxAnswer::Records(many), &config()).unwrap();
    assert_eq!(hosts.len(), HOSTS_MAX);
    assert_eq!(hosts[0].1, "h0.test");
}

fn unsigned(addresses: AddressAnswer) -> HostAnswer {
    HostAnswer {
        addresses,
        ..HostAnswer::nowhere()
    }
}

fn found(list: &[&str]) -> AddressAnswer {
    AddressAnswer::Addresses(list.iter().map(|a| a.parse().unwrap()).collect())
}

#[test]
fn address_answers_become_hosts_or_reasons() {
    let failed = || AddressAnswer::Failed("timeout".into());
    let rows: Vec<HostsRow> = vec![
        (vec![(10, found(&["8.8.8.8"]))], Ok((1, false))),
        (vec![(10, found(&["8.8.8.8", "10.0.0.1"]))], Ok((1, false))),
        (vec![(10, found(&["10.0.0.1"]))], Err((5, 4, 4))),
        (
            vec![(10, found(&["10.0.0.1"])), (20, found(&["8.8.8.8"]))],
            Ok((1, false)),
        ),
        (vec![(10, AddressAnswer::None)], Err((5, 4, 4))),
        (vec![(10, failed())], Err((4, 4, 3))),
        (
            vec![(10, failed()), (20, AddressAnswer::None)],
            Err((4, 4, 3)),
        ),
        (
            vec![(10, failed()), (20, found(&["8.8.8.8"]))],
            Ok((1, true)),
        ),
        (vec![(10, found(&["198.51.100.25"]))], Err((5, 4, 6))),
        (
            vec![(10, found(&["198.51.100.25"])), (20, found(&["8.8.8.8"]))],
            Err((5, 4, 6)),
        ),
        (
            vec![(10, found(&["8.8.8.8"])), (20, found(&["198.51.100.25"]))],
            Ok((1, false)),
        ),
    ];
    for (answers, expected) in rows {
        let named: Vec<_> = answers
            .iter()
            .cloned()
            .map(|(p, a)| (p, format!("h{p}.test"), unsigned(a)))
            .collect();
        let got = hosts("d.test", named, &config(), &config().own_addresses);
        let got = got
            .map(|(hosts, short)| (hosts.len(), short))
            .map_err(|e| e.enhanced());
        assert_eq!(got, expected, "{answers:?}");
    }
}

#[test]
fn private_addresses_pass_when_allowed_and_are_bounded() {
    let config = Config {
        allow_private: true,
        ..Config::default()
    };
    let many: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    let answer = (
        10,
        "h.test".to_owned(),
        unsigned(AddressAnswer::Addresses(many)),
    );
    let (hosts, _) = hosts("d.test", vec![answer], &config, &OwnAddresses::default()).unwrap();
    assert_eq!(hosts[0].addrs.len(), HOST_ADDRESSES_MAX);
}

#[test]
fn literals_obey_the_same_address_rules() {
    let rows: [(&str, Result<&str, Code>); 3] = [
        ("8.8.8.8", Ok("8.8.8.8")),
        ("127.0.0.1", Err((5, 4, 4))),
        ("198.51.100.25", Err((5, 4, 6))),
    ];
    for (ip, expected) in rows {
        let domain = format!("[{ip}]");
        let got = literal(
            &domain,
            ip.parse().unwrap(),
            &config(),
            &config().own_addresses,
            Instant::now(),
        );
        let got = got
            .as_ref()
            .map(|plan| plan.site.as_str())
            .map_err(|e| e.enhanced());
        assert_eq!(got, expected, "{ip}");
    }
}
