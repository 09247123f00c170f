//! The resolver against a name server on loopback.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;
#[path = "resolver/validated.rs"]
mod validated;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::RecordType;
use skein_dns::{Config, PlanKind, ResolveError, Resolver};
use support::{NameServer, Say, a, aaaa, cname, mx, ptr, serve};

/// An enhanced status code.
type Code = (u8, u16, u16);
/// A domain and the hosts or the code expected for it.
type PlanRow<'a> = (&'a str, Result<&'a [&'a str], Code>);
type HostRow<'a> = (&'a str, Result<&'a str, Code>);

fn zone(name: &str, kind: RecordType) -> Say {
    use RecordType as T;
    Say::Records(match (name, kind) {
        ("plain.test", T::MX) => vec![mx(20, "mx2.plain.test."), mx(10, "MX1.plain.test.")],
        ("mx1.plain.test", T::A) => vec![a("8.8.8.1")],
        ("mx1.plain.test", T::AAAA) => vec![aaaa("2a00:1450::1")],
        ("mx2.plain.test", T::A) => vec![a("8.8.8.2"), a("10.0.0.2")],
        ("implicit.test", T::A) => vec![a("8.8.8.3")],
        ("null.test", T::MX) => vec![mx(0, ".")],
        ("private.test", T::MX) => vec![mx(0, "in.private.test.")],
        ("in.private.test", T::A) => vec![a("192.168.0.1")],
        ("loop.test", T::MX) => vec![mx(10, "mx.us.test."), mx(20, "mx1.plain.test.")],
        ("empty.test", T::MX) => vec![mx(10, "nowhere.empty.test.")],
        ("alias.test", _) => vec![cname("plain.test.")],
        ("via-alias.test", T::MX) => vec![mx(10, "alias-host.test.")],
        ("alias-host.test", _) => vec![cname("mx1.plain.test.")],
        ("half.test", T::MX) => vec![mx(10, "broken.test."), mx(20, "mx2.plain.test.")],
        ("xn--bcher-kva.test", T::MX) => vec![mx(10, "mx1.plain.test.")],
        ("4.3.2.1.in-addr.arpa", T::PTR) => vec![ptr("host.plain.test.")],
        ("gone.test", _) => return Say::Code(ResponseCode::NXDomain),
        ("broken.test", _) => return Say::Code(ResponseCode::ServFail),
        ("refused.test", _) => return Say::Code(ResponseCode::Refused),
        ("silent.test", _) => return Say::Silence,
        _ => vec![],
    })
}

async fn resolver() -> (NameServer, Resolver) {
    let server = serve(zone).await;
    let config = Config {
        servers: vec![server.address],
        timeout: Duration::from_millis(300),
        attempts: 1,
        own_hostname: "mx.us.test".into(),
        ..Config::default()
    };
    let resolver = Resolver::new(config).unwrap();
    (server, resolver)
}

/// Hosts as `preference name address,address`.
async fn check(resolver: &Resolver, domain: &str, expected: Result<&[&str], Code>) {
    let got = resolver.mx_plan(domain).await;
    let lines: Result<Vec<String>, _> = got.as_ref().map(|plan| {
        let line = |host: &skein_dns::Host| {
            let addrs: Vec<String> = host.addrs.iter().map(IpAddr::to_string).collect();
            format!("{} {} {}", host.preference, host.name, addrs.join(","))
        };
        plan.hosts.iter().map(line).collect()
    });
    let expected = expected.map(|lines| lines.iter().map(|l| (*l).to_owned()).collect());
    assert_eq!(
        lines.map_err(ResolveError::enhanced),
        expected,
        "{domain}: {got:?}"
    );
}

