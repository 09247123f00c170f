#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;

use skein_client::{PlacedIp, PlacedIps};
use skein_model::warmup::Left;
use skein_model::{DurationMs, UnixMs};
use skein_policy::Source as Text;

use super::*;
use crate::automation::active_actions::Stopped;
use crate::source_ip::pool_choice::{LOOK_AGAIN, NoSource};
use crate::source_ip::source::Source;

const NOW: UnixMs = UnixMs(1_000_000);
const EXPIRES: UnixMs = UnixMs(9_000_000);

impl Sources {
    fn choose(
        &self,
        policy: &Policy,
        router: &SourceIpRouter,
        pool: &str,
        site: &str,
        hosts: &[Host],
        restraints: &Restraints<'_>,
    ) -> Result<Source, NoSource> {
        let state = self.look(policy, router, pool, site, hosts, restraints);
        let chosen = state.choose(pool, NOW, EXPIRES)?;
        assert_eq!(chosen.bounced, None);
        Ok(chosen.source)
    }
}

#[test]
fn an_address_is_bound_for_hosts_of_its_family_only() {
    let host = |address: &str| Host {
        name: "mx.there.test".into(),
        address: address.parse().unwrap(),
        port: 25,
    };
    let (four, six) = (host("192.0.2.9"), host("2001:db8::9"));
    let own = Source::default();
    for (bind, fits_four, fits_six) in [
        (None, true, true),
        (Some("192.0.2.1"), true, false),
        (Some("0.0.0.0"), true, false),
        (Some("2001:db8::1"), false, true),
    ] {
        let bind = bind.map(|bind| bind.parse().unwrap());
        let fits = (own.fits(&four, bind), own.fits(&six, bind));
        assert_eq!(fits, (fits_four, fits_six), "{bind:?}");
        for (host, fits) in [(&four, fits_four), (&six, fits_six)] {
            let hosts = std::slice::from_ref(host);
            let reason = own.passes_over(hosts, bind).map(|reply| reply.text);
            assert_eq!(reason.is_none(), fits);
            let names = |text: String| text.contains(&host.to_string());
            assert!(reason.is_none_or(names));
        }
        assert_eq!(own.passes_over(&[four.clone(), six.clone()], bind), None);
    }
}

const POLICY: &str = "
kind: ip
name: a1
bind: 127.0.0.1
ehlo: a1.here.test
---
kind: ip
name: a2
bind: 127.0.0.2
ehlo: a2.here.test
---
kind: ip
name: six
bind: 2001:db8::1
ehlo: six.here.test
---
kind: ip
name: off
bind: 127.0.0.3
ehlo: off.here.test
state: suspended
---
kind: ip
name: away
bind: 127.0.0.4
ehlo: away.here.test
home: node-9
---
kind: ip
name: lost
bind: 192.0.2.77
ehlo: lost.here.test
---
kind: pool
name: news
members: [{ip: a1, weight: 3}, {ip: a2}, {ip: six, weight: 50}, {ip: lost, weight: 9}]
---
kind: pool
name: none
members: [{ip: six}, {ip: off}, {ip: away}, {ip: lost}]
---
kind: pool
name: one
members: [{ip: a1}]
---
kind: pool
name: new
members: [{ip: a1}]
overflow: old
---
kind: pool
name: old
members: [{ip: a2}]
";

const FREE: &Restraints<'_> = &Restraints {
    rules: &|_| None,
    open: &|_| Open::WARM,
};

fn policy() -> Policy {
    let source = Text {
        name: "test",
        text: POLICY,
    };
    Policy::parse(&[source]).unwrap()
}

/// All that have no other home are at this node.
fn router(policy: &Policy) -> Arc<SourceIpRouter> {
    let here = policy
        .ips()
        .filter(|ip| ip.home.is_none() && &*ip.name != "nowhere");
    let ips = here.map(|ip| {
        let at = PlacedIp {
            name: ip.name.to_string(),
            epoch: 1,
            session: 7,
            ..PlacedIp::default()
        };
        (at.name.clone(), at)
    });
    let ips = ips.collect();
    SourceIpRouter::told(PlacedIps { version: 1, ips }, policy)
}

fn hosts() -> Vec<Host> {
    vec![Host {
        name: "mx.there.test".into(),
        address: [192, 0, 2, 1].into(),
        port: 25,
    }]
}

#[tokio::test]
async fn tasks_go_by_weight_from_the_members_that_can_be_used() {
    let (policy, sources) = (policy(), Sources::default());
    let router = router(&policy);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..10_000 {
        let source = sources.choose(&policy, &router, "news", "there.test", &hosts(), FREE);
        *counts.entry(source.unwrap().name().to_owned()).or_default() += 1;
    }
    let share = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!(share("a1") + share("a2"), 10_000, "{counts:?}");
    assert!(share("a1").abs_diff(7_500) <= 150, "{counts:?}");
}

