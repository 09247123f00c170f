//! What DNSSEC says of the answers behind a plan: each row of RFC 7672's ways to the TLSA records.

use std::time::Duration;

use crate::support::{NameServer, Say, a, aaaa, cname, mx, serve, soa};
use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::TLSA;
use hickory_server::proto::rr::{RData, RecordType};
use skein_dns::{Config, Resolver, Security, TlsaAnswer, Validation, ValidationProbe};

fn tlsa(octet: u8) -> RData {
    RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), vec![octet; 32]))
}

/// Each domain `d.test` has one MX host, `mx.d.test`, unless its name says otherwise.
fn zone(name: &str, kind: RecordType) -> Say {
    use RecordType as T;
    use Say::{Records, Signed};
    let failed = Say::Code(ResponseCode::ServFail);
    match (name, kind) {
        ("org", T::SOA) => Signed(vec![soa("org.")]),
        ("dnssec-failed.org" | "bogus.test", _) => return failed,
        // Signed throughout.
        ("good.test", T::MX) => Signed(vec![mx(10, "mx.good.test.")]),
        ("mx.good.test", T::A) => Signed(vec![a("8.8.8.1")]),
        ("_25._tcp.mx.good.test", T::TLSA) => Signed(vec![tlsa(1), tlsa(2)]),
        // Its MX records are not signed.
        ("unsigned.test", T::MX) => Records(vec![mx(10, "mx.good.test.")]),
        // The host's addresses are not, and its servers do not know the type, as those of Microsoft's tenants do not.
        ("tenant.test", T::MX) => Signed(vec![mx(10, "tenant.mail.test.")]),
        ("tenant.mail.test", T::A) => Records(vec![a("8.8.8.2")]),
        ("_25._tcp.tenant.mail.test", _) => Say::Code(ResponseCode::NotImp),
        ("plain.test", T::MX) => Signed(vec![mx(10, "mx.plain.test.")]),
        ("mx.plain.test", T::A) => Signed(vec![a("8.8.8.3")]),
        ("_25._tcp.mx.plain.test", _) => Signed(vec![]),
        ("loose.test", T::MX) => Signed(vec![mx(10, "mx.loose.test.")]),
        ("mx.loose.test", T::A) => Signed(vec![a("8.8.8.4")]),
        ("_25._tcp.mx.loose.test", T::TLSA) => Records(vec![tlsa(1)]),
        ("servfail.test", T::MX) => Signed(vec![mx(10, "mx.servfail.test.")]),
        ("mx.servfail.test", T::A) => Signed(vec![a("8.8.8.5")]),
        ("_25._tcp.mx.servfail.test", _) => return failed,
        // The denial of AAAA records is broken, the A records are good.
        ("half.test", T::MX) => Signed(vec![mx(10, "mx.half.test.")]),
        ("mx.half.test", T::A) => Signed(vec![a("8.8.8.6")]),
        ("mx.half.test", T::AAAA) => return failed,
        ("_25._tcp.mx.half.test", T::TLSA) => Signed(vec![tlsa(6)]),
        // One family is signed.
        ("mixed.test", T::MX) => Signed(vec![mx(10, "mx.mixed.test.")]),
        ("mx.mixed.test", T::A) => Records(vec![a("8.8.8.7")]),
        ("mx.mixed.test", T::AAAA) => Signed(vec![aaaa("2a00:1450::7")]),
        ("_25._tcp.mx.mixed.test", T::TLSA) => Signed(vec![tlsa(7)]),
        // The domain itself is the host, as a signed denial says.
        ("self.test", T::MX) => Signed(vec![]),
        ("self.test", T::A) => Signed(vec![a("8.8.8.8")]),
        ("_25._tcp.self.test", T::TLSA) => Signed(vec![tlsa(8)]),
        // An alias, signed throughout: the records at its end count, and those at its name where there are none.
        ("alias.test", T::MX) => Signed(vec![mx(10, "mx.alias.test.")]),
        ("mx.alias.test", _) => Signed(vec![cname("mx.good.test.")]),
        ("beside.test", T::MX) => Signed(vec![mx(10, "mx.beside.test.")]),
        ("mx.beside.test", _) => Signed(vec![cname("mx.plain.test.")]),
        ("_25._tcp.mx.beside.test", T::TLSA) => Signed(vec![tlsa(9)]),
        // A signed alias of a name that is not signed.
        ("out.test", T::MX) => Signed(vec![mx(10, "mx.out.test.")]),
        ("mx.out.test", _) => Signed(vec![cname("tenant.mail.test.")]),
        ("_25._tcp.mx.out.test", T::TLSA) => Signed(vec![tlsa(10)]),
        // An alias that is not signed either.
        ("away.test", T::MX) => Signed(vec![mx(10, "mx.away.test.")]),
        ("mx.away.test", _) => Records(vec![cname("tenant.mail.test.")]),
        ("_25._tcp.mx.away.test", T::TLSA) => Signed(vec![tlsa(11)]),
        ("lost.test", T::MX) => Signed(vec![mx(10, "bogus.test."), mx(20, "mx.good.test.")]),
        _ => Records(vec![]),
    }
}

async fn resolver(trust_ad: Option<Vec<std::net::IpAddr>>) -> (NameServer, Resolver) {
    let server = serve(zone).await;
    let config = Config {
        servers: vec![server.address],
        timeout: Duration::from_millis(500),
        attempts: 1,
        trust_ad,
        ..Config::default()
    };
    let resolver = Resolver::new(config).unwrap();
    (server, resolver)
}

