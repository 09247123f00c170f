#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::id::mix;
use crate::lease::{LEASE, Lease};
use crate::time::DurationMs;

fn s(seconds: u64) -> DurationMs {
    DurationMs::from_secs(seconds)
}

fn want(key: &str, counts: Counted, limit: Limit) -> Want {
    Want {
        id: LimitId {
            scope: Scope::Site,
            key: key.into(),
            counts,
            nth: 0,
        },
        limit,
        is_inherited: true,
        gone_since: DurationMs(0),
    }
}

fn connections(key: &str, limit: u64) -> Want {
    want(key, Counted::Connections, Limit::Concurrency(limit))
}

fn messages(key: &str, count: u64, seconds: u64) -> Want {
    let rate = Rate::new(count, s(seconds), None).unwrap();
    want(key, Counted::Messages, Limit::Rate(rate))
}

fn held(want: &Want, until: Option<DurationMs>) -> Held {
    Held {
        limit: want.id.clone(),
        until,
    }
}

#[test]
fn the_limit_that_opens_last_is_named_and_nothing_is_taken() {
    let mut gates = Gates::new(100);
    let site = connections("a.test", 2);
    let wants = [
        site.clone(),
        messages("a.test", 1, 60),
        messages("b.test", 1, 10),
    ];
    let permit = gates.try_take(s(0), &wants).unwrap();
    gates.ended(s(0), permit);
    let error = gates.try_take(s(1), &wants).unwrap_err();
    assert_eq!(error, held(&wants[1], Some(DurationMs(60_001))));
    let first = gates.try_take(s(1), std::slice::from_ref(&site)).unwrap();
    let second = gates.try_take(s(1), std::slice::from_ref(&site)).unwrap();
    let error = gates.try_take(s(1), &wants).unwrap_err();
    assert_eq!(error, held(&site, None), "not before a connection ends");
    gates.ended(s(2), first);
    gates.cancel(second);
    assert!(gates.try_take(s(61), &wants).is_ok());
}

#[test]
fn a_limit_that_is_named_twice_is_taken_twice_or_not_at_all() {
    let mut gates = Gates::new(100);
    let one = connections("a.test", 1);
    let twice = [messages("a.test", 5, 60), one.clone(), one.clone()];
    assert_eq!(gates.try_take(s(0), &twice).unwrap_err(), held(&one, None));
    let permit = gates.try_take(s(0), &twice[..2]).unwrap();
    gates.cancel(permit);
    gates.forget_idle(s(0));
    assert!(gates.is_empty(), "nothing leaked");
}

#[test]
fn what_counts_attempts_ends_when_a_connection_is_made() {
    let mut gates = Gates::new(100);
    let open = connections("a.test", 1);
    let mut attempts = messages("a.test", 1, 10);
    attempts.id.counts = Counted::ConnectionAttempts;
    let mut permit = gates
        .try_take(s(0), &[open.clone(), attempts.clone()])
        .unwrap();
    gates.opened(s(1), &mut permit);
    assert_eq!(
        (gates.counted(s(5), &open), gates.counted(s(5), &attempts)),
        (1, 1)
    );
    assert_eq!(
        (gates.counted(s(12), &open), gates.counted(s(12), &attempts)),
        (1, 0)
    );
    gates.ended(s(12), permit);
    assert_eq!(gates.counted(s(12), &open), 0);
}

#[test]
fn a_changed_limit_holds_at_once_and_what_is_out_counts_on() {
    let mut gates = Gates::new(100);
    for _ in 0..5 {
        let permit = gates.try_take(s(0), &[messages("a.test", 10, 60)]).unwrap();
        gates.ended(s(0), permit);
    }
    assert!(gates.try_take(s(1), &[messages("a.test", 5, 60)]).is_err());
    assert!(gates.try_take(s(1), &[messages("a.test", 6, 60)]).is_ok());
}

#[test]
fn a_site_that_comes_back_is_closed_for_what_another_sent_meanwhile() {
    let mut gates = Gates::new(100);
    let mut site = messages("a.test", 10, 60);
    let permit = gates
        .try_take(s(1000), std::slice::from_ref(&site))
        .unwrap();
    gates.ended(s(1000), permit);
    site.gone_since = s(1100);
    let error = gates
        .try_take(s(1101), std::slice::from_ref(&site))
        .unwrap_err();
    assert_eq!(error.until, Some(DurationMs(1_160_001)));
    gates.forget_idle(s(1160));
    assert_eq!(gates.len(), 1, "the predecessor counts");
    assert!(gates.try_take(s(1161), &[site]).is_ok());
}

