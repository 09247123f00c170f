#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use skein_model::Reply;
use skein_model::warmup::Left;
use skein_policy::{Ip, Policy, Source as Text};

use super::*;
use crate::automation::active_actions::{Restraint, Stopped};
use crate::source_ip::placed::{Missing, Unreached};
use crate::source_ip::pool_choice::{Candidate, LOOK_AGAIN, Usable};
use crate::source_ip::site_health::Blocked;
use crate::source_ip::unit_lease::Open;
use crate::source_ip::unusable::Unusable;

const IPS: usize = 6;
const SITE: &str = "there.test";
const FILED_SITE: &str = "filed.test";
const LABEL: &str = " pool news tenant shop";
const NOW: UnixMs = UnixMs(1_000_000);

fn ips() -> Vec<Arc<Ip>> {
    let one = |n| format!("---\nkind: ip\nname: a{n}\nbind: 192.0.2.{n}\nehlo: a{n}.here.test\n");
    let text: String = (1..=IPS).map(one).collect();
    let source = Text {
        name: "test",
        text: &text,
    };
    let policy = Policy::parse(&[source]).unwrap();
    let ips = (1..=IPS).map(|n| policy.ip(&format!("a{n}")).unwrap().clone());
    ips.collect()
}

fn reply(text: &str) -> Reply {
    Reply::ours((4, 4, 1), text)
}

/// Up to some minutes, in steps that are not whole milliseconds.
fn span() -> impl Strategy<Value = Duration> {
    (1_u64..300_000_000).prop_map(Duration::from_micros)
}

fn stopped() -> impl Strategy<Value = Stopped> {
    (1_u64..300_000).prop_map(|left| Stopped {
        left: DurationMs(left),
        text: "is stopped".to_owned(),
    })
}

fn blocked() -> impl Strategy<Value = Blocked> {
    span().prop_map(|left| Blocked {
        left,
        reply: reply("no answer"),
    })
}

fn unusable() -> impl Strategy<Value = Unusable> {
    let missing = span().prop_map(|again| {
        Unusable::Missing(Missing {
            why: Unreached::Unplaced,
            again,
        })
    });
    prop_oneof![
        Just(Unusable::Suspended),
        Just(Unusable::OtherFamily),
        Just(Unusable::Absent),
        missing,
        span().prop_map(Unusable::Resting),
        blocked().prop_map(Unusable::Blocked),
        stopped().prop_map(Unusable::Stopped),
    ]
}

fn usable() -> impl Strategy<Value = Usable> {
    let left = prop_oneof![
        Just(Left::Unlimited),
        Just(Left::None),
        (0_u64..3).prop_map(Left::Of),
    ];
    let next_at = option::of((900_000_u64..1_300_000).prop_map(UnixMs));
    let bounced = option::weighted(0.2, Just(reply("given up")));
    (left, next_at, bounced).prop_map(|(left, next_at, bounced)| Usable {
        open: Open { left, next_at },
        bounced,
    })
}

/// Some of the IPs, as each stands, in the pool and in the one that takes what it has no budget for.
fn members() -> impl Strategy<Value = PoolState> {
    let state = prop_oneof![usable().prop_map(Ok), unusable().prop_map(Err)];
    let each = (state, 0_u32..4, any::<bool>(), any::<bool>());
    let pick = |each: &[(Candidate, bool, bool)], is_in: fn(&(Candidate, bool, bool)) -> bool| {
        let picked = each.iter().filter(|one| is_in(one));
        picked.map(|(one, ..)| one.clone()).collect()
    };
    (any::<u64>(), vec(each, IPS)).prop_map(move |(turn, each)| {
        let each = ips().into_iter().zip(each);
        let each = each.map(|(ip, (state, weight, own, overflow))| {
            let candidate = Candidate { ip, weight, state };
            (candidate, own, overflow)
        });
        let each: Vec<_> = each.collect();
        PoolState::Members {
            turn,
            own: pick(&each, |(_, own, _)| *own),
            overflow: pick(&each, |(.., overflow)| *overflow),
        }
    })
}

fn pool() -> impl Strategy<Value = PoolState> {
    let restraint = prop_oneof![
        stopped().prop_map(Restraint::Stopped),
        Just(Restraint::Bounced(reply("given up"))),
    ];
    let node = (option::of(blocked()), option::of(restraint));
    let node = node.prop_map(|(blocked, restraint)| PoolState::NodeAddress { blocked, restraint });
    prop_oneof![1 => Just(PoolState::Unknown), 2 => node, 8 => members()]
}

