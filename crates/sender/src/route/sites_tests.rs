#![expect(clippy::unwrap_used, reason = "tests")]
use std::net::{Ipv4Addr, SocketAddr};

use skein_policy::Source;
use skein_testkit::dns::{FakeDns, Fault};

use super::*;
use crate::config::Config;
use crate::config::current::CurrentConfig;
use crate::config::rule::{DomainPattern, HopPolicy, RouteRule, Rules};
use crate::task::test_tasks::task;

const PROVIDER: &str = "\
kind: provider
name: big
mx: [.big.test]
domains: [own.test]
";

fn policy() -> Arc<Policy> {
    let source = Source {
        name: "test",
        text: PROVIDER,
    };
    Arc::new(Policy::parse(&[source]).unwrap())
}

#[tokio::test]
async fn a_site_is_the_route_then_the_provider_then_the_hosts() {
    let dns = FakeDns::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let resolver = skein_dns::Config {
        servers: vec![dns.address()],
        allow_private: true,
        ..skein_dns::Config::default()
    };
    let resolver = Arc::new(Resolver::new(resolver).unwrap());
    let host = Ipv4Addr::new(127, 0, 0, 2).into();
    for (domain, mx) in [
        ("one.test", "a.big.test"),
        ("two.test", "b.big.test"),
        ("mixed.test", "a.big.test"),
        ("mixed.test", "b.other.test"),
        ("small.test", "mx.small.test"),
    ] {
        dns.mx(domain, 10, mx);
        dns.host(mx, host);
    }
    dns.host("plain.test", host);
    dns.fault("down.test", Some(Fault::ServFail));
    let routed = RouteRule {
        domains: vec![DomainPattern::parse("routed.test").unwrap()],
        hosts: vec![RouteHost::parse("relay.test:26", 25).unwrap()],
        policy: HopPolicy::default(),
    };
    let rules = Rules::new(HopPolicy::default(), vec![routed]).unwrap();
    let (_told, policy) = watch::channel(policy());
    let config = |routes| Config {
        routes,
        ..Config::default()
    };
    let current = CurrentConfig::new(config(rules));
    let sites = Sites::new(current.clone(), resolver, policy);
    for (domain, site) in [
        ("routed.test", Some("relay.test:26")),
        ("own.test", Some("big")),
        ("one.test", Some("big")),
        ("two.test", Some("big")),
        ("mixed.test", Some("(a.big|b.other).test")),
        ("small.test", Some("mx.small.test")),
        ("plain.test", Some("plain.test")),
        ("down.test", None),
    ] {
        assert_eq!(sites.site_of(domain).await.as_deref(), site, "{domain}");
    }
    assert_eq!(dns.asked("routed.test") + dns.asked("own.test"), 0);
    current.set(config(Rules::default()));
    let found = sites.site_of("routed.test").await;
    assert_eq!(found, None, "the route has gone, and there is no MX");
}

#[test]
fn a_task_is_filed_anew_when_its_site_is_known_better() {
    let policy = policy();
    for (filed, found, is_elsewhere_now) in [
        (None, "there.test", false),
        (None, "mx.there.test", true),
        (None, "big", true),
        (Some("big"), "big", false),
        (Some("big"), "mx.there.test", true),
        (Some("big"), "there.test", true),
        (Some("mx.there.test"), "big", true),
        (Some("(mx1|mx2).there.test"), "mx1.there.test", false),
    ] {
        let mut row = task(&["b@there.test"]).task;
        row.site = filed.map(str::to_owned);
        let says = is_elsewhere(&policy, &row, found);
        assert_eq!(says, is_elsewhere_now, "{filed:?} {found}");
        row.moves = MOVES_MAX;
        assert!(!is_elsewhere(&policy, &row, found), "it has moved enough");
    }
}
