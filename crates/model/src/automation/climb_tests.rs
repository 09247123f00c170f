use proptest::prelude::*;

use super::tests::{HOUR, MINUTE, NORMAL, SECOND, START, World, path, reply, rule};
use super::*;
use crate::time::{DurationMs, UnixMs};

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
    let active_actions = active_actions(&world.rows);
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
        let effect = active_actions.effect(&path(), UnixMs(START + minutes * MINUTE), few);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// On the way back no limit ever falls, and none is above the normal one.
    #[test]
    fn a_climb_only_rises(low in 1u32..50, normal in 1u32..50, per in 1u64..7200) {
        let rate = Rate { count: low, per: DurationMs(per * SECOND) };
        let rules = vec![rule(1, Action::Connections(low)), rule(1, Action::Rate(rate))];
        let mut world = World::new(rules);
        world.hear(START, reply(0));
        world.hear(START, reply(1));
        let active_actions = active_actions(&world.rows);
        let usual = Rate { count: normal, per: DurationMs(MINUTE) };
        let normal = Limits { connections: normal, rate: Some(usual) };
        let mut before: Option<Limits> = None;
        for minute in 0..130 {
            let now = active_actions.effect(&path(), UnixMs(START + minute * MINUTE), normal).limits;
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
