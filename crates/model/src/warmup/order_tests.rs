use super::tests::{DAY, HOUR, MONDAY, World, order, target};
use super::*;
use crate::rows::MemoryRows;
use crate::time::UnixMs;

#[test]
fn an_operator_skips_pauses_and_stops() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    let night = MONDAY + 23 * HOUR;
    let refused = |refusal| Response::Refused(refusal);
    assert_eq!(world.grant(night, u64::MAX), 200);
    assert_eq!(world.skip(night, 29), refused(Refusal::NoStage));
    assert_eq!(world.skip(night, 2), Response::Done);
    assert_eq!(world.grant(night, u64::MAX), 800);
    assert_eq!(world.skip(night, 0), Response::Done);
    assert_eq!(
        world.grant(night, u64::MAX),
        0,
        "more than this went already"
    );
    assert_eq!(world.skip(night, 2), Response::Done);

    let tomorrow = night + DAY;
    assert_eq!(world.pause(tomorrow, false), Response::Done);
    assert_eq!(world.grant(tomorrow, 1), 0);
    assert_eq!(next_at(&world.row(), UnixMs(tomorrow)), None);
    assert_eq!(world.pause(tomorrow, true), Response::Done);
    assert_eq!(world.grant(tomorrow, u64::MAX), 1000);

    let plan = Plan::standard(100);
    assert_eq!(world.start(plan, night), refused(Refusal::IsRunning));
    let (target, order) = (target(), order());
    let stop = Command::Stop {
        target: target.clone(),
        order,
    };
    assert_eq!(
        world.apply(night, &Command::Forget(target.clone())),
        refused(Refusal::IsRunning)
    );
    assert_eq!(world.apply(tomorrow, &stop), Response::Done);
    assert_eq!(world.grant(tomorrow, 1 << 50), 1 << 50);
    assert_eq!(world.skip(tomorrow, 1), refused(Refusal::IsOver));
    assert_eq!(world.pause(tomorrow, true), refused(Refusal::IsOver));
    let last = world
        .status(tomorrow)
        .changes
        .pop()
        .expect("it was stopped");
    assert_eq!(
        (last.what, last.who.as_deref()),
        (What::Stopped, Some("ann"))
    );
    let forget = Command::Forget(target);
    assert_eq!(world.apply(tomorrow + DAY, &forget), Response::Done);
    assert_eq!(
        world.apply(tomorrow + DAY, &forget),
        refused(Refusal::NoWarmup)
    );
    assert!(rows(&world.0).is_empty());
}

#[test]
fn what_was_said_keeps_its_order_when_the_clock_goes_back() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    for at in [MONDAY + 2 * HOUR, MONDAY + HOUR, MONDAY + 3 * HOUR] {
        assert_eq!(world.skip(at, 1), Response::Done);
    }
    let changes = world.status(MONDAY).changes;
    let times: Vec<u64> = changes.iter().map(|one| one.at.0 - MONDAY).collect();
    assert_eq!(times, [0, 2 * HOUR, 2 * HOUR, 3 * HOUR]);
}

#[test]
fn bad_orders_are_refused_and_long_texts_cut() {
    let mut rows = MemoryRows::default();
    let mut start = |provider: &str, plan: Plan, stage| {
        let command = Command::Start {
            target: Target {
                provider: provider.to_owned(),
                ..target()
            },
            plan,
            stage,
            order: Order {
                who: "ä".repeat(100),
                why: "ß".repeat(1000),
            },
        };
        apply(&mut rows, UnixMs(MONDAY), &command)
    };
    let refused = |refusal| Response::Refused(refusal);
    let plan = Plan::standard(100);
    let long = "p".repeat(65);
    assert_eq!(start("", plan.clone(), 0), refused(Refusal::BadProvider));
    assert_eq!(start(&long, plan.clone(), 0), refused(Refusal::BadProvider));
    assert_eq!(start("p", plan.clone(), 29), refused(Refusal::NoStage));
    let share = refused(Refusal::BadPlan(BadPlan::Share));
    assert_eq!(start("p", Plan::standard(0), 0), share);
    assert_eq!(start("p", plan, 28), Response::Done);
    let row = super::rows(&rows)
        .into_values()
        .next()
        .expect("one started");
    let change = row.changes.back().expect("it was started");
    assert_eq!(change.why.len(), 256);
    assert_eq!(change.who.as_ref().map(String::len), Some(64));
}

#[test]
fn an_address_is_one_ip_however_it_is_written() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    let mapped = Target {
        ip: std::net::Ipv4Addr::new(192, 0, 2, 1)
            .to_ipv6_mapped()
            .into(),
        ..target()
    };
    assert_eq!(row(&world.0, &mapped), Some(world.row()));
    let six = Target {
        ip: "2001:db8::1".parse().expect("an address"),
        ..target()
    };
    let command = Command::Start {
        target: six.clone(),
        plan: Plan::standard(50),
        stage: 0,
        order: order(),
    };
    world.apply(MONDAY, &command);
    assert_eq!(
        rows(&world.0).into_keys().collect::<Vec<_>>(),
        [target(), six]
    );
    let unknown = Target {
        provider: "yahoo".to_owned(),
        ..target()
    };
    let command = Command::Grant {
        target: unknown,
        want: 7,
    };
    let granted = Granted {
        count: 7,
        day: None,
        next_at: None,
        ends: None,
    };
    assert_eq!(world.apply(MONDAY, &command), Response::Granted(granted));
}