fn problem() -> impl Strategy<Value = Problem<'static>> {
    let given_up = Suspended::GivenUp(reply("given up by an operator"));
    let suspended = prop_oneof![Just(Suspended::HeldBack), Just(given_up)];
    let suspended = option::weighted(0.2, suspended);
    let expires = (1_000_000_u64..2_000_000).prop_map(UnixMs);
    let awaited = (1_u8..=IPS as u8).prop_map(|n| Target {
        ip: [192, 0, 2, n].into(),
        provider: "there".to_owned(),
    });
    let all = (suspended, pool(), option::of(awaited), expires);
    all.prop_map(|(suspended, pool, awaited, expires)| Problem {
        suspended,
        filed_site: FILED_SITE,
        site: SITE,
        route_key: "mx.there.test",
        pool_name: "news",
        pool,
        awaited,
        now: NOW,
        expires,
    })
}

fn units() -> impl Strategy<Value = Units> {
    let target = Target {
        ip: [192, 0, 2, 1].into(),
        provider: "there".to_owned(),
    };
    prop_oneof![Just(Units::Ready), Just(Units::Awaited(target))]
}

/// Both steps, with what the lease gave.
fn placed(problem: &Problem<'_>, units: &Units) -> Placement {
    match problem.source() {
        Ok(source) => problem.place(source, units.clone(), LABEL),
        Err(ending) => Placement::Ended(ending),
    }
}

fn own(pool: &PoolState) -> &[Candidate] {
    match pool {
        PoolState::Members { own, .. } => own,
        PoolState::Unknown | PoolState::NodeAddress { .. } => &[],
    }
}

fn overflow(pool: &PoolState) -> &[Candidate] {
    match pool {
        PoolState::Members { overflow, .. } => overflow,
        PoolState::Unknown | PoolState::NodeAddress { .. } => &[],
    }
}

/// Whether a task may go from a member, as far as budgets are known.
fn has_budget(one: &Candidate) -> bool {
    let left = one.state.as_ref().ok().map(|usable| usable.open.left);
    one.weight > 0 && matches!(left, Some(Left::Unlimited | Left::Of(1..)))
}

fn is_warm(one: &Candidate) -> bool {
    let left = one.state.as_ref().ok().map(|usable| usable.open.left);
    one.weight > 0 && left == Some(Left::Unlimited)
}

/// The source is one that mail to the site may go from.
fn check_source(problem: &Problem<'_>, source: &Source) {
    let Some(ip) = &source.0 else {
        let is_free = matches!(
            problem.pool,
            PoolState::NodeAddress {
                blocked: None,
                restraint: None
            }
        );
        assert!(is_free, "{:?}", problem.pool);
        return;
    };
    let is_it = |one: &&Candidate| one.ip == *ip;
    let own = own(&problem.pool).iter().find(is_it);
    let member = own.or_else(|| overflow(&problem.pool).iter().find(is_it));
    let member = member.expect("a member of the pool, or of its overflow pool");
    let usable = member.state.as_ref().expect("it can be used");
    assert!(usable.bounced.is_none());
    match own {
        Some(own) => assert!(has_budget(own)),
        None => assert!(is_warm(member), "the overflow pool has only warm IPs"),
    }
}

/// How soon a member may be used again, if that is known.
fn again(one: &Candidate) -> Option<Duration> {
    match &one.state {
        Err(Unusable::Resting(left)) => Some(*left),
        Err(Unusable::Missing(missing)) => Some(missing.again),
        Err(Unusable::Stopped(stopped)) => Some(stopped.left.into()),
        Ok(usable) if usable.open.left == Left::Of(0) => {
            let next = usable.open.next_at?;
            Some(next.since(NOW).max(DurationMs(1)).into())
        }
        _ => None,
    }
}

fn blocked_for(one: &Candidate) -> Option<Duration> {
    match &one.state {
        Err(Unusable::Blocked(blocked)) => Some(blocked.left),
        _ => None,
    }
}

/// A task without a source comes again when one may be back, and its queue is left alone only where the site is.
fn check_deferral(problem: &Problem<'_>, attempt: &Attempt) {
    assert_eq!(attempt.retry_within.is_none(), attempt.away_for.is_some());
    assert_eq!(attempt.away_from.is_some(), attempt.away_for.is_some());
    match &problem.pool {
        PoolState::Unknown => assert_eq!(attempt.retry_within, Some(LOOK_AGAIN.into())),
        PoolState::NodeAddress { blocked, restraint } => match (blocked, restraint) {
            (Some(blocked), _) => {
                let left = DurationMs::from(blocked.left).max(DurationMs(1));
                assert_eq!(attempt.away_for, Some(left));
                assert_eq!(attempt.away_from.as_deref(), Some(""));
            }
            (None, Some(Restraint::Stopped(stopped))) => {
                assert_eq!(attempt.retry_within, Some(stopped.left));
            }
            other => panic!("the node's own address can be used: {other:?}"),
        },
        PoolState::Members { own, overflow, .. } => {
            assert!(!own.iter().any(has_budget), "{own:?}");
            let may_overflow = own.iter().any(|one| one.state.is_ok() && one.weight > 0);
            assert!(!may_overflow || !overflow.iter().any(is_warm));
            let within = own.iter().filter_map(again).min();
            let blocked = own.iter().filter_map(blocked_for).min();
            match blocked {
                None => {
                    let within = within.unwrap_or(LOOK_AGAIN);
                    assert_eq!(attempt.retry_within, Some(within.into()));
                }
                Some(left) => {
                    let left = within.map_or(left, |within| left.min(within));
                    let left = DurationMs::from(left).max(DurationMs(1));
                    assert_eq!(attempt.away_for, Some(left));
                    let from = attempt.away_from.as_deref();
                    let is_blocked =
                        |one: &Candidate| from == Some(&one.ip.name) && blocked_for(one) == blocked;
                    assert!(own.iter().any(is_blocked), "{from:?} {own:?}");
                }
            }
        }
    }
}