#[test]
fn a_lowered_limit_climbs_back_and_is_remembered_meanwhile() {
    let mut gates = Gates::new(100);
    let site = messages("a.test", 100, 10);
    gates.lower(s(0), &site, 0, s(100)).unwrap();
    let error = gates
        .try_take(s(1), std::slice::from_ref(&site))
        .unwrap_err();
    assert_eq!(error.until, Some(s(100)), "when it begins to climb");
    gates.forget_idle(s(50));
    assert_eq!(gates.len(), 1);
    for (seconds, count) in [(50, 0), (100, 10), (125, 30), (200, 100)] {
        let Limit::Rate(rate) = gates.effective(s(seconds), &site) else {
            panic!("it was a rate");
        };
        assert_eq!(rate.count, count, "at {seconds}");
    }
    let mut taken = 0;
    while gates.try_take(s(125), std::slice::from_ref(&site)).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 30);
    let other = messages("b.test", 100, 10);
    gates.lower(s(0), &other, 0, s(100)).unwrap();
    gates.forget_idle(s(200));
    assert_eq!(gates.len(), 1, "the other one has climbed back");
    let slots = connections("a.test", 5);
    gates.lower(s(0), &slots, 1, s(100)).unwrap();
    assert_eq!(gates.effective(s(99), &slots), Limit::Concurrency(1));
    let granted = want("a.test", Counted::Messages, Limit::Granted);
    assert_eq!(gates.lower(s(0), &granted, 1, s(100)), Ok(()));
}

#[test]
fn limiters_in_use_are_bounded_and_idle_ones_make_room() {
    let mut gates = Gates::new(3);
    let sites: Vec<Want> = (0..5)
        .map(|n| messages(&format!("{n}.test"), 1, 10))
        .collect();
    for site in &sites[..3] {
        let permit = gates.try_take(s(0), std::slice::from_ref(site)).unwrap();
        gates.ended(s(0), permit);
    }
    let error = gates.try_take(s(1), &sites[2..4]).unwrap_err();
    assert_eq!(error, held(&sites[3], Some(s(2))));
    assert!(
        gates.try_take(s(1), &sites[..1]).is_err(),
        "known, and used up"
    );
    assert!(gates.try_take(s(11), &sites[2..4]).is_ok());
    assert_eq!(gates.len(), 2);
    assert!(
        gates.try_take(s(12), &sites).is_err(),
        "more than there may be"
    );
}

#[test]
fn granted_tokens_need_a_lease() {
    let mut gates = Gates::new(10);
    let granted = want("tenant", Counted::Messages, Limit::Granted);
    let wants = [granted.clone(), connections("a.test", 3)];
    assert_eq!(
        gates.try_take(s(0), &wants).unwrap_err(),
        held(&granted, None)
    );
    let purse = gates.purse(&granted.id).unwrap();
    let report = purse.report(2);
    purse.answered(PurseAnswer {
        purse: report.purse,
        granted: 2,
        settled: 0,
    });
    assert!(gates.try_take(s(0), &wants).is_err());
    gates.renew(Lease::granted(s(0), LEASE));
    let permit = gates.try_take(s(1), &wants).unwrap();
    gates.ended(s(1), permit);
    assert!(
        gates.try_take(s(9), &wants).is_err(),
        "the lease is about to end"
    );
    let (_, purse) = gates.purses().next().unwrap();
    assert_eq!((purse.hand(), purse.report(0).ended), (1, 1));
    gates.forget_idle(s(9));
    let purse = gates.purse(&granted.id).unwrap();
    purse.answered(PurseAnswer {
        purse: report.purse,
        granted: 2,
        settled: 2,
    });
    gates.forget_idle(s(9));
    assert!(gates.purse(&granted.id).is_none());
    assert!(gates.try_take(s(9), &wants).is_err());
    let again = gates.purse(&granted.id).unwrap().report(1);
    assert!(
        again.purse > report.purse,
        "a purse that was forgotten is another one"
    );
}

#[test]
fn limits_of_a_nodes_own_address_are_not_shared_with_its_site() {
    let mut gates = Gates::new(100);
    gates.begin_session(Lease::granted(s(0), LEASE));
    let from = |ip: &str| {
        let one = connections(&format!("{ip} a.test"), 2);
        let scope = Scope::SiteFromIp;
        let id = LimitId { scope, ..one.id };
        Want { id, ..one }
    };
    let (own, named) = (from(""), from("ip-1"));
    let permit = gates.try_take(s(0), &[own.clone(), named.clone()]);
    gates.widen(s(0), &BTreeSet::from(["a.test".to_owned()]));
    let is_shared = |gates: &Gates, want: &Want| gates.has_stake(&want.id);
    assert!(is_shared(&gates, &named) && !is_shared(&gates, &own));
    gates.ended(s(1), permit.unwrap());
}

