#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Answer<Vec<IpAddr>> {
    Answer::Is(texts.iter().map(|text| ip(text)).collect())
}

fn good() -> Looked {
    Looked {
        is_present: Some(true),
        ptr: Answer::Is("mx.here.test".into()),
        forward: ips(&["192.0.2.1", "198.51.100.1"]),
        ehlo: ips(&["198.51.100.1"]),
        lists: vec![("bl.test".into(), Answer::None)],
    }
}

#[test]
fn each_fault_is_found_and_said() {
    use Check::{Address, Dnsbl, Ehlo, Forward, Ptr};
    type Row = (fn(&mut Looked), &'static [(Check, &'static str)]);
    let rows: [Row; 11] = [
        (|_| {}, &[]),
        (|l| l.is_present = None, &[]),
        (
            |l| l.is_present = Some(false),
            &[(Address, "10.0.0.1 is not an address of the node")],
        ),
        (|l| l.ptr = Answer::None, &[(Ptr, "add a PTR record")]),
        (
            |l| l.ptr = Answer::Unknown("timed out".into()),
            &[(Ptr, "not known: timed out")],
        ),
        (
            |l| l.forward = ips(&["192.0.2.9"]),
            &[(
                Forward,
                "mx.here.test has other addresses than 198.51.100.1",
            )],
        ),
        (
            |l| {
                l.forward = Answer::None;
                l.ehlo = Answer::None;
            },
            &[
                (Forward, "has no address"),
                (Ehlo, "helo.here.test has no address"),
            ],
        ),
        (
            |l| l.lists[0].1 = ips(&["127.0.0.2", "127.0.0.10"]),
            &[(Dnsbl, "bl.test lists 198.51.100.1 (127.0.0.2, 127.0.0.10)")],
        ),
        (
            |l| l.lists[0].1 = ips(&["127.255.255.254"]),
            &[(Dnsbl, "bl.test does not answer us")],
        ),
        (
            |l| l.lists[0].1 = ips(&["192.0.2.80"]),
            &[(Dnsbl, "is not a DNSBL")],
        ),
        (
            |l| l.lists[0].1 = Answer::Unknown("SERVFAIL".into()),
            &[(Dnsbl, "does not say whether it lists")],
        ),
    ];
    for (number, (change, expected)) in rows.into_iter().enumerate() {
        let mut looked = good();
        change(&mut looked);
        let subject = Subject {
            bind: ip("10.0.0.1"),
            public: ip("198.51.100.1"),
            ehlo: "helo.here.test",
        };
        let faults = judge(subject, &looked);
        assert_eq!(faults.len(), expected.len(), "row {number}: {faults:?}");
        for (fault, (check, part)) in faults.iter().zip(expected) {
            assert!(
                fault.check == *check && fault.text.contains(part),
                "row {number}: {fault:?}"
            );
        }
    }
}

#[test]
fn a_listed_address_has_its_name_reversed() {
    // RFC 5782 2.1 and 2.4.
    assert_eq!(
        dnsbl_name(ip("192.0.2.99"), "bad.example.com"),
        "99.2.0.192.bad.example.com."
    );
    assert_eq!(
        dnsbl_name(ip("2001:db8:1:2:3:4:567:89ab"), "ugly.example.com."),
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com."
    );
}

#[test]
fn what_is_kept_is_bounded() {
    let mut looked = good();
    looked.lists = (0..40)
        .map(|n| (format!("{n}.{}", "ä".repeat(300)), ips(&["127.0.0.2"])))
        .collect();
    let subject = Subject {
        bind: ip("10.0.0.1"),
        public: ip("198.51.100.1"),
        ehlo: "helo.here.test",
    };
    let faults = judge(subject, &looked);
    assert_eq!(faults.len(), FAULTS_MAX);
    assert!(
        faults
            .iter()
            .all(|fault| fault.text.len() <= TEXT_BYTES_MAX)
    );
}