/// Only a bounce by rule or by an operator fails a task, and then with its reply.
fn check_failure(problem: &Problem<'_>, attempt: &Attempt, given: &Reply) {
    let site = match problem.suspended {
        Some(_) => FILED_SITE,
        None => SITE,
    };
    let bare = Attempt {
        site: site.to_owned(),
        ..Attempt::default()
    };
    assert_eq!(*attempt, bare);
    if let Some(suspended) = &problem.suspended {
        assert_eq!(*suspended, Suspended::GivenUp(given.clone()));
        return;
    }
    let of_node = match &problem.pool {
        PoolState::NodeAddress { restraint, .. } => {
            *restraint == Some(Restraint::Bounced(given.clone()))
        }
        _ => false,
    };
    let is_bouncing = |one: &Candidate| {
        let bounced = one.state.as_ref().ok().map(|usable| &usable.bounced);
        has_budget(one) && bounced == Some(&Some(given.clone()))
    };
    let mut members = own(&problem.pool).iter().chain(overflow(&problem.pool));
    assert!(of_node || members.any(is_bouncing), "{:?}", problem.pool);
}

proptest! {
    #[test]
    fn a_task_has_the_place_that_its_problem_calls_for(problem in problem(), units in units()) {
        let placement = placed(&problem, &units);
        prop_assert_eq!(&placement, &placed(&problem, &units), "the same problem, the same place");
        let is_held_back = problem.suspended == Some(Suspended::HeldBack);
        prop_assert_eq!(is_held_back, placement == Placement::Ended(Ending::GivenBack));
        match placement {
            Placement::Ended(Ending::GivenBack) => {}
            Placement::Ended(Ending::Settled { attempt, verdict, reply }) => {
                match verdict {
                    Verdict::Failed => check_failure(&problem, &attempt, &reply),
                    Verdict::Deferred => {
                        prop_assert!(problem.suspended.is_none());
                        prop_assert_eq!(&attempt.site, SITE);
                        check_deferral(&problem, &attempt);
                    }
                    other => prop_assert!(false, "no attempt comes to {other:?}"),
                }
            }
            Placement::Parked(target) => {
                prop_assert!(problem.suspended.is_none());
                prop_assert_eq!(units, Units::Awaited(target));
                check_source(&problem, &problem.source().unwrap());
            }
            Placement::Queued { key, source } => {
                prop_assert!(problem.suspended.is_none());
                prop_assert_eq!(units, Units::Ready);
                check_source(&problem, &source);
                let expected = match source.name() {
                    "" => format!("mx.there.test{LABEL}"),
                    ip => format!("mx.there.test from {ip}{LABEL}"),
                };
                prop_assert_eq!(key, expected);
            }
        }
    }

    /// What can go from somewhere is neither deferred nor does its site count as away.
    #[test]
    fn a_task_with_a_free_ip_goes(mut problem in problem()) {
        problem.suspended = None;
        let is_free = |one: &Candidate| has_budget(one) && matches!(&one.state, Ok(usable) if usable.bounced.is_none());
        let members = own(&problem.pool);
        let all_free = members.iter().any(is_free) && members.iter().all(|one| is_free(one) || !has_budget(one));
        if all_free {
            let placement = placed(&problem, &Units::Ready);
            let is_queued = matches!(placement, Placement::Queued { .. });
            prop_assert!(is_queued, "{placement:?}");
        }
    }

    /// They were asked for on its behalf, and another task may never come.
    #[test]
    fn units_that_a_task_has_waited_for_are_spent_by_it(mut problem in problem()) {
        problem.suspended = None;
        let awaited = problem.awaited.as_ref().map(|target| target.ip);
        let mut members = own(&problem.pool).iter();
        let member = members.find(|one| Some(one.ip.public) == awaited && one.weight > 0);
        let Some(Candidate { ip, state: Ok(usable), .. }) = member else {
            return Ok(());
        };
        if matches!(usable.open.left, Left::Of(1..)) && usable.bounced.is_none() {
            let source = problem.source().unwrap();
            prop_assert_eq!(source.0.as_ref(), Some(ip));
        }
    }
}
