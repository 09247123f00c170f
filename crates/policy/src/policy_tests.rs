//! What senders ask, of a policy with every kind of resource.

use crate::*;

pub(crate) const TEXT: &str = r#"
kind: ip
name: a1
bind: 10.0.0.1
public: 192.0.2.1
ehlo: A1.Mail.Example
home: node-1
limits:
  connections: 200
  message_rate: [1000/min, 500000/day burst 2000]
---
kind: ip
name: a2
bind: 2001:db8::2
ehlo: a2.mail.example
state: suspended
---
kind: ip
name: far
bind: 203.0.113.9
ehlo: far.example
proxy: {socks5: "proxy.example:1080", user: skein, password: "it's: secret"}
---
kind: ip
name: far6
bind: 2001:db8::9
ehlo: far6.example
proxy: {haproxy: "[2001:db8::1]:5000"}
---
kind: pool
name: news
members:
  - ip: a1
    weight: 10
  - ip: a2
overflow: rest
limits:
  message_rate: 20000/h
---
kind: pool
name: rest
members: [{ip: far}, {ip: far6}]
---
kind: provider
name: google
extends: true
per_ip: {connections: 3}
timeouts: {dot: 5m}
automation:
  - match: 'rate of unsolicited mail'
    action: rest_ip
    threshold: 2/10min
    for: 2h
    example: 421 4.7.28 Our system has detected an unusual rate of unsolicited mail
  - match: '"quoted"\t'
    action: bounce
    scope: pool
---
kind: provider
name: example
mx: [.mx.example, mx.one.example]
domains: ['*.hosted.example', one.example]
total: {connections: 8, connection_rate: 30/min}
tls: disable
automation:
  - match: busy
    action: {connections: 1}
---
kind: provider
name: example-eu
mx: [.eu.mx.example]
---
kind: route
name: acme-news
tenant: acme
sender_domain: news.acme.example
pool: news
---
kind: route
name: acme-all
tenant: acme
pool: rest
---
kind: route
name: domain
sender_domain: '*.acme.example'
pool: default
---
kind: route
name: chosen
header: true
tenant: acme
pools: [news]
---
kind: route
name: chosen-by-all
header: true
pools: [rest, default]
---
kind: tenant
name: acme
limits: {message_rate: 100/min, connections: 50}
---
kind: warmup
name: new
ips: [a1, a2]
providers: {google: 60, example: 10}
days: [mon, tue, wed, thu, fri]
utc_offset: "-03:30"
---
kind: warmup
name: rest
pool: rest
schedule: {formula: {first: 100, factor_percent: 150, max: 100000}}
floor: 0
"#;

