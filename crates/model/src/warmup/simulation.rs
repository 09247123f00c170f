//! Forty days of three IPs at three providers.

use std::collections::BTreeMap;

use super::*;
use crate::codec;
use crate::rows::MemoryRows;
use crate::time::UnixMs;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// 2024-02-01T00:00:00Z: forty days hold a leap day and the night in which New York's clocks go forward.
const START: u64 = 1_706_745_600_000;
const FIRST_DAY: u64 = START / DAY;
const DAYS: u64 = 40;
/// The days on which 15 % are deferred at one provider.
const BAD_DAYS: [u64; 3] = [5, 6, 20];
const BAD_PROVIDER: &str = "outlook";
/// More than the last stage has.
const WANT: u64 = 1 << 40;

fn targets() -> Vec<Target> {
    let ips = [1, 2, 3].map(|n| [198, 51, 100, n].into());
    let providers = ["google", BAD_PROVIDER, "other"];
    let of_ip = |ip| providers.map(|provider| (ip, provider.to_owned()));
    let pairs = ips.into_iter().flat_map(of_ip);
    let targets = pairs.map(|(ip, provider)| Target { ip, provider });
    targets.collect()
}

fn plan(target: &Target, offset_minutes: i16) -> Plan {
    let share = Shares::default().percent(&target.provider);
    let mut plan = Plan::standard(share);
    plan.calendar.offset_minutes = offset_minutes;
    plan
}

fn order() -> Order {
    Order {
        who: "ann".to_owned(),
        why: "three new IPs".to_owned(),
    }
}

/// What senders ask for and tell that always have mail.
struct Run {
    rows: MemoryRows,
    /// Whether each command meets a replica that knows nothing but the rows.
    restarts: bool,
    granted: BTreeMap<(Target, u64), u64>,
}

impl Run {
    fn new(restarts: bool) -> Self {
        Self {
            rows: MemoryRows::default(),
            restarts,
            granted: BTreeMap::new(),
        }
    }

    fn apply(&mut self, at: u64, command: &Command) -> Response {
        if !self.restarts {
            return apply(&mut self.rows, UnixMs(at), command);
        }
        let entries: Vec<_> = self.rows.0.clone().into_iter().collect();
        let mut other = MemoryRows(entries.into_iter().collect());
        let command: Command = codec::decode(&codec::encode(command)).expect("it was encoded");
        let response = apply(&mut other, UnixMs(at), &command);
        self.rows = other;
        response
    }

    fn start(&mut self, offset_minutes: i16) {
        let at = START.saturating_add_signed(-i64::from(offset_minutes) * 60_000);
        for target in targets() {
            let start = Command::Start {
                plan: plan(&target, offset_minutes),
                target,
                stage: 0,
                order: order(),
            };
            assert_eq!(self.apply(at, &start), Response::Done);
        }
    }

    fn replan(&mut self, at: u64, offset_minutes: i16) {
        for target in targets() {
            let replan = Command::Replan {
                plan: plan(&target, offset_minutes),
                target,
                order: order(),
            };
            assert_eq!(self.apply(at, &replan), Response::Done);
        }
    }

    fn use_all(&mut self, at: u64) {
        for target in targets() {
            self.use_one(at, target);
        }
    }

    fn use_one(&mut self, at: u64, target: Target) {
        let ask = Command::Grant {
            target: target.clone(),
            want: WANT,
        };
        let Response::Granted(granted) = self.apply(at, &ask) else {
            panic!("a grant is answered with one");
        };
        let day = granted.day.expect("all are warmed up");
        let nth = day.0 - FIRST_DAY;
        *self.granted.entry((target.clone(), nth)).or_default() += granted.count;
        let is_bad = BAD_DAYS.contains(&nth) && target.provider == BAD_PROVIDER;
        let deferred = if is_bad { granted.count * 15 / 100 } else { 0 };
        let report = Report {
            day,
            delivered: granted.count - deferred,
            deferred,
            bounced: 0,
        };
        self.apply(at, &Command::Record { target, report });
    }

    /// By a clock that shows this at an hour of a day.
    fn days(&mut self, clock: impl Fn(u64, u64) -> u64) {
        self.start(0);
        for day in 0..DAYS {
            for hour in 0..24 {
                self.use_all(clock(day, hour));
            }
        }
    }
}

