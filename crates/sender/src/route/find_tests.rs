#![expect(clippy::unwrap_used, reason = "tests")]
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use skein_testkit::dns::{FakeDns, Fault};
use skein_tls::{Choice, Demand};

use super::*;
use crate::config::rule::RouteHost;
use crate::config::rule::{DomainPattern, RouteRule, Rules};
use crate::route::tls::test_policies::TestPolicies;
use crate::task::test_tasks::task;

const STS: TestPolicies = TestPolicies::none();

async fn name_server() -> (FakeDns, Resolver) {
    let dns = FakeDns::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let resolver = Resolver::new(skein_dns::Config {
        servers: vec![dns.address()],
        allow_private: true,
        ..skein_dns::Config::default()
    })
    .unwrap();
    (dns, resolver)
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn with_route(hosts: &[&str]) -> Config {
    let rule = RouteRule {
        domains: vec![DomainPattern::All],
        hosts: hosts
            .iter()
            .map(|host| RouteHost::parse(host, 25).unwrap())
            .collect(),
        policy: HopPolicy::default(),
    };
    Config {
        routes: Rules::new(HopPolicy::default(), vec![rule]).unwrap(),
        ..Config::default()
    }
}

fn shown(route: &Route) -> Vec<String> {
    route.hosts.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn mx_hosts_come_in_order_of_preference_with_the_configured_port() {
    let (dns, resolver) = name_server().await;
    dns.mx("there.test", 20, "second.test");
    dns.mx("there.test", 10, "first.test");
    dns.host("first.test", address(2));
    dns.host("second.test", address(3));
    let config = Config {
        port: 2525,
        ..Config::default()
    };
    let mut task = task(&["b@there.test"]);
    let route = find(&config, &resolver, &Policy::built_in(), &STS, &task)
        .await
        .unwrap();
    assert_eq!(
        shown(&route),
        [
            "first.test [127.0.0.2]:2525",
            "second.test [127.0.0.3]:2525"
        ]
    );
    let host = &route.hosts[0];
    let demand = |route: &Route| route.tls.decide(host, TlsPolicy::Opportunistic).choice;
    assert_eq!(demand(&route), Choice::Try(Demand::Opportunistic));

    task.message.envelope.require_tls = true;
    let strict = find(&config, &resolver, &Policy::built_in(), &STS, &task)
        .await
        .unwrap();
    assert!(strict.tls.is_required());
    assert!(
        matches!(demand(&strict), Choice::Skip(_)),
        "nobody vouches for the host"
    );
    assert_ne!(
        strict.key, route.key,
        "connections without TLS are not shared"
    );

    task.message.envelope.return_path = String::new();
    let report = find(&config, &resolver, &Policy::built_in(), &STS, &task)
        .await
        .unwrap();
    assert!(
        !report.tls.is_required(),
        "a report about such mail goes as it can"
    );
}

#[tokio::test]
async fn hosts_of_a_route_come_in_its_order_and_a_dead_name_is_passed_over() {
    let (dns, resolver) = name_server().await;
    dns.host("relay.test", address(4));
    dns.fault("broken.test", Some(Fault::ServFail));
    dns.mx("there.test", 10, "unused.test");
    let config = with_route(&["broken.test", "[::1]:26", "relay.test:27", "127.0.0.5"]);
    let route = find(
        &config,
        &resolver,
        &Policy::built_in(),
        &STS,
        &task(&["b@there.test"]),
    )
    .await
    .unwrap();
    assert_eq!(
        shown(&route),
        [
            "::1 [::1]:26",
            "relay.test [127.0.0.4]:27",
            "127.0.0.5 [127.0.0.5]:25"
        ]
    );
    assert_eq!(dns.asked("there.test"), 0);
}

#[tokio::test]
async fn a_mistake_in_a_route_defers_and_a_missing_domain_fails() {
    let (dns, resolver) = name_server().await;
    dns.fault("gone.test", Some(Fault::NxDomain));
    dns.fault("there.test", Some(Fault::NxDomain));
    let task = task(&["b@there.test"]);
    let (verdict, reply) = find(
        &with_route(&["gone.test"]),
        &resolver,
        &Policy::built_in(),
        &STS,
        &task,
    )
    .await
    .unwrap_err();
    assert_eq!(verdict, Verdict::Deferred);
    assert_eq!(reply.enhanced, Some((4, 4, 4)));
    assert!(reply.text.contains("gone.test"), "{reply}");

    let (verdict, reply) = find(
        &Config::default(),
        &resolver,
        &Policy::built_in(),
        &STS,
        &task,
    )
    .await
    .unwrap_err();
    assert_eq!(verdict, Verdict::Failed);
    assert_eq!(reply.enhanced, Some((5, 1, 2)));
}

#[tokio::test]
async fn an_attempt_tries_a_bounded_number_of_addresses() {
    let (dns, resolver) = name_server().await;
    for last in 2..30 {
        dns.host("many.test", address(last));
    }
    let route = find(
        &with_route(&["many.test"]),
        &resolver,
        &Policy::built_in(),
        &STS,
        &task(&["b@there.test"]),
    )
    .await
    .unwrap();
    assert_eq!(route.hosts.len(), HOSTS_TRIED);
}

#[tokio::test]
async fn mail_that_leads_back_to_us_fails_at_the_first_look_and_follows_what_is_ours() {
    let (dns, resolver) = name_server().await;
    dns.mx("there.test", 10, "other-name.test");
    dns.mx("there.test", 20, "backup.test");
    dns.host("other-name.test", address(7));
    dns.host("backup.test", address(8));
    let own = |listeners: &[SocketAddr]| skein_dns::OwnAddresses {
        listeners: listeners.to_vec(),
        ..skein_dns::OwnAddresses::default()
    };
    let task = task(&["b@there.test"]);
    let (config, policy) = (Config::default(), Policy::built_in());
    let another_port = SocketAddr::new(address(7), 26);
    resolver.set_own_addresses(own(&[another_port]));
    let route = find(&config, &resolver, &policy, &STS, &task)
        .await
        .unwrap();
    assert_eq!(route.hosts.len(), 2, "another service of the same machine");

    resolver.set_own_addresses(own(&[SocketAddr::new(address(7), 25)]));
    let (verdict, reply) = find(&config, &resolver, &policy, &STS, &task)
        .await
        .unwrap_err();
    assert_eq!(verdict, Verdict::Failed);
    assert_eq!(
        reply.enhanced,
        Some((5, 4, 6)),
        "the backup is worse than we are"
    );
    assert!(
        reply.text.contains("other-name.test [127.0.0.7]"),
        "{reply}"
    );

    resolver.set_own_addresses(own(&[SocketAddr::new(address(8), 25)]));
    let route = find(&config, &resolver, &policy, &STS, &task)
        .await
        .unwrap();
    assert_eq!(shown(&route), ["other-name.test [127.0.0.7]:25"]);
}

#[tokio::test]
async fn a_route_that_leads_back_to_us_waits_for_whoever_made_it() {
    let (dns, resolver) = name_server().await;
    dns.host("relay.test", address(4));
    resolver.set_own_addresses(skein_dns::OwnAddresses {
        listeners: vec![SocketAddr::new(address(4), 27)],
        ..skein_dns::OwnAddresses::default()
    });
    let task = task(&["b@there.test"]);
    let policy = Policy::built_in();
    let config = with_route(&["relay.test:27"]);
    let (verdict, reply) = find(&config, &resolver, &policy, &STS, &task)
        .await
        .unwrap_err();
    assert_eq!(verdict, Verdict::Deferred);
    assert_eq!(reply.enhanced, Some((4, 4, 6)));
    assert!(reply.text.contains("leads back"), "{reply}");
    let config = with_route(&["relay.test:27", "relay.test:28"]);
    let route = find(&config, &resolver, &policy, &STS, &task)
        .await
        .unwrap();
    assert_eq!(shown(&route), ["relay.test [127.0.0.4]:28"]);
}
