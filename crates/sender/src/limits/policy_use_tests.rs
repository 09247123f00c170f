#![expect(clippy::unwrap_used, reason = "tests")]
use futures::FutureExt;
use skein_policy::Source;

use super::*;

const BASE: &str = "\
kind: ip
name: a1
bind: 192.0.2.1
ehlo: a1.example.test
---
kind: ip
name: a2
bind: 192.0.2.2
ehlo: a2.example.test
---
kind: pool
name: news
members: [{ip: a1}]
overflow: rest
---
kind: pool
name: rest
members: [{ip: a2}]
---
kind: provider
name: big
mx: [.big.test]
per_ip: {connections: 5, message_rate: 100/s}
---
kind: tenant
name: acme
limits: {message_rate: 50/s}
";

fn policy(text: &str, version: u64) -> Arc<Policy> {
    let parsed = Policy::parse(&[Source { name: "t", text }]);
    Arc::new(parsed.unwrap().with_version(version))
}

fn path<'a>(ip: &'a str, site: &'a str) -> EgressPath<'a> {
    EgressPath {
        pool: "news",
        ip,
        site,
        tenant: "acme",
        is_named: false,
    }
}

/// What becomes of a connection and of a transaction when the policy changes from the base to this text.
fn check(text: &str, ip: &str, site: &str) -> (bool, bool) {
    let (tell, policies) = watch::channel(policy(BASE, 1));
    let all = PolicyUse::new(policies);
    let connection = all.begin(Using::Connection, path(ip, site));
    let transaction = all.begin(Using::Transaction, path(ip, site));
    tell.send_replace(policy(text, 2));
    assert_eq!(all.before(2), 2, "nobody has looked");
    all.review();
    let goes_on = (!connection.is_outdated(), !transaction.is_outdated());
    let outdated = usize::from(!goes_on.0) + usize::from(!goes_on.1);
    assert_eq!(all.before(2), outdated);
    assert_eq!(all.none_before(2).now_or_never().is_some(), outdated == 0);
    drop(connection);
    transaction.end();
    assert!(all.none_before(2).now_or_never().is_some());
    goes_on
}

#[test]
fn a_change_ends_what_it_concerns_and_nothing_else() {
    let (both, neither) = ((true, true), (false, false));
    let with = |from: &str, to: &str| {
        assert!(BASE.contains(from), "{from}");
        BASE.replace(from, to)
    };
    for (text, ip, site, goes_on) in [
        (BASE.to_owned(), "a1", "big", both),
        (with("100/s", "10/s"), "a1", "big", (true, false)),
        (with("100/s", "10/s"), "a1", "other.test", both),
        (
            with("connections: 5", "connections: 2"),
            "a1",
            "big",
            (false, true),
        ),
        (with("50/s", "5/s"), "a1", "big", (true, false)),
        (
            with("a1.example.test", "b1.example.test"),
            "a1",
            "big",
            neither,
        ),
        (
            with("a2.example.test", "b2.example.test"),
            "a1",
            "big",
            both,
        ),
        (
            with("a2.example.test", "b2.example.test"),
            "a2",
            "big",
            neither,
        ),
        (
            with("members: [{ip: a1}]", "members: [{ip: a2}]"),
            "a1",
            "big",
            neither,
        ),
        (
            with("members: [{ip: a1}]", "members: [{ip: a1}, {ip: a2}]"),
            "a1",
            "big",
            both,
        ),
        (with("overflow: rest\n", ""), "a2", "big", neither),
        (
            with("per_ip: {", "tls: encrypt\nper_ip: {"),
            "a1",
            "big",
            (false, true),
        ),
        (
            with("per_ip: {", "messages_per_connection: 3\nper_ip: {"),
            "a1",
            "big",
            (false, true),
        ),
        (
            with("limits: {", "limits: {connections: 1, "),
            "a1",
            "big",
            (false, true),
        ),
    ] {
        assert_eq!(check(&text, ip, site), goes_on, "{ip} {site}: {text}");
    }
}

#[test]
fn what_begins_meanwhile_goes_by_the_later_policy() {
    let (tell, policies) = watch::channel(policy(BASE, 1));
    let all = PolicyUse::new(policies);
    let early = all.begin(Using::Transaction, path("a1", "big"));
    tell.send_replace(policy(&BASE.replace("100/s", "10/s"), 2));
    let late = all.begin(Using::Transaction, path("a1", "big"));
    all.review();
    assert!(early.is_outdated() && !late.is_outdated());
    assert_eq!((all.before(2), all.before(3)), (1, 2));
}

#[tokio::test]
async fn a_version_is_in_force_when_the_last_has_sent_its_dot() {
    let (tell, policies) = watch::channel(policy(BASE, 1));
    let all = PolicyUse::new(policies);
    let transaction = all.begin(Using::Transaction, path("a1", "big"));
    tell.send_replace(policy(&BASE.replace("100/s", "10/s"), 2));
    all.review();
    let waiter = tokio::spawn({
        let all = Arc::clone(&all);
        async move { all.none_before(2).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    transaction.end();
    waiter.await.unwrap();
}
