use proptest::prelude::*;

use super::count::number;
use super::*;
use crate::rows::MemoryRows;
use crate::time::{DurationMs, UnixMs};
use crate::warmup::Order;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const START: u64 = 1_708_905_600_000;

pub(super) const NORMAL: Limits = Limits {
    connections: 20,
    rate: Some(Rate {
        count: 100,
        per: DurationMs(SECOND),
    }),
};

pub(super) fn order() -> Order {
    Order {
        who: "ann".to_owned(),
        why: "a listing is being dealt with".to_owned(),
    }
}

pub(super) fn rule(threshold: u32, action: Action) -> Rule {
    Rule {
        threshold,
        window: DurationMs(HOUR),
        action,
        scope: ScopeKind::IpSite,
        lasts: DurationMs(HOUR),
    }
}

pub(super) fn reply(rule: u16) -> Match {
    Match {
        provider: "yahoo".to_owned(),
        rule,
        ip: [192, 0, 2, 1].into(),
        site: "yahoo".to_owned(),
        tenant: "shop".to_owned(),
        pool: "main".to_owned(),
        reply: "421 4.7.0 [TSS04] deferred".to_owned(),
    }
}

pub(super) fn path() -> Path<'static> {
    Path {
        ip: [192, 0, 2, 1].into(),
        site: "yahoo",
        tenant: "shop",
        pool: "main",
    }
}

pub(super) struct World {
    pub(super) rows: MemoryRows,
    pub(super) rules: Rules,
}

impl World {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        Self {
            rows: MemoryRows::default(),
            rules: Rules::from([("yahoo".to_owned(), rules)]),
        }
    }

    pub(super) fn apply(&mut self, at: u64, command: &Command) -> Outcome {
        apply(&mut self.rows, UnixMs(at), &self.rules, command)
    }

    /// What happened.
    pub(super) fn hear(&mut self, at: u64, one: Match) -> Vec<What> {
        let outcome = self.apply(at, &Command::Matches(vec![one]));
        assert_eq!(outcome.response, Response::Done);
        outcome.events.iter().map(|event| event.what).collect()
    }

    pub(super) fn tick(&mut self, at: u64) -> Vec<What> {
        let events = self.apply(at, &Command::Tick).events;
        events.iter().map(|event| event.what).collect()
    }

    pub(super) fn limits(&self, at: u64) -> Limits {
        let active_actions = active_actions(&self.rows);
        active_actions.effect(&path(), UnixMs(at), NORMAL).limits
    }

    pub(super) fn suspended_until(&self, at: u64) -> Option<UnixMs> {
        let active_actions = active_actions(&self.rows);
        active_actions
            .effect(&path(), UnixMs(at), NORMAL)
            .suspended_until
    }
}

#[test]
fn the_fifth_match_in_any_hour_counts_once() {
    let mut world = World::new(vec![rule(5, Action::Suspend)]);
    // Ten in a row, but never five within an hour.
    let slow = (0..10).map(|n| START + n * 15 * MINUTE);
    for at in slow {
        assert_eq!(world.hear(at, reply(0)), [], "{at}");
    }
    // Within the hour before there are those of 0, 15, 30 and 45 minutes ago.
    let fifth = START + 9 * 15 * MINUTE + SECOND;
    let outcome = world.apply(fifth, &Command::Matches(vec![reply(0), reply(0)]));
    let [event] = &outcome.events[..] else {
        panic!("it comes into force once: {outcome:?}");
    };
    assert_eq!(event.what, What::Began);
    assert_eq!(event.why, "421 4.7.0 [TSS04] deferred");
    assert_eq!(event.until, UnixMs(fifth + HOUR));
    assert_eq!(world.suspended_until(fifth), Some(UnixMs(fifth + HOUR)));
    assert_eq!(number(&world.rows), 0, "what is in force is not counted");
}

#[test]
fn a_window_ends_when_its_time_has_passed_and_not_before() {
    for (last, expected) in [(HOUR - 1, vec![What::Began]), (HOUR, vec![])] {
        let mut world = World::new(vec![rule(2, Action::Suspend)]);
        world.hear(START, reply(0));
        assert_eq!(world.hear(START + last, reply(0)), expected, "{last}");
    }
}

#[test]
fn matches_are_counted_by_scope() {
    let of = |scope| Rule {
        scope,
        ..rule(2, Action::Suspend)
    };
    let other_ip = Match {
        ip: [192, 0, 2, 2].into(),
        ..reply(0)
    };
    let other_tenant = Match {
        tenant: "club".to_owned(),
        ..reply(0)
    };
    let other_pool = Match {
        pool: "side".to_owned(),
        ..reply(0)
    };
    let other_site = Match {
        site: "else".to_owned(),
        ..reply(0)
    };
    use ScopeKind::*;
    for (scope, second, counts) in [
        (IpSite, &other_ip, false),
        (IpSite, &other_tenant, true),
        (Tenant, &other_ip, true),
        (Tenant, &other_tenant, false),
        (Pool, &other_ip, true),
        (Pool, &other_pool, false),
        (Pool, &other_site, false),
    ] {
        let mut world = World::new(vec![of(scope)]);
        world.hear(START, reply(0));
        let began = world.hear(START, second.clone()) == [What::Began];
        assert_eq!(began, counts, "{scope:?} {second:?}");
    }
}

