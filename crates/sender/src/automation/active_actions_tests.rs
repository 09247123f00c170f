#![expect(clippy::unwrap_used, reason = "tests")]
use skein_model::automation::{
    Command, Match, MatchCount, Rule, Rules, ScopeKind, active_actions, commit,
};
use skein_model::rows::MemoryRows;
use skein_policy::Source;

use super::*;

impl ActionsHere {
    fn stopped(&self, ip: Option<&Ip>, going: Going<'_>) -> Option<Stopped> {
        match self.restraint(ip, going)? {
            Restraint::Stopped(stopped) => Some(stopped),
            Restraint::Bounced(_) => None,
        }
    }

    fn bounced(&self, ip: Option<&Ip>, going: Going<'_>) -> Option<Reply> {
        match self.restraint(ip, going)? {
            Restraint::Bounced(reply) => Some(reply),
            Restraint::Stopped(_) => None,
        }
    }
}

const POLICY: &str = "
kind: ip
name: a1
bind: 10.0.0.1
public: 192.0.2.1
ehlo: a1.here.test
---
kind: provider
name: there
mx: [.there.test]
per_ip: {connections: 10, message_rate: 100/s}
";
const GOING: Going<'_> = Going {
    site: "there",
    tenant: "shop",
    pool: "main",
};

fn policy() -> Arc<Policy> {
    let source = Source {
        name: "test",
        text: POLICY,
    };
    Arc::new(Policy::parse(&[source]).unwrap())
}

fn path<'a>(site: &'a str, tenant: &'a str) -> EgressPath<'a> {
    EgressPath {
        pool: "main",
        ip: "a1",
        site,
        tenant,
        is_named: false,
    }
}

/// What is in force after one reply of mail from the IP.
fn in_force(action: Action, scope: ScopeKind) -> ActionsHere {
    let hour = DurationMs::from_secs(3600);
    of_address([192, 0, 2, 1].into(), action, scope, hour, DurationMs(0))
}

/// What is in force, or climbs back, so long after one reply of mail from an address.
fn of_address(
    ip: IpAddr,
    action: Action,
    scope: ScopeKind,
    lasts: DurationMs,
    ago: DurationMs,
) -> ActionsHere {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(since.unwrap().as_millis()).unwrap();
    let now = UnixMs(now - ago.0);
    let mut rows = MemoryRows::default();
    let rule = Rule {
        threshold: 1,
        window: DurationMs::from_secs(60),
        action,
        scope,
        lasts,
    };
    automation::set_rules(&mut rows, &Rules::from([("there".to_owned(), vec![rule])]));
    let matched = Match {
        provider: "there".to_owned(),
        rule: 0,
        ip,
        site: "there".to_owned(),
        tenant: "shop".to_owned(),
        pool: "main".to_owned(),
        reply: "421 4.7.0 too much".to_owned(),
    };
    let told = vec![MatchCount { matched, count: 1 }];
    commit(&mut rows, now, &Command::MatchCount(told));
    let known = KnownActions::of(1, active_actions(&rows));
    let (told, known) = watch::channel(Arc::new(known));
    drop(told);
    ActionsHere::new(known)
}

#[test]
fn an_ip_is_stopped_where_it_is_suspended_and_rests_everywhere() {
    let policy = policy();
    let ip = policy.ip("a1").map(Arc::as_ref);
    let elsewhere = Going {
        site: "elsewhere",
        ..GOING
    };
    let suspended = in_force(Action::Suspend, ScopeKind::IpSite);
    let stopped = suspended.stopped(ip, GOING).unwrap();
    assert!(stopped.text.contains("421 4.7.0 too much"), "{stopped:?}");
    assert!(stopped.left > DurationMs::from_secs(3500));
    assert_eq!(suspended.stopped(ip, elsewhere), None);
    assert_eq!(suspended.stopped(None, GOING), None, "another address");
    let resting = in_force(Action::RestIp, ScopeKind::IpSite);
    assert!(resting.stopped(ip, elsewhere).is_some());
    let of_tenant = in_force(Action::Suspend, ScopeKind::Tenant);
    assert!(of_tenant.stopped(None, GOING).is_some());
    let other = Going {
        tenant: "other",
        ..GOING
    };
    assert_eq!(of_tenant.stopped(ip, other), None);
}

