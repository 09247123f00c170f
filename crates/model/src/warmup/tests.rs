use super::*;
use crate::rows::MemoryRows;
use crate::time::UnixMs;

pub(super) const HOUR: u64 = 3_600_000;
pub(super) const DAY: u64 = 24 * HOUR;
/// 2024-02-26T00:00:00Z, a Monday.
pub(super) const MONDAY: u64 = 1_708_905_600_000;

pub(super) fn target() -> Target {
    Target {
        ip: [192, 0, 2, 1].into(),
        provider: "google".to_owned(),
    }
}

pub(super) fn order() -> Order {
    Order {
        who: "ann".to_owned(),
        why: "a new IP".to_owned(),
    }
}

/// A warm-up and its group's rows.
pub(super) struct World(pub(super) MemoryRows);

impl World {
    pub(super) fn new(plan: Plan, at: u64) -> Self {
        let mut world = Self(MemoryRows::default());
        assert_eq!(world.start(plan, at), Response::Done);
        world
    }

    pub(super) fn start(&mut self, plan: Plan, at: u64) -> Response {
        let command = Command::Start {
            target: target(),
            plan,
            stage: 0,
            order: order(),
        };
        self.apply(at, &command)
    }

    pub(super) fn apply(&mut self, at: u64, command: &Command) -> Response {
        apply(&mut self.0, UnixMs(at), command)
    }

    pub(super) fn grant(&mut self, at: u64, want: u64) -> u64 {
        let target = target();
        match self.apply(at, &Command::Grant { target, want }) {
            Response::Granted(granted) => granted.count,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn record(&mut self, at: u64, delivered: u64, deferred: u64, bounced: u64) {
        let report = Report {
            day: self.status(at).day,
            delivered,
            deferred,
            bounced,
        };
        let target = target();
        self.apply(at, &Command::Record { target, report });
    }

    pub(super) fn pause(&mut self, at: u64, is_sending: bool) -> Response {
        let (target, order) = (target(), order());
        let command = Command::Pause {
            target,
            is_sending,
            order,
        };
        self.apply(at, &command)
    }

    pub(super) fn skip(&mut self, at: u64, stage: u16) -> Response {
        let (target, order) = (target(), order());
        let command = Command::Skip {
            target,
            stage,
            order,
        };
        self.apply(at, &command)
    }

    /// A day on which all of the budget is asked for, with this many of a hundred deferred.
    pub(super) fn live(&mut self, day: u64, deferred_percent: u64) -> u64 {
        let at = MONDAY + day * DAY + 23 * HOUR;
        let granted = self.grant(at, u64::MAX);
        let deferred = granted * deferred_percent / 100;
        self.record(at, granted - deferred, deferred, 0);
        granted
    }

    pub(super) fn row(&self) -> Row {
        row(&self.0, &target()).expect("it was started")
    }

    pub(super) fn status(&self, at: u64) -> Status {
        status(&self.row(), UnixMs(at))
    }
}

#[test]
fn a_good_day_advances_a_bad_one_holds_and_a_worse_one_steps_back() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    for (day, deferred_percent, granted, outlook) in [
        (
            0,
            0,
            200,
            "advances to 500 a day: 200 delivered, 180 needed",
        ),
        (1, 10, 500, "advances to 1000 a day"),
        (
            2,
            15,
            1000,
            "stays at this stage: 15 % of attempts deferred, more than 10 %",
        ),
        (
            3,
            21,
            1000,
            "steps back to 500 a day: 21 % of attempts deferred, more than 20 %",
        ),
        (4, 0, 500, "advances to 1000 a day"),
        (5, 0, 1000, "advances to 2000 a day"),
    ] {
        assert_eq!(world.live(day, deferred_percent), granted, "day {day}");
        let status = world.status(MONDAY + day * DAY + 23 * HOUR);
        assert!(status.outlook.starts_with(outlook), "{}", status.outlook);
        assert_eq!(
            (status.budget, status.counts.granted),
            (Some(granted), granted)
        );
    }
    let status = world.status(MONDAY + 6 * DAY);
    assert_eq!((status.stage, status.stages, status.held_days), (4, 29, 0));
    let whats: Vec<What> = status.changes.iter().map(|change| change.what).collect();
    use What::*;
    assert_eq!(
        whats,
        [Started, Advanced, Advanced, SteppedBack, Advanced, Advanced]
    );
    assert_eq!(status.changes[0].who.as_deref(), Some("ann"));
    assert_eq!(status.changes[0].why, "a new IP");
    assert_eq!(status.judged.expect("a day is over").counts.granted, 1000);
}

#[test]
fn what_an_operator_said_outlives_what_the_rules_did() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    for day in 0..20 {
        world.live(day, 0);
    }
    world.pause(MONDAY + 20 * DAY, true);
    let changes = world.status(MONDAY + 20 * DAY).changes;
    assert_eq!(changes.len(), 16);
    assert_eq!(
        (changes[0].what, changes[15].what),
        (What::Started, What::Paused)
    );
    assert_eq!(changes[14].stage, 20);
}

