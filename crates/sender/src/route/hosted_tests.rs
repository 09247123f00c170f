#![expect(clippy::unwrap_used, reason = "tests")]
use std::net::SocketAddr;

use skein_policy::Source;
use skein_testkit::dns::FakeDns;

use super::*;
use crate::config::rule::{DomainPattern, RouteRule, Rules};
use crate::route::find;
use crate::route::tls::test_policies::TestPolicies;
use crate::task::test_tasks::task;

const TEXT: &str = "\
kind: inbound
name: own
domains: [there.test]
addresses:
  - {address: a, lmtp: '127.0.0.9:24'}
  - {address: [b, b2], http: 'http://127.0.0.8:80/x', allow_private: true}
  - {address: c, http: 'https://127.0.0.8/x'}
  - {address: d, discard: true}
";

fn policy() -> Policy {
    Policy::parse(&[Source {
        name: "p",
        text: TEXT,
    }])
    .unwrap()
}

async fn resolver() -> (FakeDns, Resolver) {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let dns = FakeDns::start(local).await.unwrap();
    let resolver = Resolver::new(skein_dns::Config {
        servers: vec![dns.address()],
        ..skein_dns::Config::default()
    });
    (dns, resolver.unwrap())
}

#[tokio::test]
async fn each_address_goes_where_the_policy_says() {
    let (_dns, resolver) = resolver().await;
    let (config, policy) = (Config::default(), policy());
    let found = async |address: &str| {
        let found = find::find(
            &config,
            &resolver,
            &policy,
            &TestPolicies::none(),
            &task(&[address]),
        )
        .await;
        found.map(|route| (route.site.clone(), route.hosts[0].to_string()))
    };
    let is = |site: &str, host: &str| Ok((site.to_owned(), host.to_owned()));
    assert_eq!(
        found("a@there.test").await,
        is("lmtp://127.0.0.9:24", "127.0.0.9 [127.0.0.9]:24")
    );
    assert_eq!(
        found("\"b\"@THERE.test").await,
        is("http://127.0.0.8:80", "127.0.0.8 [127.0.0.8]:80")
    );
    assert_eq!(
        found("d@there.test").await,
        is("discard", "discard [0.0.0.0]:0")
    );
    let (verdict, reply) = found("nobody@there.test").await.unwrap_err();
    assert_eq!(
        (verdict, reply.enhanced),
        (Verdict::Failed, Some((5, 1, 1)))
    );
    let (verdict, reply) = found("c@there.test").await.unwrap_err();
    assert_eq!(verdict, Verdict::Deferred);
    assert!(reply.text.contains("not public"), "{reply}");
}

#[tokio::test]
async fn destinations_of_one_task_take_turns_and_leave_the_others_out() {
    let (_dns, resolver) = resolver().await;
    let (config, policy) = (Config::default(), policy());
    let mut task = task(&[
        "nobody@there.test",
        "a@there.test",
        "b@there.test",
        "b2@there.test",
    ]);
    for (attempt, expected) in [
        (0, ["5.1.1", "", "4.5.3", "4.5.3"]),
        (1, ["5.1.1", "4.5.3", "", ""]),
        (2, ["5.1.1", "", "4.5.3", "4.5.3"]),
    ] {
        task.task.attempts = attempt;
        let route = find::find(&config, &resolver, &policy, &TestPolicies::none(), &task)
            .await
            .unwrap();
        let destination = route.hosted.unwrap();
        let recipients = task.task.recipients.iter();
        let left_out: Vec<String> = recipients
            .map(|(_, recipient)| {
                let reason = kept_back(&policy, &destination, recipient);
                reason
                    .map(|reason| reason.enhanced.to_string())
                    .unwrap_or_default()
            })
            .collect();
        assert_eq!(left_out, expected, "{attempt}");
    }
}

#[tokio::test]
async fn a_route_of_the_node_says_otherwise_only_if_it_names_the_domain() {
    let (_dns, resolver) = resolver().await;
    let policy = policy();
    for (domain, site) in [("*", "lmtp://127.0.0.9:24"), ("there.test", "127.0.0.7:25")] {
        let rule = RouteRule {
            domains: vec![DomainPattern::parse(domain).unwrap()],
            hosts: vec![RouteHost::parse("127.0.0.7", 25).unwrap()],
            policy: HopPolicy::default(),
        };
        let config = Config {
            routes: Rules::new(HopPolicy::default(), vec![rule]).unwrap(),
            ..Config::default()
        };
        let found = find::find(
            &config,
            &resolver,
            &policy,
            &TestPolicies::none(),
            &task(&["a@there.test"]),
        )
        .await;
        assert_eq!(found.unwrap().site, site, "{domain}");
    }
}
