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

fn request(key: &str, counts: Counted, limit: Limit) -> LimitRequest {
    LimitRequest {
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

fn connections(key: &str, limit: u64) -> LimitRequest {
    request(key, Counted::Connections, Limit::Concurrency(limit))
}

fn messages(key: &str, count: u64, seconds: u64) -> LimitRequest {
    let rate = Rate::new(count, s(seconds), None).unwrap();
    request(key, Counted::Messages, Limit::Rate(rate))
}

/// A limit over a long window that several senders share: its tokens are granted.
fn granted() -> LimitRequest {
    let limit = SharedLimit::Rate(Rate::new(100, s(60), None).unwrap());
    let shared = Limit::Shared {
        limit,
        is_by_owner: false,
    };
    request("tenant", Counted::Messages, shared)
}

fn throttled(request: &LimitRequest, until: Option<DurationMs>) -> Throttled {
    Throttled {
        limit: request.id.clone(),
        until,
    }
}

#[test]
fn the_limit_that_opens_last_is_named_and_nothing_is_taken() {
    let mut limiters = LimiterSet::new(100);
    let site = connections("a.test", 2);
    let requests = [
        site.clone(),
        messages("a.test", 1, 60),
        messages("b.test", 1, 10),
    ];
    let permit = limiters.try_take(s(0), &requests).unwrap();
    limiters.ended(s(0), permit);
    let error = limiters.try_take(s(1), &requests).unwrap_err();
    assert_eq!(error, throttled(&requests[1], Some(DurationMs(60_001))));
    let first = limiters
        .try_take(s(1), std::slice::from_ref(&site))
        .unwrap();
    let second = limiters
        .try_take(s(1), std::slice::from_ref(&site))
        .unwrap();
    let error = limiters.try_take(s(1), &requests).unwrap_err();
    assert_eq!(
        error,
        throttled(&site, None),
        "not before a connection ends"
    );
    limiters.ended(s(2), first);
    limiters.cancel(second);
    assert!(limiters.try_take(s(61), &requests).is_ok());
}

#[test]
fn a_limit_that_is_named_twice_is_taken_twice_or_not_at_all() {
    let mut limiters = LimiterSet::new(100);
    let one = connections("a.test", 1);
    let twice = [messages("a.test", 5, 60), one.clone(), one.clone()];
    assert_eq!(
        limiters.try_take(s(0), &twice).unwrap_err(),
        throttled(&one, None)
    );
    let permit = limiters.try_take(s(0), &twice[..2]).unwrap();
    limiters.cancel(permit);
    limiters.forget_idle(s(0));
    assert!(limiters.is_empty(), "nothing leaked");
}

#[test]
fn what_counts_attempts_ends_when_a_connection_is_made() {
    let mut limiters = LimiterSet::new(100);
    let open = connections("a.test", 1);
    let mut attempts = messages("a.test", 1, 10);
    attempts.id.counts = Counted::ConnectionAttempts;
    let mut permit = limiters
        .try_take(s(0), &[open.clone(), attempts.clone()])
        .unwrap();
    limiters.opened(s(1), &mut permit);
    assert_eq!(
        (
            limiters.counted(s(5), &open),
            limiters.counted(s(5), &attempts)
        ),
        (1, 1)
    );
    assert_eq!(
        (
            limiters.counted(s(12), &open),
            limiters.counted(s(12), &attempts)
        ),
        (1, 0)
    );
    limiters.ended(s(12), permit);
    assert_eq!(limiters.counted(s(12), &open), 0);
}

#[test]
fn a_changed_limit_holds_at_once_and_what_is_out_counts_on() {
    let mut limiters = LimiterSet::new(100);
    for _ in 0..5 {
        let permit = limiters
            .try_take(s(0), &[messages("a.test", 10, 60)])
            .unwrap();
        limiters.ended(s(0), permit);
    }
    assert!(
        limiters
            .try_take(s(1), &[messages("a.test", 5, 60)])
            .is_err()
    );
    assert!(
        limiters
            .try_take(s(1), &[messages("a.test", 6, 60)])
            .is_ok()
    );
}

#[test]
fn a_site_that_comes_back_is_closed_for_what_another_sent_meanwhile() {
    let mut limiters = LimiterSet::new(100);
    let mut site = messages("a.test", 10, 60);
    let permit = limiters
        .try_take(s(1000), std::slice::from_ref(&site))
        .unwrap();
    limiters.ended(s(1000), permit);
    site.gone_since = s(1100);
    let error = limiters
        .try_take(s(1101), std::slice::from_ref(&site))
        .unwrap_err();
    assert_eq!(error.until, Some(DurationMs(1_160_001)));
    limiters.forget_idle(s(1160));
    assert_eq!(limiters.len(), 1, "the predecessor counts");
    assert!(limiters.try_take(s(1161), &[site]).is_ok());
}

#[test]
fn limiters_in_use_are_bounded_and_idle_ones_make_room() {
    let mut limiters = LimiterSet::new(3);
    let sites: Vec<LimitRequest> = (0..5)
        .map(|n| messages(&format!("{n}.test"), 1, 10))
        .collect();
    for site in &sites[..3] {
        let permit = limiters.try_take(s(0), std::slice::from_ref(site)).unwrap();
        limiters.ended(s(0), permit);
    }
    let error = limiters.try_take(s(1), &sites[2..4]).unwrap_err();
    assert_eq!(error, throttled(&sites[3], Some(s(2))));
    assert!(
        limiters.try_take(s(1), &sites[..1]).is_err(),
        "known, and used up"
    );
    assert!(limiters.try_take(s(11), &sites[2..4]).is_ok());
    assert_eq!(limiters.len(), 2);
    assert!(
        limiters.try_take(s(12), &sites).is_err(),
        "more than there may be"
    );
}

#[test]
fn granted_tokens_need_a_lease() {
    let mut limiters = LimiterSet::new(10);
    let granted = granted();
    let requests = [granted.clone(), connections("a.test", 3)];
    assert_eq!(
        limiters.try_take(s(0), &requests).unwrap_err(),
        throttled(&granted, None)
    );
    let token_lease = limiters.token_lease(&granted.id).unwrap();
    let report = token_lease.report(2);
    token_lease.answered(TokenLeaseAnswer {
        token_lease: report.token_lease,
        granted: 2,
        accounted: 0,
    });
    assert!(limiters.try_take(s(0), &requests).is_err());
    limiters.renew(Lease::granted(s(0), LEASE));
    let permit = limiters.try_take(s(1), &requests).unwrap();
    limiters.ended(s(1), permit);
    assert!(
        limiters.try_take(s(9), &requests).is_err(),
        "the lease is about to end"
    );
    let (_, token_lease) = limiters.token_leases().next().unwrap();
    assert_eq!((token_lease.unused(), token_lease.report(0).ended), (1, 1));
}

#[test]
fn limits_of_a_nodes_own_address_are_not_shared_with_its_site() {
    let mut limiters = LimiterSet::new(100);
    limiters.begin_session(Lease::granted(s(0), LEASE));
    let from = |ip: &str| {
        let one = connections(&format!("{ip} a.test"), 2);
        let scope = Scope::IpSite;
        let id = LimitId { scope, ..one.id };
        LimitRequest { id, ..one }
    };
    let (own, named) = (from(""), from("ip-1"));
    let permit = limiters.try_take(s(0), &[own.clone(), named.clone()]);
    limiters.share_sites(s(0), &BTreeSet::from(["a.test".to_owned()]));
    let is_shared =
        |limiters: &LimiterSet, request: &LimitRequest| limiters.has_allocation(&request.id);
    assert!(is_shared(&limiters, &named) && !is_shared(&limiters, &own));
    limiters.ended(s(1), permit.unwrap());
}

#[test]
fn connections_that_a_next_owner_does_not_know_of_are_named() {
    let mut limiters = LimiterSet::new(100);
    limiters.begin_session(Lease::granted(s(0), LEASE));
    let of_nobody = LimitRequest {
        is_inherited: false,
        ..connections("usual.test", 2)
    };
    let requests = [connections("a.test", 2), of_nobody];
    let left = |limiters: &LimiterSet| limiters.left_open(|_| true).into_iter().collect::<Vec<_>>();
    assert!(left(&limiters).is_empty());
    let permit = limiters.try_take(s(0), &requests).unwrap();
    assert_eq!(left(&limiters), ["a.test"]);
    assert!(limiters.left_open(|site| site == "b.test").is_empty());
    limiters.share_sites(s(0), &limiters.left_open(|_| true));
    assert_eq!(left(&limiters), ["a.test"], "nobody has heard of it");
    let reports = limiters.reports(s(0), |_| 0);
    limiters.told_shared(&reports);
    let share = ShareAnswer { version: 1, may: 2 };
    limiters.answered(s(0), &reports, &[LimitAnswer::Share(share)]);
    assert!(left(&limiters).is_empty());
    limiters.ended(s(1), permit);
}

#[test]
fn what_was_granted_ends_with_its_session() {
    let mut limiters = LimiterSet::new(10);
    let granted = [granted()];
    limiters.begin_session(Lease::granted(s(0), LEASE));
    assert!(limiters.try_take(s(0), &granted).is_err());
    let token_lease = limiters.token_lease(&granted[0].id).unwrap();
    let first = token_lease.report(2).token_lease;
    token_lease.answered(TokenLeaseAnswer {
        token_lease: first,
        granted: 2,
        accounted: 0,
    });
    let permit = limiters.try_take(s(1), &granted).unwrap();
    limiters.begin_session(Lease::granted(s(2), LEASE));
    assert!(limiters.try_take(s(2), &granted).is_err());
    limiters.ended(s(3), permit);
    let report = limiters.token_lease(&granted[0].id).unwrap().report(2);
    assert!(report.token_lease > first);
    assert_eq!((report.ended, report.seen), (0, 0));
}

proptest! {
    /// Whatever is taken, ended and cancelled: in the end nothing is out, and no limit was exceeded meanwhile.
    #[test]
    fn no_partial_take_leaks(seed: u64) {
        let mut limiters = LimiterSet::new(8);
        let mut draws = (0u64..).map(|n| mix(seed ^ mix(n)));
        let mut draw = |below: u64| draws.next().unwrap() % below;
        let all: Vec<LimitRequest> = (0..4)
            .map(|n| connections(&format!("{n}.test"), n + 1))
            .chain((0..4).map(|n| messages(&format!("{n}.test"), n + 1, 1)))
            .collect();
        let mut out = Vec::new();
        let mut now = DurationMs(0);
        for _ in 0..300 {
            now = DurationMs(now.0 + draw(100));
            let requests: Vec<LimitRequest> = all.iter().filter(|_| draw(3) == 0).cloned().collect();
            match draw(3) {
                0 if !out.is_empty() => limiters.ended(now, out.swap_remove(0)),
                1 if !out.is_empty() => limiters.cancel(out.swap_remove(0)),
                _ => out.extend(limiters.try_take(now, &requests)),
            }
            for (n, request) in all.iter().enumerate() {
                prop_assert!(limiters.counted(now, request) <= n as u64 % 4 + 1);
            }
        }
        for permit in out {
            limiters.cancel(permit);
        }
        limiters.forget_idle(DurationMs(now.0 + 2000));
        prop_assert!(limiters.is_empty());
    }

    /// The destination cannot tell one owner of a site from the next, or from one that comes back.
    #[test]
    fn a_site_that_changes_hands_keeps_its_limit(count in 1u64..20, per in 1000u64..4000, seed: u64) {
        let mut draws = (0u64..).map(|n| mix(seed ^ mix(n)));
        let mut draw = |below: u64| draws.next().unwrap() % below;
        let mut owners = [LimiterSet::new(8), LimiterSet::new(8)];
        let mut site = messages("a.test", count, 1);
        site.limit = Limit::Rate(Rate::new(count, DurationMs(per), None).unwrap());
        let mut events = Vec::new();
        let mut now = 0;
        for turn in 0..10 {
            let limiters = &mut owners[turn % 2];
            let until = now + draw(3 * per);
            while now < until {
                now += draw(200);
                let Ok(permit) = limiters.try_take(DurationMs(now), std::slice::from_ref(&site)) else {
                    continue;
                };
                events.push(now + draw(100));
                now += 100;
                limiters.ended(DurationMs(now), permit);
                limiters.forget_idle(DurationMs(now));
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
