//! Budgets of IPs that are warming up: asked for in small hands, and spent attempt by attempt.
//!
//! One unit is one attempt at one recipient. What is in the purse was granted for one day and is used up by the day's
//! end, whether it was spent or not. A task that finds too little in the purse waits here until more was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::{GroupTime, KeptSession};
use skein_model::spool::Verdict;
use skein_model::warmup::{ASKS_MAX, Ask, Day, Granted, Report, Target};
use skein_model::{Reply, UnixMs};
use skein_policy::{Ip, Policy};
use tokio::sync::Notify;

use crate::deliver::{Job, now};
use crate::destination::Destinations;
use crate::purse::{BEFORE_MIDNIGHT, Open, Purse, Standing};
use crate::route::Route;

/// Each answer brings a hand; this many ask again in a second.
const ASK_EVERY: Duration = Duration::from_millis(50);
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// Results are told this long after they are there, if nothing is asked for before.
const TELL_WITHIN: Duration = Duration::from_secs(2);
/// What a task gets that goes from an IP.
pub enum Taken {
    /// No budget applies.
    Free,
    Units(Spend),
    /// It is to wait for the answer of the leader.
    Ask(Target),
}

struct Parked {
    target: Target,
    units: u64,
    route: Route,
    job: Job,
}

#[derive(Default)]
struct State {
    purses: BTreeMap<Target, Purse>,
    /// Tasks that wait for an answer; no more than the sender's window.
    parked: Vec<Parked>,
    time: Option<GroupTime>,
}

impl State {
    fn now(&self) -> UnixMs {
        self.time.map_or_else(now, |time| time.now())
    }
}

/// The purses of this sender: one for each IP and provider that policy warms up and that has had mail.
#[derive(Default)]
pub struct Budgets {
    state: Mutex<State>,
    wake: Notify,
}

/// Units that a task has taken. Dropped before its attempt has begun, they go back to the purse.
pub struct Spend {
    budgets: Arc<Budgets>,
    target: Target,
    units: u64,
    day: Option<Day>,
    ends: Option<UnixMs>,
    is_begun: bool,
}

fn target_of(policy: &Policy, ip: &Ip, site: &str) -> Option<Target> {
    let warmup = policy.warmup_of(&ip.name)?;
    Some(Target {
        ip: ip.public.to_canonical(),
        provider: warmup.provider_of(site).to_owned(),
    })
}

impl Budgets {
    /// The time by which days end.
    pub fn now(&self) -> UnixMs {
        self.state.lock().now()
    }

    pub fn open(&self, policy: &Policy, ip: &Ip, site: &str, need: u64) -> Open {
        let Some(target) = target_of(policy, ip, site) else {
            return Open::WARM;
        };
        let mut state = self.state.lock();
        let at = state.now();
        let purse = state.purses.entry(target).or_insert_with(Purse::new);
        purse.pass(at);
        purse.open(at, need)
    }

    /// Takes units for a task that goes from an IP.
    pub fn take(
        self: &Arc<Self>,
        policy: &Policy,
        ip: Option<&Ip>,
        site: &str,
        units: u64,
    ) -> Taken {
        let Some(target) = ip.and_then(|ip| target_of(policy, ip, site)) else {
            return Taken::Free;
        };
        let mut state = self.state.lock();
        let at = state.now();
        let purse = state
            .purses
            .entry(target.clone())
            .or_insert_with(Purse::new);
        // What a warm IP does is told as well: providers forget one that falls silent.
        let is_warm = purse.standing == Standing::Warm && !purse.may_ask(at);
        let units = if is_warm { 0 } else { units };
        if purse.left < units {
            return Taken::Ask(target);
        }
        purse.left -= units;
        purse.out += units;
        Taken::Units(Spend {
            budgets: self.clone(),
            target,
            units,
            day: purse.day,
            ends: purse.ends,
            is_begun: false,
        })
    }

    /// Keeps a task until the leader has answered.
    pub fn park(&self, target: Target, units: u64, route: Route, job: Job) {
        let mut state = self.state.lock();
        if job.is_stopped() {
            // Who drops those that are parked may have been here before.
            drop(state);
            return;
        }
        if let Some(purse) = state.purses.get_mut(&target) {
            purse.demand += units;
        }
        state.parked.push(Parked {
            target,
            units,
            route,
            job,
        });
        drop(state);
        self.wake.notify_one();
    }

    /// Drops tasks that are not to be sent from here.
    pub fn drop_stopped(&self) {
        let mut state = self.state.lock();
        let State { purses, parked, .. } = &mut *state;
        let stopped = parked.extract_if(.., |one| one.job.is_stopped());
        let stopped: Vec<Parked> = stopped.collect();
        for one in &stopped {
            if let Some(purse) = purses.get_mut(&one.target) {
                purse.demand = purse.demand.saturating_sub(one.units);
            }
        }
        drop(state);
        // What a dropped task had taken goes back under the lock.
        drop(stopped);
    }

    /// What is to be asked for now, with what is to be told.
    fn asks(&self, is_to_tell: bool) -> Vec<Ask> {
        let mut state = self.state.lock();
        let wanted = state.purses.iter_mut();
        let wanted = wanted
            .filter(|(_, purse)| purse.want() > 0 || (is_to_tell && !purse.results.is_empty()));
        let asks = wanted.take(ASKS_MAX).map(|(target, purse)| Ask {
            target: target.clone(),
            want: purse.want(),
            reports: std::mem::take(&mut purse.results).into_values().collect(),
        });
        asks.collect()
    }