#[test]
fn connections_that_a_next_owner_does_not_know_of_are_named() {
    let mut gates = Gates::new(100);
    gates.begin_session(Lease::granted(s(0), LEASE));
    let of_nobody = Want {
        is_inherited: false,
        ..connections("usual.test", 2)
    };
    let wants = [connections("a.test", 2), of_nobody];
    let left = |gates: &Gates| gates.left_open(|_| true).into_iter().collect::<Vec<_>>();
    assert!(left(&gates).is_empty());
    let permit = gates.try_take(s(0), &wants).unwrap();
    assert_eq!(left(&gates), ["a.test"]);
    assert!(gates.left_open(|site| site == "b.test").is_empty());
    gates.widen(s(0), &gates.left_open(|_| true));
    assert_eq!(left(&gates), ["a.test"], "nobody has heard of it");
    let reports = gates.reports(s(0), |_| 0);
    gates.told_wide(&reports);
    let share = ShareAnswer { version: 1, may: 2 };
    gates.answered(s(0), &reports, &[LimitAnswer::Share(share)]);
    assert!(left(&gates).is_empty());
    gates.ended(s(1), permit);
}

#[test]
fn what_was_granted_ends_with_its_session() {
    let mut gates = Gates::new(10);
    let granted = [want("tenant", Counted::Messages, Limit::Granted)];
    gates.begin_session(Lease::granted(s(0), LEASE));
    assert!(gates.try_take(s(0), &granted).is_err());
    let purse = gates.purse(&granted[0].id).unwrap();
    let first = purse.report(2).purse;
    purse.answered(PurseAnswer {
        purse: first,
        granted: 2,
        settled: 0,
    });
    let permit = gates.try_take(s(1), &granted).unwrap();
    gates.begin_session(Lease::granted(s(2), LEASE));
    assert!(gates.try_take(s(2), &granted).is_err());
    gates.ended(s(3), permit);
    let report = gates.purse(&granted[0].id).unwrap().report(2);
    assert!(report.purse > first);
    assert_eq!((report.ended, report.seen), (0, 0));
}

proptest! {
    /// Whatever is taken, ended and cancelled: in the end nothing is out, and no limit was exceeded meanwhile.
    #[test]
    fn no_partial_take_leaks(seed: u64) {
        let mut gates = Gates::new(8);
        let mut draws = (0u64..).map(|n| mix(seed ^ mix(n)));
        let mut draw = |below: u64| draws.next().unwrap() % below;
        let all: Vec<Want> = (0..4)
            .map(|n| connections(&format!("{n}.test"), n + 1))
            .chain((0..4).map(|n| messages(&format!("{n}.test"), n + 1, 1)))
            .collect();
        let mut out = Vec::new();
        let mut now = DurationMs(0);
        for _ in 0..300 {
            now = DurationMs(now.0 + draw(100));
            let wants: Vec<Want> = all.iter().filter(|_| draw(3) == 0).cloned().collect();
            match draw(3) {
                0 if !out.is_empty() => gates.ended(now, out.swap_remove(0)),
                1 if !out.is_empty() => gates.cancel(out.swap_remove(0)),
                _ => out.extend(gates.try_take(now, &wants)),
            }
            for (n, want) in all.iter().enumerate() {
                prop_assert!(gates.counted(now, want) <= n as u64 % 4 + 1);
            }
        }
        for permit in out {
            gates.cancel(permit);
        }
        gates.forget_idle(DurationMs(now.0 + 2000));
        prop_assert!(gates.is_empty());
    }

    /// The destination cannot tell one owner of a site from the next, or from one that comes back.
    #[test]
    fn a_site_that_changes_hands_keeps_its_limit(count in 1u64..20, per in 1000u64..4000, seed: u64) {
        let mut draws = (0u64..).map(|n| mix(seed ^ mix(n)));
        let mut draw = |below: u64| draws.next().unwrap() % below;
        let mut owners = [Gates::new(8), Gates::new(8)];
        let mut site = messages("a.test", count, 1);
        site.limit = Limit::Rate(Rate::new(count, DurationMs(per), None).unwrap());
        let mut events = Vec::new();
        let mut now = 0;
        for turn in 0..10 {
            let gates = &mut owners[turn % 2];
            let until = now + draw(3 * per);
            while now < until {
                now += draw(200);
                let Ok(permit) = gates.try_take(DurationMs(now), std::slice::from_ref(&site)) else {
                    continue;
                };
                events.push(now + draw(100));
                now += 100;
                gates.ended(DurationMs(now), permit);
                gates.forget_idle(DurationMs(now));
            }
            site.gone_since = DurationMs(now);
        }
        prop_assert!(!events.is_empty());
        events.sort_unstable();
        for (first, more) in events.iter().zip(events.iter().skip(count as usize)) {
            prop_assert!(more - first >= per);
        }
    }
}
