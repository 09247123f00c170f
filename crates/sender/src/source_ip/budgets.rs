//! Budgets of IPs that are warming up: asked for in small parts, and spent attempt by attempt.
//!
//! One unit is one attempt at one recipient. What is in the lease was granted for one day and is used up by the day's
//! end, whether it was spent or not. A task that finds too little in the lease waits here until more was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use skein_client::{GroupTime, KeptSession};
use skein_model::UnixMs;
use skein_model::warmup::{ASKS_MAX, Ask, Granted, Target};
use skein_policy::{Ip, Policy};
use tokio::sync::Notify;

use crate::source_ip::spend::Spend;
use crate::source_ip::unit_lease::{Open, Standing, UnitLease};
use crate::wall_clock::now;

/// Each answer brings a part of what is asked for; this many ask again in a second.
const ASK_EVERY: Duration = Duration::from_millis(50);
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// Results are told this long after they are there, if nothing is asked for before.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// A task that may wait for units.
pub trait Stoppable {
    /// The task is not to be sent from here any more.
    fn is_stopped(&self) -> bool;
}

/// The answer to a task that goes from an IP.
pub enum Taken<T: Stoppable> {
    /// No budget applies.
    Free,
    Units(Spend<T>),
    /// The task is to wait for the answer of the leader.
    Ask(Target),
}

struct Parked<T> {
    target: Target,
    units: u64,
    task: T,
}

pub(super) struct BudgetState<T> {
    pub unit_leases: BTreeMap<Target, UnitLease>,
    /// Tasks that wait for an answer; no more than the sender's window.
    parked: Vec<Parked<T>>,
    time: Option<GroupTime>,
}

impl<T> Default for BudgetState<T> {
    fn default() -> Self {
        Self {
            unit_leases: BTreeMap::new(),
            parked: Vec::new(),
            time: None,
        }
    }
}

impl<T> BudgetState<T> {
    fn now(&self) -> UnixMs {
        self.time.map_or_else(now, |time| time.now())
    }
}

/// The leases of units of this sender: one for each IP and provider that policy warms up and that has had mail.
pub struct Budgets<T> {
    state: Mutex<BudgetState<T>>,
    wake: Notify,
}

impl<T> Default for Budgets<T> {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }
}

fn target_of(policy: &Policy, ip: &Ip, site: &str) -> Option<Target> {
    let warmup = policy.warmup_of(&ip.name)?;
    Some(Target {
        ip: ip.public.to_canonical(),
        provider: warmup.provider_of(site).to_owned(),
    })
}

