//! Units of a budget that a task has taken, until it is known what became of them.

use std::sync::Arc;

use skein_model::spool::Verdict;
use skein_model::warmup::{Day, Report, Target};
use skein_model::{Reply, UnixMs};

use crate::source_ip::budgets::{Budgets, Stoppable};
use crate::source_ip::unit_lease::{BEFORE_MIDNIGHT, Standing, UnitLease};

/// Units that a task has taken. Dropped before its attempt has begun, they go back to the lease.
pub struct Spend<T: Stoppable> {
    budgets: Arc<Budgets<T>>,
    target: Target,
    units: u64,
    day: Option<Day>,
    ends: Option<UnixMs>,
    is_begun: bool,
}

impl<T: Stoppable> Spend<T> {
    pub fn new(
        budgets: Arc<Budgets<T>>,
        target: Target,
        units: u64,
        unit_lease: &UnitLease,
    ) -> Self {
        Self {
            budgets,
            target,
            units,
            day: unit_lease.day,
            ends: unit_lease.ends,
            is_begun: false,
        }
    }

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
        if let Some(unit_lease) = self.budgets.state().unit_leases.get_mut(&self.target) {
            unit_lease.out = unit_lease.out.saturating_sub(self.units);
        }
    }

    /// The attempt ended with these verdicts.
    pub fn used(mut self, verdicts: &[(Verdict, Reply)]) {
        self.begin();
        let Some(day) = self.day else { return };
        let mut state = self.budgets.state();
        let Some(unit_lease) = state.unit_leases.get_mut(&self.target) else {
            return;
        };
        let report = unit_lease.results.entry(day).or_insert(Report {
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
        // The day before this one is the oldest that the leader counts.
        while unit_lease.results.len() > 2 {
            unit_lease.results.pop_first();
        }
    }
}

impl<T: Stoppable> Drop for Spend<T> {
    fn drop(&mut self) {
        if self.is_begun {
            return;
        }
        let mut state = self.budgets.state();
        let Some(unit_lease) = state.unit_leases.get_mut(&self.target) else {
            return;
        };
        unit_lease.out = unit_lease.out.saturating_sub(self.units);
        if unit_lease.day == self.day && unit_lease.standing == Standing::Warming {
            unit_lease.left += self.units;
        }
    }
}
