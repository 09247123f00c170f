use proptest::prelude::*;

use super::tests::{DAY, HOUR, MONDAY, World, order, target};
use super::*;
use crate::time::{DurationMs, UnixMs};

#[test]
fn a_day_opens_hour_by_hour_and_is_open_an_hour_before_its_end() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    let mut total = 0;
    for hour in 0..24 {
        let at = MONDAY + hour * HOUR;
        let granted = world.grant(at, u64::MAX);
        total += granted;
        assert!(granted <= 10, "hour {hour}: {granted}");
        let fair = (hour + 1) * 200 / 24;
        assert!(total.abs_diff(fair) <= 10, "hour {hour}: {total} {fair}");
        let open = open(&world.row(), UnixMs(at));
        assert_eq!(open, total);
    }
    assert_eq!(total, 200);
    let tomorrow = UnixMs(MONDAY + DAY);
    assert_eq!(
        next_at(&world.row(), UnixMs(MONDAY + 23 * HOUR)),
        Some(tomorrow)
    );
    assert_eq!(left(&world.row(), UnixMs(MONDAY + 23 * HOUR)), Left::Of(0));
}

#[test]
fn what_nobody_asked_for_does_not_leave_in_a_burst() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    assert_eq!(world.grant(MONDAY, u64::MAX), 9);
    // At noon, half of the day is left for what the morning did not want.
    let granted = world.grant(MONDAY + 12 * HOUR, u64::MAX);
    assert_eq!(granted, 16, "a twelfth of 191");
}

#[test]
fn who_asks_too_early_hears_when_to_come_again() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    let want = Command::Grant {
        target: target(),
        want: 10,
    };
    let mut at = MONDAY;
    let mut total = 0;
    while total < 200 {
        assert!(at <= MONDAY + 23 * HOUR);
        let Response::Granted(granted) = world.apply(at, &want) else {
            panic!("a grant is answered with one");
        };
        assert!(
            granted.count > 0,
            "something is there at the time that was said"
        );
        total += granted.count;
        let Some(next) = granted.next_at else {
            continue;
        };
        assert!(at < next.0 && next.0 <= MONDAY + DAY, "{next:?}");
        let before = next - DurationMs(1);
        if next.0 < MONDAY + DAY {
            assert_eq!(left(&world.row(), before), Left::Of(0));
        }
        at = next.0;
    }
}

#[test]
fn only_sending_days_have_a_budget() {
    let mut plan = Plan::standard(100);
    plan.calendar.days = [Weekday::Mon, Weekday::Thu].into_iter().collect();
    let mut world = World::new(plan, MONDAY);
    for (day, granted) in [(0, 200), (1, 0), (2, 0), (3, 500), (6, 0), (7, 1000)] {
        assert_eq!(world.live(day, 0), granted, "day {day}");
    }
    let tuesday = UnixMs(MONDAY + 8 * DAY);
    assert_eq!(left(&world.row(), tuesday), Left::None);
    assert_eq!(
        next_at(&world.row(), tuesday),
        Some(UnixMs(MONDAY + 10 * DAY))
    );
    let outlook = status(&world.row(), tuesday).outlook;
    assert_eq!(outlook, "stays at this stage: nothing is sent on tue");
}