fn policy() -> Policy {
    let source = Source {
        name: "p.yaml",
        text: TEXT,
    };
    Policy::parse(&[source]).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

#[test]
fn every_key_is_read() {
    let policy = policy();
    let ip = policy.ip("a1").expect("given");
    assert_eq!(
        (ip.ehlo.as_str(), ip.home.as_deref()),
        ("a1.mail.example", Some("node-1"))
    );
    assert_eq!(
        (ip.bind.to_string(), ip.public.to_string()),
        ("10.0.0.1".into(), "192.0.2.1".into())
    );
    let ip = policy.ip("a2").expect("given");
    assert!(ip.is_suspended && ip.public == ip.bind);
    let far = policy.ip("far").expect("given");
    let Some(Proxy::Socks5 {
        server,
        login: Some(login),
    }) = &far.proxy
    else {
        panic!("{far:?}");
    };
    assert_eq!(
        (server.as_str(), login.password.as_str()),
        ("proxy.example:1080", "it's: secret")
    );
    assert!(
        !format!("{far:?}").contains("secret"),
        "a password is in no log"
    );
    let pool = policy.pool("news").expect("given");
    let members: Vec<_> = pool
        .members
        .iter()
        .map(|member| (member.ip.value.as_str(), member.weight))
        .collect();
    assert_eq!(members, [("a1", 10), ("a2", 1)]);
    let warmup = policy.warmups().next().expect("given");
    assert_eq!(warmup.days, [true, true, true, true, true, false, false]);
    assert_eq!(
        (
            warmup.utc_offset_minutes,
            warmup.floor,
            warmup.schedule.stages().len()
        ),
        (-210, 20, 29)
    );
    assert_eq!(
        (
            warmup.deferral_max_percent,
            warmup.delivered_min_percent,
            warmup.rewarm_after_days
        ),
        (10, 90, 30)
    );
    assert_eq!(warmup.shares[0].percent, 60);
}

#[test]
fn a_provider_that_extends_changes_only_what_it_says() {
    let policy = policy();
    let (ours, built_in) = (
        policy.provider("google").expect("given"),
        Policy::built_in(),
    );
    let theirs = built_in.provider("google").expect("built in");
    assert_eq!(ours.per_ip.connections.as_ref().map(|at| at.value), Some(3));
    assert_eq!(ours.per_ip.connection_rate, theirs.per_ip.connection_rate);
    assert_eq!((&ours.mx, ours.tls), (&theirs.mx, theirs.tls));
    assert_eq!(ours.timeouts.dot, skein_model::DurationMs::from_secs(300));
    assert_eq!(ours.timeouts.data, theirs.timeouts.data);
    assert_eq!(ours.rules().count(), theirs.rules().count() + 2);
    let reply = "421 4.7.28 Our system has detected an unusual rate of unsolicited mail";
    let (nth, rule) = ours.reaction(reply).expect("both match");
    assert_eq!(
        (nth, rule.action),
        (0, Action::RestIp),
        "its own come first"
    );
    let (nth, rule) = theirs.reaction(reply).expect("matches");
    assert_eq!((nth, rule.lasts.0), (0, 30 * 60 * 1000));
}

#[test]
fn a_site_is_the_provider_of_all_hosts_with_the_longest_suffixes() {
    let policy = policy();
    for (domain, mx, expected) in [
        (
            "a.example",
            &["a.mx.example", "b.mx.example"][..],
            Some("example"),
        ),
        (
            "a.example",
            &["a.mx.example", "MX.ONE.example."],
            Some("example"),
        ),
        ("a.example", &["a.eu.mx.example"], Some("example-eu")),
        // One of them is not of the narrower provider, and all are of the wider.
        (
            "a.example",
            &["a.eu.mx.example", "a.mx.example"],
            Some("example"),
        ),
        (
            "a.example",
            &["a.mx.example", "a.eu.mx.example"],
            Some("example"),
        ),
        ("a.example", &["a.mx.example", "other.example"], None),
        ("a.example", &["sub.mx.one.example"], None),
        ("a.example", &["mx.example"], None),
        // A domain that is named wins over its hosts.
        ("one.example", &["aspmx.l.google.com"], Some("example")),
        ("a.HOSTED.example", &[], Some("example")),
        ("hosted.example", &[], None),
    ] {
        let site = policy.site_of(domain, mx);
        assert_eq!(site.name.as_deref(), expected, "{domain} {mx:?}");
    }
}

#[test]
fn limits_say_where_they_are_from() {
    let policy = policy();
    let site = policy.site_of("a.example", &["a.mx.example"]);
    let limits = policy.limits("news", "a1", site.provider.as_deref(), "acme");
    let line = |words: &str| {
        TEXT.lines()
            .position(|line| line.contains(words))
            .expect(words)
            + 1
    };
    let at = |nth: usize| limits.0[nth].to_string();
    let expected = [
        format!(
            "site: 8 connections: provider \"example\" total.connections (p.yaml:{})",
            line("total:")
        ),
        format!(
            "site: 30/min connections: provider \"example\" total.connection_rate (p.yaml:{})",
            line("total:")
        ),
        format!(
            "ip: 200 connections: ip \"a1\" limits.connections (p.yaml:{})",
            line("connections: 200")
        ),
        format!(
            "ip: 1000/min messages: ip \"a1\" limits.message_rate (p.yaml:{})",
            line("1000/min")
        ),
        format!(
            "ip: 500000/day burst 2000 messages: ip \"a1\" limits.message_rate (p.yaml:{})",
            line("1000/min")
        ),
        format!(
            "pool: 20000/h messages: pool \"news\" limits.message_rate (p.yaml:{})",
            line("20000/h")
        ),
        format!(
            "tenant: 50 connections: tenant \"acme\" limits.connections (p.yaml:{})",
            line("100/min, connections")
        ),
        format!(
            "tenant: 100/min messages: tenant \"acme\" limits.message_rate (p.yaml:{})",
            line("100/min, connections")
        ),
    ];
    assert_eq!(limits.of(Scope::IpSite).count(), 3, "those of default");
    for (nth, expected) in expected.iter().enumerate() {
        assert_eq!(&at(nth + 3), expected);
    }
    let unknown = policy.limits("none", "none", None, "none");
    assert!(
        unknown
            .0
            .iter()
            .all(|limit| &*limit.origin.name == "default")
    );
    assert_eq!(unknown.0.len(), 3);
}

#[test]
fn the_most_specific_route_wins() {
    let policy = policy();
    for (tenant, domain, header, expected) in [
        ("acme", "news.acme.example", None, Ok("news")),
        ("acme", "News.Acme.Example", None, Ok("news")),
        ("acme", "x.acme.example", None, Ok("default")),
        ("acme", "other.example", None, Ok("rest")),
        ("acme", "", None, Ok("rest")),
        ("other", "news.acme.example", None, Ok("default")),
        ("other", "other.example", None, Ok("default")),
        ("acme", "news.acme.example", Some("rest"), Ok("rest")),
        ("acme", "other.example", Some("news"), Ok("news")),
        ("other", "other.example", Some("default"), Ok("default")),
        ("other", "other.example", Some("news"), Err("news")),
        ("acme", "other.example", Some("nowhere\n"), Err("nowhere\n")),
        ("acme", "other.example", Some(""), Err("")),
    ] {
        let found = policy.pool_of(tenant, domain, header);
        let found = found.as_deref().map_err(PoolRefused::pool);
        assert_eq!(found, expected, "{tenant} {domain} {header:?}");
    }
    let refused = policy
        .pool_of("acme", "", Some("a\nb"))
        .expect_err("unknown");
    assert_eq!(
        refused.to_string(),
        "no route lets tenant \"acme\" choose pool \"a\\nb\""
    );
}

#[test]
fn resources_are_written_as_they_are_read() {
    let policy = policy();
    let mut texts = Vec::new();
    for (kind, name, place) in policy.resources() {
        if &*place.source != BUILT_IN_NAME {
            texts.push(policy.get(kind, name).expect("listed"));
        }
    }
    assert_eq!(texts.len(), TEXT.matches("kind:").count());
    let whole = texts.join("---\n");
    let text = whole.as_str();
    let again = Policy::parse(&[Source {
        name: "q.yaml",
        text,
    }]);
    let again = again.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    for (kind, name, _) in policy.resources() {
        assert_eq!(again.get(kind, name), policy.get(kind, name));
    }
    let built_in = Policy::built_in();
    for (kind, name, _) in built_in.resources() {
        let text = built_in.get(kind, name).expect("listed");
        let (source, text) = ("r.yaml", text.as_str());
        let own = Policy::parse(&[Source { name: source, text }]);
        let own = own.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        assert_eq!(own.get(kind, name), built_in.get(kind, name));
        assert_eq!(
            own.provider(name).map(|provider| provider.rules().count()),
            built_in
                .provider(name)
                .map(|provider| provider.rules().count()),
            "{name}"
        );
    }
    assert_eq!(policy.get(Kind::Pool, "none"), None);
    assert!(text.contains("password: 'it''s: secret'"));
}

#[test]
fn the_example_of_the_readme_is_a_policy() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```yaml\n").expect("an example");
    let (text, _) = rest.split_once("```").expect("it ends");
    let name = "README.md";
    let policy = Policy::parse(&[Source { name, text }]);
    let policy = policy.unwrap_or_else(|problems| panic!("{problems:#?}"));
    let own = policy.resources();
    assert_eq!(
        own.filter(|(_, _, place)| &*place.source == name).count(),
        6
    );
}

