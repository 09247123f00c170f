#![expect(clippy::unwrap_used, reason = "tests")]
use skein_policy::Source;

use super::*;

const POLICY: &str = "
kind: ip
name: a1
bind: 127.0.0.1
ehlo: a1.here.test
limits: {message_rate: 1000/h}
---
kind: pool
name: news
members: [{ip: a1}]
---
kind: tenant
name: acme
limits: {message_rate: [10/s, 100/min]}
---
kind: provider
name: big
mx: [.big.test]
per_ip: {connections: 2, connection_rate: 5/min, message_rate: [50/s, 300000/2day]}
total: {connections: 7}
messages_per_connection: 9
tls: encrypt
timeouts: {idle: 7s}
";

fn policy() -> Arc<Policy> {
    let source = Source {
        name: "test",
        text: POLICY,
    };
    Arc::new(Policy::parse(&[source]).unwrap())
}

fn path<'a>(site: &'a str, tenant: &'a str, is_named: bool) -> EgressPath<'a> {
    EgressPath {
        pool: "news",
        ip: "a1",
        site,
        tenant,
        is_named,
    }
}

fn seen(wants: &[LimitRequest]) -> Vec<(Scope, String, u8, Limit)> {
    let seen = wants.iter().map(|want| {
        (
            want.id.scope,
            want.id.key.to_string(),
            want.id.nth,
            want.limit,
        )
    });
    seen.collect()
}

fn per(count: u64, seconds: u64) -> Limit {
    Limit::Rate(Rate::new(count, DurationMs::from_secs(seconds), None).unwrap())
}

/// A limit that senders share.
fn shared(count: u64, seconds: u64) -> Limit {
    let rate = Rate::new(count, DurationMs::from_secs(seconds), None).unwrap();
    Limit::Shared {
        limit: SharedLimit::Rate(rate),
        is_by_owner: false,
    }
}

#[test]
fn every_limit_of_every_scope_is_wanted() {
    let path_policy = PathPolicy::of(&policy(), path("big", "acme", false));
    let at_site = || "a1 big".to_owned();
    assert_eq!(
        seen(&path_policy.connect.alone),
        [
            (Scope::IpSite, at_site(), 0, Limit::Concurrency(2)),
            (Scope::IpSite, at_site(), 0, shared(5, 60)),
            (Scope::Site, "big".into(), 0, Limit::Concurrency(7)),
        ]
    );
    assert_eq!(
        seen(&path_policy.message.alone),
        [
            (Scope::IpSite, at_site(), 0, per(50, 1)),
            // Counted over a day at the same pace.
            (Scope::IpSite, at_site(), 1, shared(150_000, 86_400)),
            (Scope::Ip, "a1".into(), 0, shared(1000, 3600)),
            (Scope::Tenant, "acme".into(), 0, shared(10, 1)),
            (Scope::Tenant, "acme".into(), 1, shared(100, 60)),
        ]
    );
    assert_eq!(path_policy.messages_per_connection, Some(9));
    assert_eq!(path_policy.label, " pool news tenant acme");
    let own = Timeouts::default();
    let timeouts = path_policy.timeouts(&own);
    assert_eq!(timeouts.idle, Duration::from_secs(7));
    assert_eq!(timeouts.dot, own.dot);
}

#[test]
fn hosts_that_the_operator_named_have_no_figures_of_default() {
    let policy = policy();
    let own = PathPolicy::of(&policy, path("127.0.0.1:25", "other", true));
    assert!(own.connect.alone.is_empty() && own.label.is_empty());
    assert_eq!(
        seen(&own.message.alone),
        [(Scope::Ip, "a1".into(), 0, shared(1000, 3600))]
    );
    let strange = PathPolicy::of(&policy, path("there.test", "other", false));
    assert!(!strange.connect.alone.is_empty());
    assert_eq!(strange.messages_per_connection, Some(100));
}

#[test]
fn terms_are_made_once_for_each_policy() {
    let (all, first) = (PathPolicies::default(), policy());
    let one = all.of(&first, path("big", "acme", false));
    assert!(Arc::ptr_eq(
        &one,
        &all.of(&first, path("big", "acme", false))
    ));
    assert!(!Arc::ptr_eq(
        &one,
        &all.of(&first, path("big", "other", false))
    ));
    assert!(!Arc::ptr_eq(
        &one,
        &all.of(&policy(), path("big", "acme", false))
    ));
}

#[test]
fn limits_of_a_site_that_somebody_gave_are_inherited() {
    let policy = policy();
    let since = |wants: &LimitRequests| -> Vec<u64> {
        let wants = wants.of(false, Some(DurationMs(7)));
        wants.iter().map(|want| want.gone_since.0).collect()
    };
    let big = PathPolicy::of(&policy, path("big", "acme", false));
    assert_eq!(since(&big.connect), [7, 0, 7]);
    assert_eq!(
        since(&big.message),
        [7, 0, 0, 0, 0],
        "not those that the leader grants, and not those of ip and tenant"
    );
    let usual = PathPolicy::of(&policy, path("there.test", "other", false));
    assert_eq!(since(&usual.connect), [0, 0]);
    assert_eq!(usual.connect.of(false, None), usual.connect.alone);
}

#[test]
fn a_site_that_senders_share_is_theirs_with_all_its_limits() {
    let policy = policy();
    let big = PathPolicy::of(&policy, path("big", "acme", false));
    let usual = PathPolicy::of(&policy, path("there.test", "other", false));
    for wants in [&big.connect, &big.message, &usual.connect, &usual.message] {
        let shared = wants.of(true, Some(DurationMs(7)));
        let is_shared = |want: &LimitRequest| matches!(want.limit, Limit::Shared { .. });
        assert!(
            shared
                .iter()
                .all(|want| is_shared(want) && want.gone_since.0 == 0)
        );
    }
    let by_owner: Vec<Counted> = big.connect.by_owner().map(|id| id.counts).collect();
    assert_eq!(by_owner, [Counted::Connections, Counted::Connections]);
}