#[test]
fn neither_clocks_nor_operators_double_a_day() {
    let night = MONDAY + DAY + 23 * HOUR;
    let mut world = World::new(Plan::standard(100), MONDAY);
    world.live(0, 0);
    assert_eq!(world.grant(night, u64::MAX), 500);
    // The clock is set back by a day.
    assert_eq!(world.grant(night - DAY, u64::MAX), 0);
    // It is stopped and started again.
    let (target, order) = (target(), order());
    let stop = Command::Stop {
        target: target.clone(),
        order: order.clone(),
    };
    assert_eq!(world.apply(night, &stop), Response::Done);
    let forget = Command::Forget(target.clone());
    assert_eq!(
        world.apply(night, &forget),
        Response::Refused(Refusal::HadMail)
    );
    world.start(Plan::standard(100), night);
    assert_eq!(world.grant(night, u64::MAX), 0);
    // The offset follows summer time, and is set back.
    let mut plan = Plan::standard(100);
    for (offset_minutes, granted) in [(-60, 0), (60, 200), (0, 0), (60, 0)] {
        plan.calendar.offset_minutes = offset_minutes;
        let replan = Command::Replan {
            target: target.clone(),
            plan: plan.clone(),
            order: order.clone(),
        };
        assert_eq!(world.apply(night, &replan), Response::Done);
        let at = night + 23 * HOUR;
        let at = if offset_minutes == -60 { night } else { at };
        assert_eq!(world.grant(at, u64::MAX), granted, "{offset_minutes}");
    }
    // A clock that ran ahead is corrected: the days until then had no budget.
    let ahead = MONDAY + 9 * DAY + 22 * HOUR;
    assert_eq!(world.grant(ahead, u64::MAX), 200);
    for hours in 0..5 * 24 + 22 {
        assert_eq!(world.grant(MONDAY + 4 * DAY + hours * HOUR, u64::MAX), 0);
    }
}

#[test]
fn a_day_that_was_brought_forward_waits_for_its_time() {
    let midnight = MONDAY + DAY;
    let mut plan = Plan::standard(100);
    let mut world = World::new(plan.clone(), MONDAY);
    world.live(0, 0);
    assert_eq!(world.grant(midnight, 1), 1);
    plan.calendar.offset_minutes = -60;
    let replan = Command::Replan {
        target: target(),
        plan,
        order: order(),
    };
    world.apply(midnight, &replan);
    let row = world.row();
    let begins = UnixMs(midnight + HOUR);
    assert_eq!(world.grant(midnight + HOUR - 1, u64::MAX), 0);
    assert_eq!(next_at(&row, UnixMs(midnight)), Some(begins));
    assert!(world.grant(begins.0, u64::MAX) > 0);
    assert_eq!(status(&row, begins).counts.granted, 1, "it is the same day");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// However the clock runs, each day has its budget once, and a stage's volume is never passed.
    #[test]
    fn a_budget_is_never_exceeded(
        steps in prop::collection::vec((-30 * 60i64..30 * 60, 0u64..400, any::<bool>()), 1..200),
        offset_minutes in -720i16..=840,
    ) {
        let mut plan = Plan::standard(100);
        plan.calendar.offset_minutes = offset_minutes;
        let calendar = plan.calendar;
        let mut world = World::new(plan, MONDAY);
        let mut clock = MONDAY;
        let mut latest = MONDAY;
        let mut used = std::collections::BTreeMap::<Day, u64>::new();
        for (minutes, want, is_delivered) in steps {
            clock = clock.saturating_add_signed(minutes * 60_000);
            latest = latest.max(clock);
            let is_open = open(&world.row(), UnixMs(clock));
            let granted = world.grant(clock, want);
            if is_delivered {
                world.record(clock, granted, 0, 0);
            }
            let row = world.row();
            prop_assert_eq!(row.day, calendar.day(UnixMs(latest)));
            let used = used.entry(row.day).or_default();
            *used += granted;
            prop_assert_eq!(*used, row.counts.granted);
            prop_assert!(row.budget().is_none_or(|budget| *used <= budget));
            prop_assert!(*used <= is_open);
        }
    }

    /// What is asked of a row later is what a command would find then.
    #[test]
    fn looking_ahead_is_living_ahead(hours in prop::collection::vec(1u64..60, 1..30)) {
        let mut world = World::new(Plan::standard(100), MONDAY);
        let mut at = MONDAY;
        for hours in hours {
            at += hours * HOUR;
            let seen = left(&world.row(), UnixMs(at));
            let granted = world.grant(at, u64::MAX);
            prop_assert_eq!(seen, Left::Of(granted));
            world.record(at, granted, 0, 0);
        }
    }
}