#[tokio::test]
async fn domains_resolve_to_plans_or_reasons() {
    let (_server, resolver) = resolver().await;
    let plain: &[&str] = &[
        "10 mx1.plain.test 8.8.8.1,2a00:1450::1",
        "20 mx2.plain.test 8.8.8.2",
    ];
    let rows: Vec<PlanRow<'_>> = vec![
        ("plain.test", Ok(plain)),
        ("PLAIN.test.", Ok(plain)),
        ("alias.test", Ok(plain)),
        ("implicit.test", Ok(&["0 implicit.test 8.8.8.3"])),
        (
            "via-alias.test",
            Ok(&["10 alias-host.test 8.8.8.1,2a00:1450::1"]),
        ),
        ("half.test", Ok(&["20 mx2.plain.test 8.8.8.2"])),
        (
            "bücher.test",
            Ok(&["10 mx1.plain.test 8.8.8.1,2a00:1450::1"]),
        ),
        ("[8.8.4.4]", Ok(&["0 8.8.4.4 8.8.4.4"])),
        ("[127.0.0.1]", Err((5, 4, 4))),
        ("null.test", Err((5, 1, 10))),
        ("gone.test", Err((5, 1, 2))),
        ("not a domain", Err((5, 1, 2))),
        ("private.test", Err((5, 4, 4))),
        ("empty.test", Err((5, 4, 4))),
        ("nothing.test", Err((5, 4, 4))),
        ("loop.test", Err((5, 4, 6))),
        ("broken.test", Err((4, 4, 3))),
        ("refused.test", Err((4, 4, 3))),
        ("silent.test", Err((4, 4, 3))),
    ];
    for (domain, expected) in rows {
        check(&resolver, domain, expected).await;
    }
    assert_eq!(
        resolver.mx_plan("implicit.test").await.unwrap().kind,
        PlanKind::Implicit
    );
    assert_eq!(
        resolver.mx_plan("plain.test").await.unwrap().site,
        "(mx1|mx2).plain.test"
    );
}

#[tokio::test]
async fn concurrent_and_later_calls_share_one_resolution() {
    let (server, resolver) = resolver().await;
    let calls = (0..50).map(|_| resolver.mx_plan("plain.test"));
    let plans = futures::future::join_all(calls).await;
    let first = plans[0].clone().unwrap();
    assert!(
        plans
            .iter()
            .all(|plan| Arc::ptr_eq(plan.as_ref().unwrap(), &first))
    );
    let asked = |name: &str| server.asked.lock().unwrap()[&(name.to_owned(), RecordType::MX)];
    assert_eq!(asked("plain.test"), 1);
    resolver.mx_plan("gone.test").await.unwrap_err();
    resolver.mx_plan("gone.test").await.unwrap_err();
    assert_eq!(asked("gone.test"), 1, "negative answers are kept too");
    resolver.forget("Plain.test").await;
    resolver.mx_plan("plain.test").await.unwrap();
    assert_eq!(asked("plain.test"), 2);
}

#[tokio::test]
async fn hosts_that_an_operator_names_may_be_private() {
    let (_server, resolver) = resolver().await;
    let rows: [HostRow<'_>; 6] = [
        ("in.private.test", Ok("192.168.0.1")),
        ("10.1.1.1", Ok("10.1.1.1")),
        ("[::1]", Ok("::1")),
        ("nothing.test", Err((5, 4, 4))),
        ("broken.test", Err((4, 4, 3))),
        ("no good", Err((5, 1, 2))),
    ];
    for (host, expected) in rows {
        let got = resolver
            .addresses(host)
            .await
            .map(|addrs| addrs[0].to_string());
        assert_eq!(
            got.as_deref().map_err(ResolveError::enhanced),
            expected,
            "{host}"
        );
    }
}

#[tokio::test]
async fn pointers_are_names_or_nothing() {
    let (_server, resolver) = resolver().await;
    assert_eq!(
        resolver.ptr("1.2.3.4".parse().unwrap()).await.as_deref(),
        Some("host.plain.test")
    );
    assert_eq!(resolver.ptr("1.2.3.5".parse().unwrap()).await, None);
}
