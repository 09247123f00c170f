//! Which tasks share connections, and which hosts are left to try.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use skein_dns::Resolver;
use skein_model::sts::StsMode;
use skein_policy::Policy;
use skein_testkit::dns::FakeDns;
use skein_tls::Demand;

use super::test_policies::TestPolicies;
use super::*;
use crate::config::Config;
use crate::route::find::{Route, find};
use crate::task::test_tasks::{DOMAIN, task};

const PORT: u16 = 25;

struct World {
    dns: FakeDns,
    resolver: Resolver,
}

impl World {
    /// Mail of the domain goes to two hosts.
    async fn new() -> Self {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let dns = FakeDns::start(local).await.unwrap();
        for (last, host) in [(2, "a.mx.test"), (3, "b.mx.test")] {
            dns.mx(DOMAIN, u16::from(last), host);
            dns.host(host, IpAddr::from([127, 0, 0, last]));
        }
        let resolver = Resolver::new(skein_dns::Config {
            servers: vec![dns.address()],
            allow_private: true,
            ..skein_dns::Config::default()
        });
        let resolver = resolver.unwrap();
        Self { dns, resolver }
    }

    async fn route(&self, sts: &TestPolicies) -> Route {
        self.route_of(sts, |_| {}).await
    }

    async fn route_of(&self, sts: &TestPolicies, change: impl FnOnce(&mut Envelope)) -> Route {
        let mut task = task(&["b@there.test"]);
        change(&mut task.message.envelope);
        self.resolver.forget(DOMAIN).await;
        let (config, policy) = (Config::default(), Policy::built_in());
        let found = find(&config, &self.resolver, &policy, sts, &task).await;
        found.unwrap()
    }
}

fn policy(mode: StsMode, mx: &str) -> Option<Arc<StsPolicy>> {
    let policy = StsPolicy {
        id: mx.to_owned(),
        mode,
        mx: vec![mx.to_owned()],
        max_age_s: 86_400,
    };
    Some(Arc::new(policy))
}

fn kept(mode: StsMode, mx: &str) -> TestPolicies {
    TestPolicies {
        kept: policy(mode, mx),
        fetched: policy(mode, mx),
    }
}

/// What each host is to prove, and `-` for one that is passed over.
fn demands(route: &Route) -> Vec<String> {
    let hosts = route.hosts.iter();
    let demands = hosts.map(
        |host| match route.tls.decide(host, TlsPolicy::Opportunistic).choice {
            Choice::Try(demand) => format!("{} {}", host.name, demand.name()),
            Choice::Skip(_) => format!("{} -", host.name),
        },
    );
    demands.collect()
}

#[tokio::test]
async fn tasks_share_a_site_and_share_connections_where_their_demands_are_the_same() {
    let world = World::new().await;
    let none = world.route(&TestPolicies::none()).await;
    let wide = world.route(&kept(StsMode::Enforce, "*.mx.test")).await;
    let narrow = world.route(&kept(StsMode::Enforce, "b.mx.test")).await;
    let testing = world.route(&kept(StsMode::Testing, "b.mx.test")).await;
    let wrong = world.route(&kept(StsMode::Enforce, "c.mx.test")).await;
    assert_eq!(
        demands(&none),
        ["a.mx.test opportunistic", "b.mx.test opportunistic"]
    );
    assert_eq!(demands(&wide), ["a.mx.test pkix", "b.mx.test pkix"]);
    assert_eq!(demands(&narrow), ["a.mx.test -", "b.mx.test pkix"]);
    assert_eq!(demands(&testing), demands(&none));
    assert_eq!(demands(&wrong), ["a.mx.test -", "b.mx.test -"]);
    for other in [&wide, &narrow, &testing, &wrong] {
        assert_eq!(other.site, none.site);
    }
    let keys = [&none, &wide, &narrow, &wrong].map(|route| route.key.as_str());
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
    assert_eq!(testing.key, none.key);
    // Another policy with the same hosts in it demands the same.
    let mut same = kept(StsMode::Enforce, "*.mx.test");
    same.kept = policy(StsMode::Enforce, "*.mx.test").map(|policy| {
        let (id, max_age_s) = ("2".to_owned(), 1);
        Arc::new(StsPolicy {
            id,
            max_age_s,
            ..policy.as_ref().clone()
        })
    });
    assert_eq!(world.route(&same).await.key, wide.key);
}

#[tokio::test]
async fn a_policy_that_leaves_no_host_is_looked_at_again() {
    let world = World::new().await;
    let moved = TestPolicies {
        kept: policy(StsMode::Enforce, "old.test"),
        fetched: policy(StsMode::Enforce, "*.mx.test"),
    };
    let route = world.route(&moved).await;
    assert_eq!(demands(&route), ["a.mx.test pkix", "b.mx.test pkix"]);
    let gone = TestPolicies {
        kept: policy(StsMode::Enforce, "old.test"),
        fetched: None,
    };
    let route = world.route(&gone).await;
    assert_eq!(
        demands(&route),
        ["a.mx.test opportunistic", "b.mx.test opportunistic"]
    );
}

#[tokio::test]
async fn what_a_sender_wants_of_tls() {
    let world = World::new().await;
    world.dns.sign("test", true);
    world.dns.tlsa("a.mx.test", PORT, (3, 1, 1), &[7; 32]);
    let sts = kept(StsMode::Enforce, "b.mx.test");
    let usual = world.route(&sts).await;
    assert_eq!(demands(&usual), ["a.mx.test dane", "b.mx.test pkix"]);
    let optional = world
        .route_of(&sts, |envelope| envelope.tls_optional = true)
        .await;
    assert_eq!(
        demands(&optional),
        ["a.mx.test opportunistic", "b.mx.test opportunistic"]
    );
    let both = world
        .route_of(&sts, |envelope| {
            (envelope.tls_optional, envelope.require_tls) = (true, true);
        })
        .await;
    assert_eq!(demands(&both), ["a.mx.test dane", "b.mx.test pkix"]);
    assert_ne!(
        both.key, usual.key,
        "such mail fails where other mail waits"
    );
    let Choice::Try(Demand::Dane(records)) = usual
        .tls
        .decide(&usual.hosts[0], TlsPolicy::default())
        .choice
    else {
        panic!("the first host has a record");
    };
    assert_eq!(records.base, "a.mx.test");
    assert_eq!(usual.tls.records(&usual.hosts[0]).len(), 1);
}

#[tokio::test]
async fn hosts_that_are_passed_over_take_no_place_of_others() {
    let world = World::new().await;
    for last in 10..40 {
        world.dns.host("a.mx.test", IpAddr::from([127, 0, 1, last]));
    }
    let route = world.route(&kept(StsMode::Enforce, "b.mx.test")).await;
    assert_eq!(demands(&route), ["a.mx.test -", "b.mx.test pkix"]);
}
