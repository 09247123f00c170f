//! Forty days of three IPs at three providers.

use std::collections::BTreeMap;

use super::*;
use crate::codec;
use crate::rows::MemoryRows;
use crate::time::UnixMs;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// 2024-02-01T00:00:00Z: forty days hold a leap day and the night in which America's clocks go forward.
const START: u64 = 1_706_745_600_000;
const DAYS: u64 = 40;
/// The days on which 15 % are deferred at one provider.
const BAD_DAYS: [u64; 3] = [5, 6, 20];
/// More than the last stage has.
const WANT: u64 = 1 << 40;
const BAD_PROVIDER: &str = "outlook";

fn targets() -> Vec<Target> {
    let ips = [1, 2, 3].map(|n| [198, 51, 100, n].into());
    let providers = ["google", BAD_PROVIDER, "other"];
    let of_ip = |ip| providers.map(|provider| (ip, provider.to_owned()));
    let pairs = ips.into_iter().flat_map(of_ip);
    pairs
        .map(|(ip, provider)| Target { ip, provider })
        .collect()
}

fn plan(target: &Target) -> Plan {
    let share = Shares::default().percent(&target.provider);
    Plan::standard(share)
}

/// All commands of all days, as senders that always have mail would give them.
struct Run {
    rows: MemoryRows,
    /// Set back after each use: what a replica reads that was restarted.
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
        // Another replica has the same rows, and reads the command from its log.
        let entries: Vec<_> = self.rows.0.clone().into_iter().collect();
        let mut other = MemoryRows(entries.into_iter().collect());
        let command: Command = codec::decode(&codec::encode(command)).expect("it was encoded");
        let response = apply(&mut other, UnixMs(at), &command);
        self.rows = other;
        response
    }

    fn hour(&mut self, day: u64, at: u64, target: &Target) {
        let command = Command::Grant {
            target: target.clone(),
            want: WANT,
        };
        let Response::Granted(granted) = self.apply(at, &command) else {
            panic!("a grant is answered with one");
        };
        let so_far = self.granted.entry((target.clone(), day)).or_default();
        *so_far += granted.count;
        let is_bad = BAD_DAYS.contains(&day) && target.provider == BAD_PROVIDER;
        let deferred = if is_bad { granted.count * 15 / 100 } else { 0 };
        let Some(day) = granted.day else {
            panic!("all are warmed up");
        };
        let report = Report {
            day,
            delivered: granted.count - deferred,
            deferred,
            bounced: 0,
        };
        let target = target.clone();
        self.apply(at, &Command::Record { target, report });
    }

    fn days(&mut self, clock: impl Fn(u64, u64) -> u64) {
        for target in targets() {
            let start = Command::Start {
                plan: plan(&target),
                target,
                stage: 0,
                order: Order {
                    who: "ann".to_owned(),
                    why: "three new IPs".to_owned(),
                },
            };
            assert_eq!(self.apply(START, &start), Response::Done);
        }
        for day in 0..DAYS {
            for hour in 0..24 {
                for target in targets() {
                    self.hour(day, clock(day, hour), &target);
                }
            }
        }
    }
}

/// What the schedule says, in the words of the schedule: one stage a day, and a bad day again.
fn check_schedule(run: &Run) {
    for target in targets() {
        let plan = plan(&target);
        let is_bad_provider = target.provider == BAD_PROVIDER;
        let mut stage = 0;
        for day in 0..DAYS {
            let granted = run.granted[&(target.clone(), day)];
            if stage >= plan.stages() {
                assert_eq!(granted, 24 * WANT, "{target:?} is warm on day {day}");
                continue;
            }
            let deferred = is_bad_provider && BAD_DAYS.contains(&day);
            assert_eq!(granted, plan.volume(stage), "{target:?} day {day}");
            stage += u16::from(!deferred);
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
        // For three hours of the tenth day and the night after the leap day.
        run.days(|day, hour| match (day, hour) {
            (10, 12..15) | (29, 1..4) => steady(day, hour) - back,
            _ => steady(day, hour),
        });
        check_schedule(&run);
    }
}
