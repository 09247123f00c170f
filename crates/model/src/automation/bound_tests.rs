use super::count::{COUNTS_MAX, number};
use super::tests::{HOUR, START, World, reply, rule};
use super::*;
use crate::rows::MemoryRows;
use crate::time::{DurationMs, UnixMs};

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
fn of_too_many_counts_the_oldest_goes() {
    let of_site = |n: u64| Match {
        site: format!("site{n}"),
        ..reply(0)
    };
    let mut world = World::new(vec![rule(3, Action::Suspend)]);
    let matches = (0..COUNTS_MAX).map(of_site).collect();
    world.apply(START, &Command::Matches(matches));
    assert_eq!(number(&world.rows), COUNTS_MAX);
    // The first site has a later match than the second, whose count goes.
    world.hear(START + 1, of_site(0));
    world.hear(START + 2, of_site(COUNTS_MAX));
    assert_eq!(number(&world.rows), COUNTS_MAX);
    assert_eq!(world.hear(START + 3, of_site(0)), [What::Began]);
    world.hear(START + 3, of_site(1));
    assert_eq!(
        world.hear(START + 3, of_site(1)),
        [],
        "the third match, of which one is forgotten"
    );

    world.tick(START + 24 * HOUR - 1);
    assert!(number(&world.rows) > COUNTS_MAX - 10);
    world.tick(START + 24 * HOUR + 3);
    assert_eq!(number(&world.rows), 0, "no window reaches back a day");
    let counts = world
        .rows
        .0
        .keys()
        .filter(|key| matches!(key[0], b'Y' | b'V'));
    assert_eq!(counts.count(), 0);
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

#[test]
fn of_too_many_in_force_the_one_that_ends_first_gives_way() {
    let mut world = World::new(vec![rule(1, Action::Suspend)]);
    let of_site = |n: usize| Match {
        site: format!("site{n}"),
        ..reply(0)
    };
    world.hear(START, of_site(0));
    // One command each would look at all of them each time.
    for n in 1..active_action::FORCES_MAX {
        let at = one_in_force(n);
        let mut force = ActiveAction::new(&rule(1, Action::Suspend), UnixMs(START + 1), "");
        force.until = UnixMs(START + 2 * HOUR);
        active_action::set(&mut world.rows, &at, &force);
    }
    assert_eq!(
        world.hear(START + 2, of_site(9_999)),
        [What::GaveWay, What::Began]
    );
    let left = active_action::all(&world.rows);
    assert_eq!(left.len(), active_action::FORCES_MAX);
    assert!(!left.contains_key(&one_in_force(0)));
}
