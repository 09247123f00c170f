use super::tests::order;
use super::*;
use crate::rows::MemoryRows;
use crate::time::{DurationMs, UnixMs};

const HOUR: u64 = 3_600_000;

const TASK: TaskFacts<'static> = TaskFacts {
    tenant: "shop",
    domain: "example.com",
    site: "google",
    provider: Some("google"),
    pool: "main",
    campaign: Some("spring"),
};

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn of_tenant(name: &str) -> Selector {
    Selector {
        tenant: some(name),
        ..Selector::default()
    }
}

fn run(rows: &mut MemoryRows, at: u64, command: &Command) -> Outcome {
    apply(rows, UnixMs(at), &Rules::new(), command)
}

fn suspend(rows: &mut MemoryRows, at: u64, selector: Selector, lasts: u64) -> Outcome {
    let command = Command::Suspend {
        selector,
        lasts: DurationMs(lasts),
        order: order(),
        gives_up: false,
    };
    run(rows, at, &command)
}

#[test]
fn a_selector_covers_what_all_of_it_fits() {
    let any = Selector::default;
    for (selector, expected) in [
        (of_tenant("shop"), true),
        (of_tenant("club"), false),
        (
            Selector {
                domain: some("EXAMPLE.com."),
                ..any()
            },
            true,
        ),
        (
            Selector {
                domain: some("example.org"),
                ..any()
            },
            false,
        ),
        (
            Selector {
                site: some("google"),
                ..any()
            },
            true,
        ),
        (
            Selector {
                provider: some("google"),
                ..any()
            },
            true,
        ),
        (
            Selector {
                provider: some("yahoo"),
                ..any()
            },
            false,
        ),
        (
            Selector {
                pool: some("main"),
                ..any()
            },
            true,
        ),
        (
            Selector {
                campaign: some("spring"),
                ..any()
            },
            true,
        ),
        (
            Selector {
                campaign: some("autumn"),
                ..any()
            },
            false,
        ),
        (
            Selector {
                pool: some("main"),
                ..of_tenant("shop")
            },
            true,
        ),
        (
            Selector {
                pool: some("side"),
                ..of_tenant("shop")
            },
            false,
        ),
    ] {
        let mut rows = MemoryRows::default();
        let outcome = suspend(&mut rows, 1, selector.clone(), HOUR);
        assert_eq!(outcome.response, Response::Done, "{selector:?}");
        let held = suspensions(&rows);
        let is_held = held.is_held(&TASK, UnixMs(1)).is_some();
        assert_eq!(is_held, expected, "{selector:?}");
        let without = TaskFacts {
            provider: None,
            campaign: None,
            ..TASK
        };
        let is_held = held.is_held(&without, UnixMs(1)).is_some();
        let needs = selector.provider.is_some() || selector.campaign.is_some();
        assert_eq!(is_held, expected && !needs, "{selector:?}");
    }
}

#[test]
fn a_task_that_is_due_later_has_the_answer_of_that_time() {
    let mut rows = MemoryRows::default();
    suspend(&mut rows, HOUR, of_tenant("shop"), 2 * HOUR);
    let of_pool = Selector {
        pool: some("main"),
        ..Selector::default()
    };
    suspend(&mut rows, HOUR + 1, of_pool.clone(), 5 * HOUR);
    let early = suspensions(&rows);
    // Hours pass, and the answers for the times to come stay.
    run(&mut rows, 2 * HOUR, &Command::Tick);
    let late = suspensions(&rows);
    for (at, expected) in [
        (HOUR - 1, None),
        (HOUR, Some("tenant")),
        (2 * HOUR, Some("pool")),
        (4 * HOUR, Some("pool")),
        (6 * HOUR, Some("pool")),
        (6 * HOUR + 1, None),
    ] {
        for held in [&early, &late] {
            let by = held.is_held(&TASK, UnixMs(at));
            let by = by.map(|one| match one.selector == of_pool {
                true => "pool",
                false => "tenant",
            });
            assert_eq!(by, expected, "{at}");
        }
    }
    let free = UnixMs(6 * HOUR + 1);
    assert_eq!(early.free_at(&TASK, UnixMs(HOUR)), free);
    assert_eq!(early.free_at(&TASK, UnixMs(0)), UnixMs(0));
    let other = TaskFacts {
        pool: "side",
        ..TASK
    };
    assert_eq!(early.free_at(&other, UnixMs(HOUR)), UnixMs(3 * HOUR));
}

#[test]
fn a_suspension_moves_ends_and_is_resumed() {
    let mut rows = MemoryRows::default();
    let began = suspend(&mut rows, 0, of_tenant("shop"), HOUR);
    let [event] = &began.events[..] else {
        panic!("one thing happened: {began:?}");
    };
    assert_eq!((event.what, event.until), (What::Began, UnixMs(HOUR)));
    assert_eq!(event.subject, Subject::ByHand(of_tenant("shop")));
    assert_eq!(event.who.as_deref(), Some("ann"));
    let moved = suspend(&mut rows, 1, of_tenant("shop"), HOUR / 2);
    assert_eq!(moved.events[0].what, What::Moved);
    assert_eq!(moved.events[0].from, UnixMs(0));
    let [one] = &in_force(&rows, UnixMs(2))[..] else {
        panic!("one is in force");
    };
    assert_eq!(
        (one.until, one.why.as_str()),
        (UnixMs(HOUR / 2 + 1), order().why.as_str())
    );
    assert_eq!(
        in_force(&rows, UnixMs(HOUR)),
        [],
        "its time is over, tick or not"
    );

    let resume = Command::Resume {
        selector: of_tenant("shop"),
        order: order(),
    };
    assert_eq!(run(&mut rows, 3, &resume).events[0].what, What::Lifted);
    let again = run(&mut rows, 3, &resume);
    assert_eq!(again.response, Response::Refused(Refusal::NotSuspended));

    suspend(&mut rows, 4, of_tenant("shop"), HOUR);
    assert_eq!(next_due(&rows), Some(UnixMs(HOUR + 4)));
    let ended = run(&mut rows, HOUR + 4, &Command::Tick);
    assert_eq!(ended.events[0].what, What::Ended);
    assert_eq!(rows, MemoryRows::default());
}