#[test]
fn a_tenant_with_pools_has_no_others() {
    let text = "
kind: tenant
name: t
pools: [q, p]
---
kind: pool
name: p
members: [{ip: i}]
---
kind: pool
name: q
members: [{ip: i}]
---
kind: pool
name: r
members: [{ip: i}]
---
kind: ip
name: i
bind: 192.0.2.1
ehlo: a.example
---
kind: route
name: own
tenant: t
sender_domain: p.example
pool: p
---
kind: route
name: everybody
sender_domain: r.example
pool: r
---
kind: route
name: choice
header: true
pools: [p, r]
";
    let policy = Policy::parse(&[Source { name: "p", text }]);
    let policy = policy.unwrap_or_else(|problems| panic!("{problems:#?}"));
    for (tenant, domain, header, expected) in [
        ("t", "p.example", None, Ok("p")),
        ("t", "other.example", None, Ok("q")),
        ("t", "r.example", None, Err("r")),
        ("t", "p.example", Some("p"), Ok("p")),
        ("t", "p.example", Some("r"), Err("r")),
        ("u", "r.example", None, Ok("r")),
        ("u", "other.example", None, Ok("default")),
        ("u", "other.example", Some("r"), Ok("r")),
    ] {
        let found = policy.pool_of(tenant, domain, header);
        let found = found.as_deref().map_err(PoolRefused::pool);
        assert_eq!(found, expected, "{tenant} {domain} {header:?}");
    }
    let refused = policy.pool_of("t", "r.example", None).expect_err("foreign");
    assert_eq!(
        refused.to_string(),
        "tenant \"t\" may not send through pool \"r\""
    );
}
