use proptest::prelude::*;

use super::count::{COUNTS_MAX, number};
use super::*;
use crate::rows::MemoryRows;
use crate::time::{DurationMs, UnixMs};
use crate::warmup::Order;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const START: u64 = 1_708_905_600_000;

const NORMAL: Limits = Limits {
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

fn rule(threshold: u32, action: Action) -> Rule {
    Rule {
        threshold,
        window: DurationMs(HOUR),
        action,
        scope: ScopeKind::IpSite,
        lasts: DurationMs(HOUR),
    }
}

fn reply(rule: u16) -> Match {
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

fn path() -> Path<'static> {
    Path {
        ip: [192, 0, 2, 1].into(),
        site: "yahoo",
        tenant: "shop",
        pool: "main",
    }
}

struct World {
    rows: MemoryRows,
    rules: Rules,
}

impl World {
    fn new(rules: Vec<Rule>) -> Self {
        Self {
            rows: MemoryRows::default(),
            rules: Rules::from([("yahoo".to_owned(), rules)]),
        }
    }

    fn apply(&mut self, at: u64, command: &Command) -> Outcome {
        apply(&mut self.rows, UnixMs(at), &self.rules, command)
    }

    /// What happened.
    fn hear(&mut self, at: u64, one: Match) -> Vec<What> {
        let outcome = self.apply(at, &Command::Matches(vec![one]));
        assert_eq!(outcome.response, Response::Done);
        outcome.events.iter().map(|event| event.what).collect()
    }

    fn tick(&mut self, at: u64) -> Vec<What> {
        let events = self.apply(at, &Command::Tick).events;
        events.iter().map(|event| event.what).collect()
    }

    fn limits(&self, at: u64) -> Limits {
        let forces = forces(&self.rows);
        forces.effect(&path(), UnixMs(at), NORMAL).limits
    }

    fn suspended_until(&self, at: u64) -> Option<UnixMs> {
        let forces = forces(&self.rows);
        forces.effect(&path(), UnixMs(at), NORMAL).suspended_until
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
fn limits_climb_back_in_ten_steps() {
    let per_minute = |count| {
        let per = DurationMs(MINUTE);
        Some(Rate { count, per })
    };
    let all_rate = NORMAL.rate;
    // By tenths of the hour after the end, from the last moment before it on.
    let connections = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20, 20];
    let suspended = [20, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20];
    let rates = [
        10, 609, 1208, 1807, 2406, 3005, 3604, 4203, 4802, 5401, 6000,
    ];
    let mut of_rate: Vec<Limits> = rates
        .map(|count| Limits {
            rate: per_minute(count),
            ..NORMAL
        })
        .into();
    // The last step is the normal limit, in whatever words.
    of_rate[10] = NORMAL;
    of_rate.push(NORMAL);
    let of_connections = |counts: [u32; 12]| -> Vec<Limits> {
        let rate = all_rate;
        counts
            .map(|connections| Limits { connections, rate })
            .into()
    };
    let low = Rate {
        count: 10,
        per: DurationMs(MINUTE),
    };
    for (action, expected) in [
        (Action::Connections(1), of_connections(connections)),
        (Action::Suspend, of_connections(suspended)),
        (Action::RestIp, of_connections(suspended)),
        (Action::Bounce, vec![NORMAL; 12]),
        (Action::Rate(low), of_rate),
    ] {
        let mut world = World::new(vec![rule(1, action)]);
        world.hear(START, reply(0));
        for (n, expected) in (0..).zip(expected) {
            let at = START + HOUR + n * HOUR / 10 - HOUR / 10;
            let at = if n == 0 { START + HOUR - 1 } else { at };
            assert_eq!(world.limits(at), expected, "{action} {n}");
        }
    }
}

#[test]
fn each_step_is_at_least_one_and_needs_no_normal_rate() {
    let low = Rate {
        count: 2,
        per: DurationMs(MINUTE),
    };
    let mut world = World::new(vec![
        rule(1, Action::Connections(1)),
        rule(1, Action::Rate(low)),
    ]);
    world.hear(START, reply(0));
    world.hear(START, reply(1));
    let forces = forces(&world.rows);
    let few = Limits {
        connections: 3,
        rate: None,
    };
    for (minutes, connections, count) in [
        (59, 1, Some(2)),
        (60, 2, Some(4)),
        (66, 3, Some(6)),
        (114, 3, Some(22)),
        (120, 3, None),
    ] {
        let effect = forces.effect(&path(), UnixMs(START + minutes * MINUTE), few);
        let rate = count.map(|count| Rate { count, ..low });
        assert_eq!(effect.limits, Limits { connections, rate }, "{minutes}");
    }
}

#[test]
fn time_alone_tells_every_step_once() {
    let mut world = World::new(vec![
        rule(1, Action::Connections(1)),
        rule(1, Action::Bounce),
    ]);
    world.hear(START, reply(0));
    world.hear(START, reply(1));
    let mut told = Vec::new();
    while let Some(due) = next_due(&world.rows) {
        assert_eq!(world.tick(due.0 - 1), []);
        let mut changes = world.tick(due.0);
        assert!(!changes.is_empty(), "something was due");
        assert_eq!(world.tick(due.0), []);
        told.append(&mut changes);
    }
    // The connections come before: their scope and number are the lower ones.
    let mut expected: Vec<What> = (1..=STEPS).map(What::Climbs).collect();
    expected.insert(1, What::Ended);
    expected.push(What::Ended);
    assert_eq!(told, expected);
    assert_eq!(in_force(&world.rows, UnixMs(START)), []);
    // A leader that was away tells of the latest only.
    world.hear(START, reply(0));
    assert_eq!(world.tick(START + HOUR + 55 * MINUTE), [What::Climbs(10)]);
    assert_eq!(world.tick(START + 5 * HOUR), [What::Ended]);
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
    let forces = forces(&world.rows);
    let effect = forces.effect(&path(), UnixMs(START), NORMAL);
    assert_eq!(effect.suspended_until, Some(UnixMs(START + 2 * HOUR)));
    assert_eq!(effect.rests_until, Some(UnixMs(START + HOUR)));
    assert!(effect.bounces.is_some());
    assert_eq!(effect.limits.connections, 4);
    let elsewhere = Path {
        site: "else",
        ..path()
    };
    let effect = forces.effect(&elsewhere, UnixMs(START), NORMAL);
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
fn what_is_no_match_is_passed_over() {
    let bad = Rule {
        lasts: DurationMs(0),
        ..rule(1, Action::Suspend)
    };
    let mut world = World::new(vec![rule(1, Action::Suspend), bad]);
    let of_site = |site: &str| Match {
        site: site.to_owned(),
        ..reply(0)
    };
    let unknown = Match {
        provider: "none".to_owned(),
        ..reply(0)
    };
    for one in [
        reply(1),
        reply(2),
        unknown,
        of_site(""),
        of_site(&"s".repeat(256)),
    ] {
        assert_eq!(world.hear(START, one.clone()), [], "{one:?}");
    }
    assert_eq!(world.rows, MemoryRows::default());
    let long = Match {
        reply: "é".repeat(2000),
        ..reply(0)
    };
    let events = world.apply(START, &Command::Matches(vec![long])).events;
    assert_eq!(events[0].why.len(), 512);
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

#[test]
fn of_too_many_counts_the_oldest_goes() {
    let mut world = World::new(vec![rule(2, Action::Suspend)]);
    let of_site = |n: u64| Match {
        site: format!("site{n}"),
        ..reply(0)
    };
    let matches = (0..COUNTS_MAX).map(of_site).collect();
    world.apply(START, &Command::Matches(matches));
    // The first site's was added to since, so it is the second's that goes... but its second match brings it into force.
    let three = Rule {
        threshold: 3,
        ..rule(3, Action::Suspend)
    };
    let mut slow = World::new(vec![three]);
    let matches = (0..COUNTS_MAX).map(of_site).collect();
    slow.apply(START, &Command::Matches(matches));
    slow.hear(START + 1, of_site(0));
    slow.hear(START + 2, of_site(COUNTS_MAX));
    assert_eq!(number(&slow.rows), COUNTS_MAX);
    assert_eq!(slow.hear(START + 3, of_site(0)), [What::Began]);

    world.tick(START + 23 * HOUR);
    assert_eq!(number(&world.rows), COUNTS_MAX);
    world.tick(START + 24 * HOUR);
    assert_eq!(number(&world.rows), 0, "no window reaches back a day");
    let nothing = world.rows.0.keys().filter(|key| key[0] != b'U');
    assert_eq!(nothing.count(), 0);
}

#[test]
fn of_too_many_in_force_the_one_that_ends_first_gives_way() {
    let mut world = World::new(vec![rule(1, Action::Suspend)]);
    let of_site = |n: usize| Match {
        site: format!("site{n}"),
        ..reply(0)
    };
    world.hear(START, of_site(0));
    // One command each would look at all of them each time.
    for n in 1..force::FORCES_MAX {
        let at = one_in_force(n);
        let mut force = Force::new(&rule(1, Action::Suspend), UnixMs(START + 1), "");
        force.until = UnixMs(START + 2 * HOUR);
        force::set(&mut world.rows, &at, &force);
    }
    assert_eq!(
        world.hear(START + 2, of_site(9_999)),
        [What::GaveWay, What::Began]
    );
    let left = force::all(&world.rows);
    assert_eq!(left.len(), force::FORCES_MAX);
    assert!(!left.contains_key(&one_in_force(0)));
}

fn one_in_force(n: usize) -> RuleAt {
    RuleAt {
        scope: Scope::IpSite {
            ip: [192, 0, 2, 1].into(),
            site: format!("site{n}"),
        },
        provider: "yahoo".to_owned(),
        rule: 0,
    }
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
                in_force_until = forces(&world.rows)
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

    /// On the way back no limit ever falls, and none is above the normal one.
    #[test]
    fn a_climb_only_rises(low in 1u32..50, normal in 1u32..50, per in 1u64..7200) {
        let rate = Rate { count: low, per: DurationMs(per * SECOND) };
        let rules = vec![rule(1, Action::Connections(low)), rule(1, Action::Rate(rate))];
        let mut world = World::new(rules);
        world.hear(START, reply(0));
        world.hear(START, reply(1));
        let forces = forces(&world.rows);
        let usual = Rate { count: normal, per: DurationMs(MINUTE) };
        let normal = Limits { connections: normal, rate: Some(usual) };
        let mut before: Option<Limits> = None;
        for minute in 0..130 {
            let now = forces.effect(&path(), UnixMs(START + minute * MINUTE), normal).limits;
            let rate = now.rate.expect("there is a normal one");
            prop_assert!(now.connections >= 1 && now.connections <= normal.connections);
            prop_assert!(!usual.is_below(rate));
            if let Some(before) = before {
                prop_assert!(now.connections >= before.connections);
                let rate_before = before.rate.expect("there is a normal one");
                prop_assert!(!rate.is_below(rate_before), "{rate:?} {rate_before:?}");
            }
            before = Some(now);
        }
        prop_assert_eq!(before, Some(normal));
    }
}