#[test]
fn ten_days_without_progress_pause_it_and_its_mail_goes_on() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    for day in 0..12 {
        assert_eq!(world.live(day, 15), 200, "day {day}");
    }
    let status = world.status(MONDAY + 12 * DAY);
    assert_eq!(status.phase, Phase::Paused { is_sending: true });
    assert_eq!(status.outlook, "stays at this stage: paused");
    let paused = status.changes.last().expect("it was paused");
    assert_eq!((paused.what, paused.who.as_deref()), (What::Paused, None));
    assert_eq!(
        paused.why,
        "10 days without progress, at last: 15 % of attempts deferred, more than 10 %"
    );
    let (target, order) = (target(), order());
    let resume = Command::Resume { target, order };
    assert_eq!(world.apply(MONDAY + 12 * DAY, &resume), Response::Done);
    assert_eq!(
        world.apply(MONDAY + 12 * DAY, &resume),
        Response::Refused(Refusal::NotPaused)
    );
    world.live(12, 0);
    assert_eq!(world.status(MONDAY + 13 * DAY).stage, 2);
}

#[test]
fn idle_days_are_neither_held_nor_judged() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    for day in [0, 9, 19] {
        world.live(day, 15);
    }
    let status = world.status(MONDAY + 20 * DAY);
    assert_eq!((status.phase, status.held_days), (Phase::Running, 3));
    assert_eq!(status.outlook, "stays at this stage: no mail");
}

#[test]
fn after_a_month_without_mail_it_begins_again_at_half() {
    let plan = Plan {
        schedule: Schedule::Table(vec![100, 200, 400, 800]),
        ..Plan::standard(100)
    };
    for (days, idle, expected) in [
        // Finished after four days; half of 800 is the third stage.
        (4, 29, (Phase::Finished, 4)),
        (4, 30, (Phase::Running, 3)),
        (4, 300, (Phase::Running, 3)),
        // At the third stage; half of 200 is the first.
        (2, 29, (Phase::Running, 3)),
        (2, 30, (Phase::Running, 1)),
    ] {
        let mut world = World::new(plan.clone(), MONDAY);
        for day in 0..days {
            world.live(day, 0);
        }
        let status = world.status(MONDAY + (days + idle) * DAY);
        assert_eq!((status.phase, status.stage), expected, "{days} {idle}");
        if idle >= 30 {
            world.skip(MONDAY + (days + idle) * DAY, 3);
            let later = world.status(MONDAY + (days + idle + 1) * DAY);
            assert_eq!(
                later.stage, 4,
                "it begins again once, and an operator knows better"
            );
        }
    }
}

#[test]
fn a_finished_ip_has_no_budget_and_is_watched() {
    let plan = Plan {
        schedule: Schedule::Table(vec![100]),
        ..Plan::standard(100)
    };
    let mut world = World::new(plan, MONDAY);
    assert!(
        world
            .status(MONDAY + 23 * HOUR)
            .outlook
            .starts_with("stays")
    );
    world.live(0, 0);
    let outlook = world.status(MONDAY + 23 * HOUR).outlook;
    assert!(outlook.starts_with("finishes: 100 delivered"), "{outlook}");
    assert_eq!(world.grant(MONDAY + DAY, 1 << 40), 1 << 40);
    assert_eq!(left(&world.row(), UnixMs(MONDAY + DAY)), Left::Unlimited);
    assert_eq!(next_at(&world.row(), UnixMs(MONDAY + DAY)), None);
    world.record(MONDAY + 20 * DAY, 1000, 0, 0);
    let status = world.status(MONDAY + 45 * DAY);
    assert_eq!((status.phase, status.budget), (Phase::Finished, None));
    let status = world.status(MONDAY + 51 * DAY);
    assert_eq!((status.phase, status.budget), (Phase::Running, Some(100)));
}

#[test]
fn results_count_on_their_own_day_and_no_more_often_than_granted() {
    let mut world = World::new(Plan::standard(100), MONDAY);
    let night = MONDAY + 23 * HOUR;
    world.grant(night, 100);
    for _ in 0..3 {
        world.record(night, 60, 5, 1);
    }
    let counts = world.status(night).counts;
    assert_eq!((counts.attempts(), counts.bounced), (100, 2));
    let late = Command::Record {
        target: target(),
        report: Report {
            day: world.status(night).day,
            delivered: 50,
            deferred: 0,
            bounced: 0,
        },
    };
    world.apply(night + 2 * HOUR, &late);
    assert_eq!(world.status(night + 2 * HOUR).counts, Counts::default());
}