#[test]
fn matches_meanwhile_move_the_end_but_not_beyond_a_day() {
    let mut world = World::new(vec![rule(1, Action::Suspend)]);
    assert_eq!(world.hear(START, reply(0)), [What::Began]);
    assert_eq!(
        world.hear(START + 30 * SECOND, reply(0)),
        [],
        "not worth a change"
    );
    let half_hourly = (1..48).map(|n| START + n * HOUR / 2);
    for at in half_hourly {
        let expected = (START + 24 * HOUR).min(at + HOUR);
        let is_moved = world.hear(at, reply(0)) == [What::Moved];
        assert_eq!(is_moved, at <= START + 23 * HOUR, "{}", at - START);
        assert_eq!(world.suspended_until(at), Some(UnixMs(expected)));
    }
    assert_eq!(world.suspended_until(START + 24 * HOUR), None);
    // Whoever complains while it climbs back, has it begin again.
    let again = world.hear(START + 24 * HOUR, reply(0));
    assert_eq!(again, [What::Climbs(1), What::Began]);
    assert_eq!(
        world.suspended_until(START + 24 * HOUR),
        Some(UnixMs(START + 25 * HOUR))
    );
}

#[test]
fn the_strictest_of_all_applies() {
    let of_tenant = Rule {
        scope: ScopeKind::Tenant,
        lasts: DurationMs(2 * HOUR),
        ..rule(1, Action::Suspend)
    };
    let of_pool = Rule {
        scope: ScopeKind::Pool,
        ..rule(1, Action::Connections(4))
    };
    let rules = vec![
        rule(1, Action::Connections(7)),
        rule(1, Action::Suspend),
        of_tenant,
        of_pool,
        rule(1, Action::Bounce),
        rule(1, Action::RestIp),
    ];
    let mut world = World::new(rules);
    for number in 0..6 {
        world.hear(START, reply(number));
    }
    let active_actions = active_actions(&world.rows);
    let effect = active_actions.effect(&path(), UnixMs(START), NORMAL);
    assert_eq!(effect.suspended_until, Some(UnixMs(START + 2 * HOUR)));
    assert_eq!(effect.rests_until, Some(UnixMs(START + HOUR)));
    assert!(effect.bounces.is_some());
    assert_eq!(effect.limits.connections, 4);
    let elsewhere = Path {
        site: "else",
        ..path()
    };
    let effect = active_actions.effect(&elsewhere, UnixMs(START), NORMAL);
    assert_eq!(
        (effect.suspended_until, effect.bounces, effect.limits),
        (None, None, NORMAL)
    );
    assert_eq!(in_force(&world.rows, UnixMs(START)).len(), 6);
}

#[test]
fn an_operator_lifts_what_a_rule_did() {
    let mut world = World::new(vec![rule(1, Action::Suspend)]);
    world.hear(START, reply(0));
    let [one] = &in_force(&world.rows, UnixMs(START))[..] else {
        panic!("one is in force");
    };
    assert_eq!(
        (one.phase, one.until),
        (Phase::InForce, UnixMs(START + HOUR))
    );
    let Subject::Rule { at, action } = &one.subject else {
        panic!("a rule did it");
    };
    assert_eq!(*action, Action::Suspend);
    let lift = Command::Lift {
        at: at.clone(),
        order: order(),
    };
    let outcome = world.apply(START + MINUTE, &lift);
    assert_eq!(outcome.events[0].what, What::Lifted);
    assert_eq!(outcome.events[0].who.as_deref(), Some("ann"));
    assert_eq!(world.suspended_until(START + MINUTE), None);
    assert_eq!(world.limits(START + MINUTE), NORMAL);
    let again = world.apply(START + MINUTE, &lift);
    assert_eq!(again.response, Response::Refused(Refusal::NotInForce));
    assert_eq!(again.events, []);
}

#[test]
fn a_rule_that_was_changed_is_counted_anew() {
    let mut world = World::new(vec![rule(2, Action::Suspend)]);
    world.hear(START, reply(0));
    let changed = vec![rule(2, Action::Bounce)];
    world.rules.insert("yahoo".to_owned(), changed);
    assert_eq!(world.hear(START, reply(0)), []);
    assert_eq!(world.hear(START, reply(0)), [What::Began]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A rule comes into force exactly when the last so many matches lie within the window, counted by hand.
    #[test]
    fn thresholds_are_reached_as_counted_by_hand(
        threshold in 1u32..6,
        steps in prop::collection::vec(0u64..40 * MINUTE, 1..60),
    ) {
        let mut world = World::new(vec![rule(threshold, Action::Bounce)]);
        let mut at = START;
        let mut times: Vec<u64> = Vec::new();
        let mut in_force_until = 0;
        for step in steps {
            at += step;
            let began = world.hear(at, reply(0)).contains(&What::Began);
            if at < in_force_until {
                prop_assert!(!began);
                in_force_until = active_actions(&world.rows)
                    .effect(&path(), UnixMs(at), NORMAL)
                    .bounces
                    .map_or(0, |force| force.until.0);
                continue;
            }
            times.push(at);
            let recent = times.iter().filter(|time| at - **time < HOUR).count();
            prop_assert_eq!(began, recent >= threshold as usize);
            if began {
                times.clear();
                in_force_until = at + HOUR;
            }
            prop_assert!(number(&world.rows) <= 1);
        }
    }
}