#[tokio::test]
async fn a_pool_without_a_usable_ip_says_why() {
    let (policy, sources) = (policy(), Sources::default());
    let router = router(&policy);
    let none = sources.choose(&policy, &router, "none", "there.test", &hosts(), FREE);
    let none = none.unwrap_err();
    for part in [
        "six (2001:db8::1) is not of the family",
        "off (127.0.0.3) is suspended",
        "1 more",
    ] {
        assert!(none.reply.text.contains(part), "{}", none.reply);
    }
    assert_eq!(none.reply.enhanced.map(|status| status.0), Some(4));
    assert!(
        none.retry_within < Some(LOOK_AGAIN.into()),
        "away may be on its way to a node"
    );
    let unknown = sources.choose(&policy, &router, "gone", "there.test", &hosts(), FREE);
    assert!(unknown.unwrap_err().reply.text.contains("no pool gone"));
    let own = sources.choose(&policy, &router, "default", "there.test", &hosts(), FREE);
    assert_eq!(own.unwrap().name(), "");
}

#[tokio::test]
async fn an_ip_that_cannot_be_bound_rests_and_another_takes_over() {
    let (policy, sources) = (policy(), Sources::default());
    let router = router(&policy);
    let first = policy.ip("a1").unwrap();
    sources.failed(first, 1);
    sources.failed(first, 1);
    for _ in 0..20 {
        let source = sources.choose(&policy, &router, "news", "there.test", &hosts(), FREE);
        assert_eq!(source.unwrap().name(), "a2");
    }
    let none = sources.choose(&policy, &router, "one", "there.test", &hosts(), FREE);
    let none = none.unwrap_err();
    assert!(
        none.retry_within <= Some(REST.into()),
        "failures at once are one"
    );
    assert!(none.reply.text.contains("a1 (127.0.0.1)"), "{}", none.reply);
    sources.works(first);
    let back = sources.choose(&policy, &router, "one", "there.test", &hosts(), FREE);
    assert_eq!(back.unwrap().name(), "a1");
}

#[tokio::test]
async fn what_failed_at_one_node_is_tried_at_the_next() {
    let (policy, sources) = (policy(), Sources::default());
    let router = router(&policy);
    let ip = policy.ip("a1").unwrap();
    sources.failed(ip, 0);
    sources
        .choose(&policy, &router, "one", "there.test", &hosts(), FREE)
        .unwrap();
    sources.pause(ip, 1);
    let paused = sources.choose(&policy, &router, "one", "there.test", &hosts(), FREE);
    assert!(paused.unwrap_err().retry_within <= Some(PAUSE.into()));
}

#[test]
fn rests_double_up_to_five_minutes() {
    let now = Instant::now();
    let mut resting = rest(None, 1, now);
    let mut seconds = vec![resting.lasts.as_secs()];
    for _ in 0..6 {
        resting = rest(Some(resting), 1, now);
        seconds.push(resting.lasts.as_secs());
    }
    assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300]);
}

#[tokio::test]
async fn an_ip_that_a_rule_stops_gives_way_to_others_and_the_last_one_says_why() {
    let (policy, sources) = (policy(), Sources::default());
    let router = router(&policy);
    let a1 = |ip: Option<&Ip>| {
        let is_stopped = ip.is_none_or(|ip| &*ip.name == "a1");
        is_stopped.then(|| {
            Restraint::Stopped(Stopped {
                left: DurationMs::from_secs(7200),
                text: "is suspended at yahoo".to_owned(),
            })
        })
    };
    let a1 = Restraints {
        rules: &a1,
        ..*FREE
    };
    for _ in 0..50 {
        let source = sources.choose(&policy, &router, "news", "yahoo", &hosts(), &a1);
        assert_eq!(source.unwrap().name(), "a2");
    }
    for (pool, words) in [
        ("one", "a1 (127.0.0.1) is suspended at yahoo"),
        ("default", "the node's own address is suspended at yahoo"),
    ] {
        let none = sources.choose(&policy, &router, pool, "yahoo", &hosts(), &a1);
        let none = none.unwrap_err();
        assert!(none.reply.text.contains(words), "{}", none.reply);
        assert_eq!(none.retry_within, Some(DurationMs::from_secs(7200)));
    }
}

#[tokio::test]
async fn an_ip_without_budget_gives_way_to_a_warm_one_or_says_when_there_is_more() {
    let (policy, sources) = (policy(), Sources::default());
    let router = router(&policy);
    let next_at = Some(UnixMs(4_000_000));
    let dry = |ip: &Ip| match &*ip.name {
        "a1" => Open {
            left: Left::Of(0),
            next_at,
        },
        _ => Open::WARM,
    };
    let dry = Restraints {
        open: &dry,
        ..*FREE
    };
    for pool in ["news", "new"] {
        let source = sources.choose(&policy, &router, pool, "yahoo", &hosts(), &dry);
        assert_eq!(source.unwrap().name(), "a2", "{pool}");
    }
    let none = sources.choose(&policy, &router, "one", "yahoo", &hosts(), &dry);
    let none = none.unwrap_err();
    let words = "a1 (127.0.0.1) is warming up and has no budget before";
    assert!(none.reply.text.contains(words), "{}", none.reply);
    assert_eq!(none.retry_within, Some(DurationMs(3_000_000)));
    let unstarted = |_: &Ip| Open {
        left: Left::None,
        next_at: None,
    };
    let unstarted = Restraints {
        open: &unstarted,
        ..*FREE
    };
    let none = sources.choose(&policy, &router, "one", "yahoo", &hosts(), &unstarted);
    let text = none.unwrap_err().reply.text;
    assert!(text.contains("nobody has started"), "{text}");
}