#[test]
fn mail_that_is_given_up_fails_with_the_reply_that_it_is_for() {
    let bouncing = in_force(Action::Bounce, ScopeKind::Tenant);
    let reply = bouncing.bounced(None, GOING).unwrap();
    assert_eq!(reply.status(), (5, 7, 1));
    assert!(reply.text.contains("421 4.7.0 too much"), "{reply}");
    let suspended = in_force(Action::Suspend, ScopeKind::Tenant);
    assert_eq!(suspended.bounced(None, GOING), None);
}

#[test]
fn lowered_limits_take_the_place_of_those_that_count_the_same() {
    let policy = policy();
    let usual = Arc::new(PathPolicy::of(&policy, path("there", "shop")));
    let one = in_force(Action::Connections(1), ScopeKind::IpSite);
    let lowered = one.lowered(usual.clone(), &policy, path("there", "shop"));
    assert_eq!(lowered.connections_max(), Some(1));
    assert_eq!(
        lowered.connect.of(false, None).len(),
        usual.connect.of(false, None).len()
    );
    assert_eq!(lowered.message, usual.message);
    assert_eq!(lowered.label, "");
    let elsewhere = Arc::new(PathPolicy::of(&policy, path("elsewhere", "shop")));
    let same = one.lowered(elsewhere.clone(), &policy, path("elsewhere", "shop"));
    assert!(Arc::ptr_eq(&same, &elsewhere));

    let minute = DurationMs::from_secs(60);
    let slow = Action::Rate(Rate {
        count: 10,
        per: minute,
    });
    let slow = in_force(slow, ScopeKind::Tenant);
    let lowered = slow.lowered(usual.clone(), &policy, path("there", "shop"));
    let rate = lowered.lowest_message_rate().unwrap();
    assert_eq!((rate.count, rate.per), (10, minute));
    assert_eq!(lowered.label, " pool main tenant shop");
    let other = slow.lowered(usual.clone(), &policy, path("there", "other"));
    assert_eq!(other.message, usual.message);
    assert_eq!(other.label, "");
}

/// The climb of an own address went to 20 connections, whatever policy says, because nobody else has a part in its limits.
#[test]
fn what_climbs_back_ends_at_what_policy_says_from_any_address() {
    let policy = policy();
    let own = EgressPath {
        ip: "",
        ..path("there", "shop")
    };
    let of_pool = (path("there", "shop"), IpAddr::from([192, 0, 2, 1]));
    for (path, address) in [(own, OWN_ADDRESS), of_pool] {
        let usual = Arc::new(PathPolicy::of(&policy, path));
        assert_eq!(usual.connections_max(), Some(10), "{path:?}");
        let rate = usual.lowest_message_rate().map(|rate| rate.count);
        assert_eq!(rate, Some(100), "{path:?}");
        // Ten seconds in force, and then ten steps of a second.
        let climb = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10];
        for (second, expected) in (0..).zip(climb) {
            // In the middle of the second, so that it does not matter how fast the test is.
            let ago = DurationMs(10_500 + second * 1000);
            let lasts = DurationMs::from_secs(10);
            let active_actions =
                of_address(address, Action::Suspend, ScopeKind::IpSite, lasts, ago);
            let lowered = active_actions.lowered(usual.clone(), &policy, path);
            assert_eq!(
                lowered.connections_max(),
                Some(expected),
                "{path:?} {second}"
            );
        }
    }
}

#[test]
fn a_limit_is_never_raised() {
    let policy = policy();
    for ip in ["", "a1"] {
        let path = EgressPath {
            ip,
            ..path("there", "shop")
        };
        let usual = PathPolicy::of(&policy, path);
        let id = LimitId {
            scope: throttle::Scope::IpSite,
            key: format!("{ip} there").into(),
            counts: Counted::Connections,
            nth: 0,
        };
        for (to, expected) in [(1, 1), (9, 9), (10, 10), (11, 10), (1000, 10)] {
            let mut path_policy = usual.clone();
            path_policy
                .connect
                .lower(id.clone(), SharedLimit::Connections(to));
            assert_eq!(
                path_policy.connections_max(),
                Some(expected),
                "{ip:?} to {to}"
            );
        }
    }
}