impl<T: Stoppable> Budgets<T> {
    pub(super) fn state(&self) -> MutexGuard<'_, BudgetState<T>> {
        self.state.lock()
    }

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
        let unit_lease = state
            .unit_leases
            .entry(target)
            .or_insert_with(UnitLease::new);
        unit_lease.pass(at);
        unit_lease.open(at, need)
    }

    /// Takes units for a task that goes from an IP.
    pub fn take(
        self: &Arc<Self>,
        policy: &Policy,
        ip: Option<&Ip>,
        site: &str,
        units: u64,
    ) -> Taken<T> {
        let Some(target) = ip.and_then(|ip| target_of(policy, ip, site)) else {
            return Taken::Free;
        };
        let mut state = self.state.lock();
        let at = state.now();
        let unit_lease = state
            .unit_leases
            .entry(target.clone())
            .or_insert_with(UnitLease::new);
        // The results of a warm IP are told as well: providers forget one that falls silent.
        let is_warm = unit_lease.standing == Standing::Warm && !unit_lease.may_ask(at);
        let units = if is_warm { 0 } else { units };
        if unit_lease.left < units {
            return Taken::Ask(target);
        }
        unit_lease.left -= units;
        unit_lease.out += units;
        Taken::Units(Spend::new(self.clone(), target, units, unit_lease))
    }

    /// Keeps a task until the leader has answered.
    pub fn park(&self, target: Target, units: u64, task: T) {
        let mut state = self.state.lock();
        if task.is_stopped() {
            // `drop_stopped` may have been here before.
            drop(state);
            return;
        }
        if let Some(unit_lease) = state.unit_leases.get_mut(&target) {
            unit_lease.demand += units;
        }
        state.parked.push(Parked {
            target,
            units,
            task,
        });
        drop(state);
        self.wake.notify_one();
    }

    /// Drops tasks that are not to be sent from here.
    pub fn drop_stopped(&self) {
        let mut state = self.state.lock();
        let BudgetState {
            unit_leases,
            parked,
            ..
        } = &mut *state;
        let stopped = parked.extract_if(.., |one| one.task.is_stopped());
        let stopped: Vec<Parked<T>> = stopped.collect();
        for one in &stopped {
            if let Some(unit_lease) = unit_leases.get_mut(&one.target) {
                unit_lease.demand = unit_lease.demand.saturating_sub(one.units);
            }
        }
        drop(state);
        // The units of a dropped task go back under the lock.
        drop(stopped);
    }

    /// The asks that are due, with the results that are to be told.
    fn asks(&self, is_to_tell: bool) -> Vec<Ask> {
        let mut state = self.state.lock();
        let wanted = state.unit_leases.iter_mut();
        let wanted = wanted.filter(|(_, unit_lease)| {
            unit_lease.want() > 0 || (is_to_tell && !unit_lease.results.is_empty())
        });
        let asks = wanted.take(ASKS_MAX).map(|(target, unit_lease)| Ask {
            target: target.clone(),
            want: unit_lease.want(),
            reports: std::mem::take(&mut unit_lease.results)
                .into_values()
                .collect(),
        });
        asks.collect()
    }

    /// Whether a task waits for an answer.
    fn is_wanted(&self) -> bool {
        !self.state.lock().parked.is_empty()
    }

    /// Fills leases, and gives out the tasks that waited for that.
    fn answered(&self, asks: &[Ask], granted: &[Granted], time: GroupTime) -> Vec<Parked<T>> {
        let mut state = self.state.lock();
        state.time = Some(time);
        let at = time.now();
        for (ask, granted) in asks.iter().zip(granted) {
            let Some(unit_lease) = state.unit_leases.get_mut(&ask.target) else {
                continue;
            };
            unit_lease.pass(at);
            unit_lease.fill(at, ask, granted);
        }
        let told: BTreeSet<&Target> = asks.iter().map(|ask| &ask.target).collect();
        state.unpark(|one| told.contains(&one.target))
    }

    /// Gives out tasks for which there are units here again, as those of an attempt that was not begun: nothing is asked for
    /// while there is enough, so no answer would bring them on.
    fn served(&self) -> Vec<Parked<T>> {
        let mut state = self.state.lock();
        let at = state.now();
        let BudgetState {
            unit_leases,
            parked,
            ..
        } = &mut *state;
        let mut left = BTreeMap::new();
        for one in &*parked {
            if let Some(unit_lease) = unit_leases.get_mut(&one.target) {
                unit_lease.pass(at);
                left.insert(one.target.clone(), unit_lease.left);
            }
        }
        state.unpark(|one| is_served(&mut left, &one.target, one.units))
    }

    /// Asks and tells until the process ends, or `give_out` says that no task is taken any more.
    pub async fn ask(self: Arc<Self>, session: Arc<KeptSession>, give_out: impl Fn(T) -> bool) {
        let give_out = |ready: Vec<Parked<T>>| {
            let mut ready = ready.into_iter().filter(|one| !one.task.is_stopped());
            ready.all(|one| give_out(one.task))
        };
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
            if !give_out(served) {
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
            if !give_out(ready) {
                return;
            }
        }
    }
}

impl<T> BudgetState<T> {
    fn unpark(&mut self, mut is_ready: impl FnMut(&Parked<T>) -> bool) -> Vec<Parked<T>> {
        let ready = self.parked.extract_if(.., |one| is_ready(one));
        let ready: Vec<Parked<T>> = ready.collect();
        for one in &ready {
            if let Some(unit_lease) = self.unit_leases.get_mut(&one.target) {
                unit_lease.demand = unit_lease.demand.saturating_sub(one.units);
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

#[cfg(test)]
#[path = "budgets_tests.rs"]
mod tests;