/// A stage each day, and a bad day's again.
fn check_schedule(run: &Run) {
    for target in targets() {
        let plan = plan(&target, 0);
        let days = run.granted.iter();
        let days = days.filter(|((of, _), count)| *of == target && **count < WANT);
        let counts: Vec<u64> = days.map(|(_, count)| *count).collect();
        println!("{} at {}: {counts:?}", target.ip, target.provider);
        let is_bad_provider = target.provider == BAD_PROVIDER;
        let mut stage = 0;
        for day in 0..DAYS {
            let granted = run.granted[&(target.clone(), day)];
            if stage >= plan.stages() {
                assert!(granted > WANT, "{target:?} is warm on day {day}");
                continue;
            }
            assert_eq!(granted, plan.volume(stage), "{target:?} day {day}");
            let is_held = is_bad_provider && BAD_DAYS.contains(&day);
            stage += u16::from(!is_held);
        }
        assert!(stage >= plan.stages(), "{target:?} has finished");
    }
}

fn steady(day: u64, hour: u64) -> u64 {
    START + day * DAY + hour * HOUR
}

#[test]
fn every_day_has_what_the_schedule_says() {
    let mut run = Run::new(false);
    run.days(steady);
    check_schedule(&run);
}

#[test]
fn restarts_between_all_commands_change_nothing() {
    let (mut straight, mut restarted) = (Run::new(false), Run::new(true));
    straight.days(steady);
    restarted.days(steady);
    assert_eq!(straight.rows, restarted.rows);
    assert_eq!(straight.granted, restarted.granted);
}

#[test]
fn a_clock_that_goes_back_for_an_hour_or_a_day_doubles_nothing() {
    for back in [HOUR, DAY] {
        let mut run = Run::new(false);
        // For some hours of a day, and for some of the night after the leap day.
        run.days(|day, hour| match (day, hour) {
            (10, 12..15) | (29, 1..4) => steady(day, hour) - back,
            _ => steady(day, hour),
        });
        check_schedule(&run);
    }
}

#[test]
fn summer_time_that_comes_and_goes_doubles_nothing() {
    const WINTER: i16 = -300;
    const SUMMER: i16 = -240;
    for restarts in [false, true] {
        let mut run = Run::new(restarts);
        run.start(WINTER);
        let first = START + 5 * HOUR;
        // The second change is at one in the morning, and at midnight again.
        let to_summer = first + 38 * DAY + 2 * HOUR;
        let changes = [
            (first + 8 * DAY + 2 * HOUR, SUMMER),
            (first + 12 * DAY, WINTER),
            (to_summer, SUMMER),
        ];
        for hour in 0..DAYS * 24 {
            let at = first + hour * HOUR;
            if let Some((_, offset)) = changes.iter().find(|(time, _)| *time == at) {
                run.replan(at, *offset);
            }
            if at < first + DAYS * DAY - HOUR {
                run.use_all(at);
            }
        }
        check_schedule(&run);
    }
}

/// Two senders that share the budgets through a leader that changes: answers get lost and are asked for again, and
/// senders die with what they hold.
#[test]
fn lost_answers_and_dead_senders_double_nothing_and_lose_no_budget_of_others() {
    let mut run = Run::new(false);
    run.start(0);
    let (mut batch, mut session, mut lost) = (0, [1, 2], 0);
    for day in 0..DAYS {
        for hour in 0..24 {
            let at = UnixMs(steady(day, hour));
            for (nth, target) in targets().into_iter().enumerate() {
                let sender = (hour as usize + nth) % 2;
                batch += 1;
                let ask = Ask {
                    target: target.clone(),
                    want: WANT,
                    reports: Vec::new(),
                };
                let mut ask = || {
                    let asks = [ask.clone()];
                    grant_once(&mut run.rows, at, session[sender], batch, &asks)
                };
                let granted = ask();
                // The leader changed before its answer arrived.
                assert_eq!(ask(), granted);
                let Granted { count, day: of, .. } = granted[0];
                let of = of.expect("all are warmed up");
                *run.granted.entry((target.clone(), day)).or_default() += count;
                let is_dead = (day * 24 + hour) % 37 == 0 && nth == 4;
                if is_dead {
                    session[sender] += 2;
                    lost += if count < WANT { count } else { 0 };
                    keep_answers(&mut run.rows, |id| session.contains(&id));
                    continue;
                }
                let report = Report {
                    day: of,
                    delivered: count,
                    deferred: 0,
                    bounced: 0,
                };
                apply(&mut run.rows, at, &Command::Record { target, report });
            }
        }
        for (target, row) in rows(&run.rows) {
            let granted = run.granted[&(target.clone(), day)];
            match row.phase {
                Phase::Finished => assert!(granted > WANT, "{target:?}"),
                // Of the day, as nothing was asked for since.
                _ => assert_eq!(granted, row.plan.volume(row.stage), "{target:?} day {day}"),
            }
        }
    }
    let is_warm = |row: &Row| row.phase == Phase::Finished;
    println!(
        "{lost} units died with {} senders",
        session.iter().sum::<u64>() / 2 - 1
    );
    assert!(lost > 0 && rows(&run.rows).values().all(is_warm));
}
