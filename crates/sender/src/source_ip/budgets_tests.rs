#![expect(clippy::unwrap_used, reason = "tests")]
use skein_model::spool::Verdict;
use skein_model::warmup::{Day, Left};
use skein_model::{DurationMs, Reply};
use skein_policy::Source;

use super::*;
use crate::source_ip::unit_lease::UNUSED_MAX;

const POLICY: &str = "
kind: ip
name: new
bind: 127.0.0.1
ehlo: new.here.test
---
kind: ip
name: old
bind: 127.0.0.2
ehlo: old.here.test
---
kind: warmup
name: w
ips: [new]
providers: {google: 50}
";
const GOOGLE: &str = "google";

/// A task that is never stopped.
struct Nothing;

impl Stoppable for Nothing {
    fn is_stopped(&self) -> bool {
        false
    }
}

fn policy() -> Policy {
    let source = Source {
        name: "test",
        text: POLICY,
    };
    Policy::parse(&[source]).unwrap()
}

fn target() -> Target {
    Target {
        ip: [127, 0, 0, 1].into(),
        provider: GOOGLE.to_owned(),
    }
}

/// The leader's answer to whoever wanted this many, when a day has an hour left.
fn answer(budgets: &Budgets<Nothing>, want: u64, count: u64, next_in: Option<u64>) {
    // Nobody asks before a task has come.
    open(budgets, &policy(), 1);
    let at = UnixMs(1_800_000_000_000);
    let ask = Ask {
        target: target(),
        want,
        reports: Vec::new(),
    };
    let granted = Granted {
        count,
        day: Some(Day(20_833)),
        next_at: next_in.map(|ms| at + DurationMs(ms)),
        ends: Some(at + DurationMs::from_secs(3600)),
    };
    budgets.answered(&[ask], &[granted], GroupTime::at(at));
}

fn open(budgets: &Budgets<Nothing>, policy: &Policy, need: u64) -> Left {
    let ip = policy.ip("new").unwrap();
    budgets.open(policy, ip, GOOGLE, need).left
}

fn spend(budgets: &Arc<Budgets<Nothing>>, policy: &Policy, units: u64) -> Option<Spend<Nothing>> {
    let ip = policy.ip("new").map(AsRef::as_ref);
    match budgets.take(policy, ip, GOOGLE, units) {
        Taken::Units(spend) => Some(spend),
        Taken::Free => panic!("it is warmed up"),
        Taken::Ask(asked) => {
            assert_eq!(asked, target());
            None
        }
    }
}

#[test]
fn units_are_spent_once_and_go_back_from_what_was_not_begun() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    assert_eq!(open(&budgets, &policy, 3), Left::Of(3), "it may be asked");
    assert!(spend(&budgets, &policy, 3).is_none());
    answer(&budgets, 5, 5, None);
    let (first, second) = (spend(&budgets, &policy, 3), spend(&budgets, &policy, 2));
    assert!(spend(&budgets, &policy, 1).is_none(), "all is out");
    drop(first);
    let mut again = spend(&budgets, &policy, 3).unwrap();
    again.begin();
    drop(again);
    assert!(spend(&budgets, &policy, 1).is_none(), "it was begun");
    let reply = Reply::ours((4, 0, 0), "x");
    let verdicts = [Verdict::Delivered, Verdict::Deferred].map(|verdict| (verdict, reply.clone()));
    second.unwrap().used(&verdicts);
    let asks = budgets.asks(true);
    assert_eq!(asks.len(), 1);
    let told = asks[0].reports[0];
    assert_eq!((told.delivered, told.deferred, told.bounced), (1, 1, 0));
    assert!(budgets.asks(true).is_empty(), "it is told once");
}

#[test]
fn units_that_come_back_are_for_a_task_that_waits_though_nothing_is_asked_for() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    answer(&budgets, 2, 1, None);
    let begins_not = spend(&budgets, &policy, 1).unwrap();
    budgets
        .state
        .lock()
        .unit_leases
        .get_mut(&target())
        .unwrap()
        .demand = 2;
    drop(begins_not);
    let asked = budgets.asks(false);
    assert_eq!(asked.first().map(|ask| ask.want), Some(1), "one is there");
    budgets
        .state
        .lock()
        .unit_leases
        .get_mut(&target())
        .unwrap()
        .demand = 1;
    assert!(budgets.asks(false).is_empty(), "there is enough");
    let left = budgets.state.lock().unit_leases[&target()].left;
    let mut left = BTreeMap::from([(target(), left)]);
    let served = [1, 1].map(|units| is_served(&mut left, &target(), units));
    assert_eq!(served, [true, false], "and it is given out");
}