#[test]
fn bad_suspensions_are_refused() {
    let mut rows = MemoryRows::default();
    let day = 24 * HOUR;
    for (selector, lasts, expected) in [
        (of_tenant(""), HOUR, Refusal::BadSelector),
        (of_tenant(&"t".repeat(256)), HOUR, Refusal::BadSelector),
        (of_tenant("shop"), 0, Refusal::BadDuration),
        (of_tenant("shop"), 30 * day + 1, Refusal::BadDuration),
    ] {
        let outcome = suspend(&mut rows, 0, selector, lasts);
        assert_eq!(outcome.response, Response::Refused(expected));
        assert_eq!(outcome.events, []);
    }
    for n in 0..suspension::SUSPENSIONS_MAX {
        suspend(&mut rows, 0, of_tenant(&format!("t{n}")), HOUR);
    }
    let many = suspend(&mut rows, 0, of_tenant("shop"), HOUR);
    assert_eq!(many.response, Response::Refused(Refusal::TooMany));
    let known = suspend(&mut rows, 0, of_tenant("t5"), HOUR);
    assert_eq!(known.response, Response::Done);
}

#[test]
fn mail_that_is_given_up_waits_for_nothing() {
    let mut rows = MemoryRows::default();
    suspend(&mut rows, 1000, of_tenant("shop"), 50_000);
    let mailing = Selector {
        campaign: some("may"),
        ..of_tenant("shop")
    };
    let command = Command::Suspend {
        selector: mailing.clone(),
        lasts: DurationMs(5_000),
        order: order(),
        gives_up: true,
    };
    let outcome = run(&mut rows, 2000, &command);
    assert_eq!(outcome.events[0].subject, Subject::GivenUp(mailing));
    let all = suspensions(&rows);
    let task = |campaign| TaskFacts {
        tenant: "shop",
        domain: "b.test",
        site: "b.test",
        provider: None,
        pool: "default",
        campaign,
    };
    let (may, june) = (task(Some("may")), task(Some("june")));
    assert!(all.is_given_up(&may, UnixMs(2000)).is_some());
    assert_eq!(all.free_at(&may, UnixMs(2000)), UnixMs(2000));
    assert!(all.is_given_up(&june, UnixMs(2000)).is_none());
    assert_eq!(all.free_at(&june, UnixMs(2000)), UnixMs(51_000));
    // Afterwards it waits as the rest does.
    assert!(all.is_given_up(&may, UnixMs(7000)).is_none());
    assert_eq!(all.free_at(&may, UnixMs(7000)), UnixMs(51_000));
}

#[test]
fn mail_that_a_rule_stops_altogether_is_held_back_where_it_lies() {
    use super::tests::{HOUR, START, World, reply, rule};
    use super::{Action, Match, ScopeKind, active_actions, held_by_rules};
    use crate::time::UnixMs;

    let of_scope = |scope| super::Rule {
        scope,
        ..rule(1, Action::Suspend)
    };
    let rules = vec![
        of_scope(ScopeKind::Tenant),
        rule(1, Action::Suspend),
        rule(1, Action::RestIp),
    ];
    let mut world = World::new(rules);
    let other = |n| Match {
        ip: [192, 0, 2, 2].into(),
        ..reply(n)
    };
    let pools = [
        ("main".to_owned(), vec![[192, 0, 2, 1].into()]),
        (
            "two".to_owned(),
            vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()],
        ),
    ]
    .into();
    let now = UnixMs(START + 1);
    let mut held = |one: Match| {
        world.hear(START, one);
        let held = held_by_rules(&active_actions(&world.rows), &pools, now);
        let names = held.iter().map(|one| one.selector.to_string());
        names.collect::<Vec<_>>()
    };
    let of_tenant = "tenant shop, site yahoo";
    assert_eq!(held(reply(0)), [of_tenant]);
    let (main, two) = ("site yahoo, pool main", "site yahoo, pool two");
    assert_eq!(held(reply(1)), [of_tenant, main]);
    assert_eq!(held(other(2)), [of_tenant, main, two]);
    let later = UnixMs(START + HOUR);
    let later = held_by_rules(&active_actions(&world.rows), &pools, later);
    assert!(later.is_empty(), "climbing is for senders");
}

#[test]
fn an_ip_that_rests_does_so_at_all_sites() {
    use super::tests::{NORMAL, START, World, path, reply, rule};
    use super::{Action, Path, active_actions};
    use crate::time::UnixMs;

    let elsewhere = Path {
        site: "google",
        ..path()
    };
    for (action, rests) in [(Action::Suspend, false), (Action::RestIp, true)] {
        let mut world = World::new(vec![rule(1, action)]);
        world.hear(START, reply(0));
        let active_actions = active_actions(&world.rows);
        let effect = active_actions.effect(&elsewhere, UnixMs(START), NORMAL);
        assert_eq!(effect.stops.is_some(), rests, "{action}");
        assert!(
            active_actions
                .effect(&path(), UnixMs(START), NORMAL)
                .stops
                .is_some()
        );
    }
}