    /// Whether somebody waits for an answer.
    fn is_wanted(&self) -> bool {
        !self.state.lock().parked.is_empty()
    }

    /// Fills purses, and gives out the tasks that waited for that.
    fn answered(&self, asks: &[Ask], granted: &[Granted], time: GroupTime) -> Vec<Parked> {
        let mut state = self.state.lock();
        state.time = Some(time);
        let at = time.now();
        for (ask, granted) in asks.iter().zip(granted) {
            let Some(purse) = state.purses.get_mut(&ask.target) else {
                continue;
            };
            purse.pass(at);
            purse.fill(at, ask, granted);
        }
        let told: BTreeSet<&Target> = asks.iter().map(|ask| &ask.target).collect();
        state.unpark(|one| told.contains(&one.target))
    }

    /// Gives out tasks for which there are units here again, as those of an attempt that was not begun: nothing is asked for
    /// while there is enough, so no answer would bring them on.
    fn served(&self) -> Vec<Parked> {
        let mut state = self.state.lock();
        let at = state.now();
        let State { purses, parked, .. } = &mut *state;
        let mut left = BTreeMap::new();
        for one in &*parked {
            if let Some(purse) = purses.get_mut(&one.target) {
                purse.pass(at);
                left.insert(one.target.clone(), purse.left);
            }
        }
        state.unpark(|one| is_served(&mut left, &one.target, one.units))
    }

    /// Asks and tells until the process ends.
    pub async fn ask(self: Arc<Self>, session: Arc<KeptSession>, destinations: Weak<Destinations>) {
        let (mut number, mut told) = (0, Instant::now());
        loop {
            if self.is_wanted() {
                tokio::time::sleep(ASK_EVERY).await;
            } else {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(TELL_WITHIN) => {}
                }
            }
            self.drop_stopped();
            let served = self.served();
            if !give_out(served, &destinations) {
                return;
            }
            let is_to_tell = told.elapsed() >= TELL_WITHIN;
            let asks = self.asks(is_to_tell);
            if asks.is_empty() {
                continue;
            }
            if is_to_tell {
                told = Instant::now();
            }
            number += 1;
            let (granted, time) = loop {
                match session.grant_warmup(number, &asks).await {
                    Ok(answer) => break answer,
                    Err(error) => {
                        tracing::info!(%error, "budget is asked for again");
                        tokio::time::sleep(TRY_AGAIN).await;
                        self.drop_stopped();
                    }
                }
            };
            let ready = self.answered(&asks, &granted, time);
            if !give_out(ready, &destinations) {
                return;
            }
        }
    }
}

impl State {
    fn unpark(&mut self, is_ready: impl FnMut(&Parked) -> bool) -> Vec<Parked> {
        let mut is_ready = is_ready;
        let ready = self.parked.extract_if(.., |one| is_ready(one));
        let ready: Vec<Parked> = ready.collect();
        for one in &ready {
            if let Some(purse) = self.purses.get_mut(&one.target) {
                purse.demand = purse.demand.saturating_sub(one.units);
            }
        }
        ready
    }
}

/// Takes a task's units from what is left for it and those behind it, if they suffice.
fn is_served(left: &mut BTreeMap<Target, u64>, target: &Target, units: u64) -> bool {
    let left = left.get_mut(target).filter(|left| **left >= units);
    left.map(|left| *left -= units).is_some()
}

/// False once there are no destinations any more.
fn give_out(ready: Vec<Parked>, destinations: &Weak<Destinations>) -> bool {
    let Some(destinations) = destinations.upgrade() else {
        return false;
    };
    for one in ready.into_iter().filter(|one| !one.job.is_stopped()) {
        destinations.push(one.route, one.job);
    }
    true
}

impl Spend {
    /// Whether the day that the units are of is over, or nearly so.
    pub fn is_over(&self) -> bool {
        let at = self.budgets.now();
        self.ends.is_some_and(|ends| at + BEFORE_MIDNIGHT >= ends)
    }

    /// The host may hear of the recipients from now on: the units are used.
    pub fn begin(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        if let Some(purse) = self.budgets.state.lock().purses.get_mut(&self.target) {
            purse.out = purse.out.saturating_sub(self.units);
        }
    }

    /// What became of the attempt.
    pub fn used(mut self, verdicts: &[(Verdict, Reply)]) {
        self.begin();
        let Some(day) = self.day else { return };
        let mut state = self.budgets.state.lock();
        let Some(purse) = state.purses.get_mut(&self.target) else {
            return;
        };
        let report = purse.results.entry(day).or_insert(Report {
            day,
            delivered: 0,
            deferred: 0,
            bounced: 0,
        });
        for (verdict, _) in verdicts {
            let count = match verdict {
                Verdict::Delivered => &mut report.delivered,
                Verdict::Deferred => &mut report.deferred,
                Verdict::Failed | Verdict::Expired => &mut report.bounced,
            };
            *count += 1;
        }
        // The day before this one is the oldest that anybody hears of.
        while purse.results.len() > 2 {
            purse.results.pop_first();
        }
    }
}

impl Drop for Spend {
    fn drop(&mut self) {
        if self.is_begun {
            return;
        }
        let mut state = self.budgets.state.lock();
        let Some(purse) = state.purses.get_mut(&self.target) else {
            return;
        };
        purse.out = purse.out.saturating_sub(self.units);
        if purse.day == self.day && purse.standing == Standing::Warming {
            purse.left += self.units;
        }
    }
}

#[cfg(test)]
#[path = "budgets_tests.rs"]
mod tests;