#[test]
fn nothing_is_asked_for_before_there_may_be_more() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    answer(&budgets, 5, 2, Some(60_000));
    assert_eq!(open(&budgets, &policy, 2), Left::Of(2));
    assert_eq!(open(&budgets, &policy, 3), Left::Of(0), "not even in part");
    let ip = policy.ip("new").unwrap();
    let next = budgets.open(&policy, ip, GOOGLE, 3).next_at;
    assert_eq!(next, Some(UnixMs(1_800_000_060_000)));
    answer(&budgets, 1, 0, None);
    assert_eq!(open(&budgets, &policy, 3), Left::Of(0), "it is paused");
    let old = policy.ip("old").unwrap();
    assert_eq!(budgets.open(&policy, old, GOOGLE, 9), Open::WARM);
}

#[test]
fn what_is_left_of_a_day_is_not_of_the_next() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    answer(&budgets, 5, 5, None);
    let left = spend(&budgets, &policy, 2).unwrap();
    assert!(!left.is_over());
    let late = UnixMs(1_800_000_000_000) + DurationMs::from_secs(3596);
    budgets.state.lock().time = Some(GroupTime::at(late));
    assert!(left.is_over());
    assert_eq!(open(&budgets, &policy, 1), Left::Of(1), "to be asked for");
    assert!(spend(&budgets, &policy, 1).is_none());
}

#[test]
fn an_ip_whose_warm_up_is_over_or_not_begun_is_told_apart() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    open(&budgets, &policy, 1);
    let say = |day, ends| {
        let ask = Ask {
            target: target(),
            want: 1,
            reports: Vec::new(),
        };
        let granted = Granted {
            count: 1,
            day,
            next_at: None,
            ends,
        };
        budgets.answered(&[ask], &[granted], GroupTime::at(UnixMs(1)));
        open(&budgets, &policy, 1)
    };
    assert_eq!(say(None, None), Left::None);
    assert_eq!(say(Some(Day(1)), None), Left::Unlimited);
    let ip = policy.ip("new").map(AsRef::as_ref);
    for _ in 0..3 {
        let Taken::Units(spend) = budgets.take(&policy, ip, GOOGLE, 99) else {
            panic!("nothing is asked for");
        };
        spend.used(&[(Verdict::Delivered, Reply::ours((2, 0, 0), "ok"))]);
    }
    assert_eq!(budgets.asks(true)[0].reports[0].delivered, 3);
    let old = policy.ip("old").map(AsRef::as_ref);
    let taken = budgets.take(&policy, old, GOOGLE, 99);
    assert!(matches!(taken, Taken::Free));
}

#[test]
fn no_more_is_held_than_one_hand() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    answer(&budgets, 4, 4, None);
    let want = |demand| {
        let mut state = budgets.state.lock();
        let unit_lease = state.unit_leases.get_mut(&target()).unwrap();
        unit_lease.demand = demand;
        unit_lease.want()
    };
    assert_eq!(want(10), 6, "beside what is leased");
    let mut spends: Vec<Spend<Nothing>> =
        (0..4).filter_map(|_| spend(&budgets, &policy, 1)).collect();
    assert_eq!(want(10), 0, "all of a hand is on its way");
    spends[0].begin();
    assert_eq!(want(10), 10);
    drop(spends);
    assert_eq!(want(10), 7, "three are back in the lease");
    assert_eq!(want(1000), UNUSED_MAX);
}

#[test]
fn in_the_last_seconds_of_a_day_nothing_more_is_asked_for() {
    let (policy, budgets) = (policy(), Arc::new(Budgets::default()));
    answer(&budgets, 5, 5, None);
    let (at, ends) = (UnixMs(1_800_000_000_000), UnixMs(1_800_000_003_000));
    let ask = Ask {
        target: target(),
        want: 5,
        reports: Vec::new(),
    };
    let granted = Granted {
        count: 5,
        day: Some(Day(20_833)),
        next_at: None,
        ends: Some(ends),
    };
    budgets.answered(&[ask], &[granted], GroupTime::at(at));
    assert_eq!(open(&budgets, &policy, 1), Left::Of(0));
    let ip = policy.ip("new").unwrap();
    assert_eq!(budgets.open(&policy, ip, GOOGLE, 1).next_at, Some(ends));
    budgets.state.lock().time = Some(GroupTime::at(ends));
    assert_eq!(open(&budgets, &policy, 1), Left::Of(1), "to be asked for");
}