#[derive(Debug)]
enum Expected {
    NotAsked,
    None,
    /// At this base, the first octets of the data.
    Records(&'static str, &'static [u8]),
    Failed,
}

#[tokio::test]
async fn tlsa_records_are_asked_for_where_all_before_them_is_validated() {
    use Expected::{Failed, None as Nothing, NotAsked, Records};
    let (server, resolver) = resolver(None).await;
    let (secure, insecure) = (Security::Secure, Security::Insecure);
    for (domain, of_mx, of_host, expected) in [
        (
            "good.test",
            secure,
            secure,
            Records("mx.good.test", &[1, 2]),
        ),
        ("unsigned.test", insecure, secure, NotAsked),
        ("tenant.test", secure, insecure, NotAsked),
        ("plain.test", secure, secure, Nothing),
        ("loose.test", secure, secure, Nothing),
        ("servfail.test", secure, secure, Failed),
        ("half.test", secure, secure, Records("mx.half.test", &[6])),
        ("mixed.test", secure, secure, Records("mx.mixed.test", &[7])),
        ("self.test", secure, secure, Records("self.test", &[8])),
        (
            "alias.test",
            secure,
            secure,
            Records("mx.good.test", &[1, 2]),
        ),
        (
            "beside.test",
            secure,
            secure,
            Records("mx.beside.test", &[9]),
        ),
        ("out.test", secure, insecure, Records("mx.out.test", &[10])),
        ("away.test", secure, insecure, NotAsked),
        // A host whose addresses are bogus is passed over.
        (
            "lost.test",
            secure,
            secure,
            Records("mx.good.test", &[1, 2]),
        ),
    ] {
        let plan = resolver.mx_plan(domain).await.unwrap();
        assert_eq!(plan.security, of_mx, "{domain}");
        assert_eq!(plan.hosts.len(), 1, "{domain}: {plan:?}");
        let host = &plan.hosts[0];
        assert_eq!(host.security, of_host, "{domain}");
        match (&host.tlsa, &expected) {
            (TlsaAnswer::NotAsked, NotAsked)
            | (TlsaAnswer::None, Nothing)
            | (TlsaAnswer::Failed(_), Failed) => {}
            (TlsaAnswer::Records { base, records }, Records(name, octets)) => {
                let first: Vec<u8> = records.iter().map(|record| record.data[0]).collect();
                assert_eq!((base.as_str(), &first[..]), (*name, *octets), "{domain}");
            }
            (found, expected) => panic!("{domain}: {found:?} and not {expected:?}"),
        }
    }
    let asked = server.asked.lock().unwrap();
    let in_vain = ("_25._tcp.tenant.mail.test".to_owned(), RecordType::TLSA);
    assert!(!asked.contains_key(&in_vain));
}

#[tokio::test]
async fn an_error_in_place_of_mx_records_is_temporary() {
    let (_server, resolver) = resolver(None).await;
    let error = resolver.mx_plan("bogus.test").await.unwrap_err();
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn the_word_of_a_server_that_is_not_trusted_counts_for_nothing() {
    let (server, resolver) = resolver(Some(Vec::new())).await;
    let plan = resolver.mx_plan("good.test").await.unwrap();
    assert_eq!(plan.security, Security::Insecure);
    assert_eq!(plan.hosts[0].tlsa, TlsaAnswer::NotAsked);
    assert_eq!(resolver.validation().await, Validation::Untrusted);
    assert_eq!(resolver.validation_fault().await, None);
    drop(server);
}

/// A server that looks as if it validated: it says so, and answers what is broken.
fn liar(name: &str, kind: RecordType) -> Say {
    match name {
        "dnssec-failed.org" => Say::Signed(vec![soa("dnssec-failed.org.")]),
        _ => zone(name, kind),
    }
}

/// A server that validates nothing.
fn forwarder(name: &str, kind: RecordType) -> Say {
    match zone(name, kind) {
        Say::Signed(records) => Say::Records(records),
        Say::Code(_) => Say::Records(vec![soa("dnssec-failed.org.")]),
        other => other,
    }
}

#[tokio::test]
async fn a_server_that_does_not_validate_is_told_of() {
    let rows: [(crate::support::Zone, Validation, bool); 2] = [
        (liar, Validation::Lies, false),
        (zone, Validation::Validates, true),
    ];
    for (zone, expected, is_secure) in rows {
        let server = serve(zone).await;
        let resolver = Resolver::new(Config {
            servers: vec![server.address],
            timeout: Duration::from_millis(500),
            attempts: 1,
            ..Config::default()
        })
        .unwrap();
        let found = resolver.validation().await;
        assert_eq!(found, expected);
        let fault = found.fault(&ValidationProbe::default());
        assert_eq!(fault.is_none(), expected == Validation::Validates);
        let plan = resolver.mx_plan("good.test").await.unwrap();
        assert_eq!(plan.security.is_secure(), is_secure, "{expected:?}");
    }
    let server = serve(forwarder).await;
    let resolver = Resolver::new(Config {
        servers: vec![server.address],
        ..Config::default()
    })
    .unwrap();
    let fault = resolver.validation_fault().await.unwrap();
    assert!(
        fault.starts_with("DANE off: the resolver does not validate"),
        "{fault}"
    );
}
