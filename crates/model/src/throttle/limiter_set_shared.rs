//! What a sender tells the leader of limits that span senders, and what it is told.

use std::collections::BTreeSet;

use super::allocation::{Allocation, Before, LimitAnswer, LimitReport};
use super::limit::{Counted, Form, Limit, LimitId, Limiter, SharedLimit};
use super::limiter_set::{Entry, Key, LimitRequest, LimiterSet, Throttled};
use super::token_lease::TokenLease;
use crate::time::DurationMs;

/// Limits in one report: 300 kB, which is less than a Raft entry holds.
pub const REPORTS_MAX: usize = 2048;

impl LimiterSet {
    /// Which version of the policy the limits are of that are wanted from now on.
    pub fn set_policy(&mut self, version: u64) {
        self.policy = version;
    }

    /// Nothing was taken of these. `demand` events would go now if they could. Says when that is to be reported; none:
    /// no limit that senders share is in the way.
    pub fn refused(
        &mut self,
        now: DurationMs,
        requests: &[LimitRequest],
        throttled: &Throttled,
        demand: u64,
    ) -> Option<DurationMs> {
        let lease = self.lease;
        let mut due = None;
        for request in requests {
            let Some(entry) = self.entries.get_mut(&Key::of(request)) else {
                continue;
            };
            if entry.limiter.next_at(now, lease) == Some(now) {
                continue;
            }
            // One waits in a queue for a single limit; the others must not be asked for only when that one opens.
            let until = match request.id == throttled.limit {
                true => throttled.until,
                false => Some(DurationMs(now.0 + 1000)),
            };
            if let Some(allocation) = &mut entry.allocation {
                allocation.refused(now, demand, until);
                let at = allocation.due_at(now, &entry.limiter);
                due = Some(due.map_or(at, |due: DurationMs| due.min(at)));
            }
        }
        due
    }

    /// Tokens of these have come back. Says when that is to be reported, if the leader waits for it.
    pub fn ended_at(&self, now: DurationMs, ids: &[LimitId]) -> Option<DurationMs> {
        let connections = ids.iter().filter(|id| id.counts == Counted::Connections);
        let due = connections.filter_map(|id| {
            let (id, form) = (id.clone(), Form::Concurrency);
            let entry = self.entries.get(&Key { id, form })?;
            Some(entry.allocation.as_ref()?.due_at(now, &entry.limiter))
        });
        due.min()
    }

    /// Whether a part of this limit is throttled or asked for here.
    pub fn has_allocation(&self, id: &LimitId) -> bool {
        let forms = [Form::Rate, Form::Concurrency, Form::Granted];
        !self.allocated.is_empty()
            && forms.into_iter().any(|form| {
                let id = id.clone();
                self.allocated.contains(&Key { id, form })
            })
    }

    /// These sites are several senders' from now on. What this one has used of their limits by itself is told with the
    /// next report.
    pub fn share_sites(&mut self, now: DurationMs, sites: &BTreeSet<String>) {
        if sites.is_empty() {
            return;
        }
        let of_them = self.entries.iter().filter(|(key, entry)| {
            let is_of_them = key.id.site().is_some_and(|site| sites.contains(site));
            is_of_them && !key.id.is_of_node() && entry.limiter.counted(now) > 0
        });
        let of_them: Vec<Key> = of_them.map(|(key, _)| key.clone()).collect();
        for key in of_them {
            let Some((limit, before)) = self.entries[&key].alone(now) else {
                continue;
            };
            let form = form(limit);
            let is_granted = form != key.form;
            let (key, policy) = (Key { form, ..key }, self.policy);
            self.token_leases += 1;
            let token_lease = Limiter::TokenLease(TokenLease::new(self.token_leases));
            // Tokens that are out go back to where they are from, whatever becomes of the limit.
            let entry = self.entries.entry(key.clone());
            let entry = entry.or_insert_with(|| Entry::new(token_lease));
            let allocation = entry.allocation.get_or_insert_with(|| {
                let mut allocation = Allocation::new(now, limit);
                let _ = allocation.set(limit, policy, true);
                allocation
            });
            let before = match is_granted {
                true => before,
                false => Before::default(),
            };
            allocation.used_before(before);
            self.allocated.insert(key);
        }
    }

    /// Sites are about to be another sender's: what they have of connections is let go of as it ends.
    pub fn leave(&mut self, is_leaving: impl Fn(&str) -> bool) {
        for key in &self.allocated {
            let is_it = key.form == Form::Concurrency && key.id.site().is_some_and(&is_leaving);
            let entry = self.entries.get_mut(key).filter(|_| is_it);
            if let Some(allocation) = entry.and_then(|entry| entry.allocation.as_mut()) {
                allocation.leaves();
            }
        }
    }

    /// Sites that are about to be another sender's, with connections that are still open here and that the leader does not
    /// count: the other one would have the whole limit beside them. [`Self::share_sites`] brings them to the leader.
    pub fn left_open(&self, is_leaving: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let left = self.entries.iter().filter(|(key, entry)| {
            let is_heard = entry.allocation.as_ref().is_some_and(Allocation::is_heard);
            let is_open = match &entry.limiter {
                Limiter::Concurrency(connections) => connections.out() > 0,
                _ => false,
            };
            is_open && entry.is_inherited && !is_heard && !key.id.is_of_node()
        });
        let sites = left.filter_map(|(key, _)| key.id.site());
        sites
            .filter(|site| is_leaving(site))
            .map(str::to_owned)
            .collect()
    }

    /// The leader knows what was used alone.
    pub fn told_shared(&mut self, reports: &[LimitReport]) {
        for report in reports {
            let key = Key {
                id: report.id.clone(),
                form: form(report.limit),
            };
            let entry = self.entries.get_mut(&key);
            if let Some(allocation) = entry.and_then(|entry| entry.allocation.as_mut()) {
                allocation.is_told();
            }
        }
    }

    /// A limit has an allocation. If it was of another form before, that one ends: the leader counts it as used up.
    pub(super) fn joined(&mut self, key: Key) {
        for form in [Form::Rate, Form::Concurrency, Form::Granted] {
            let id = key.id.clone();
            let other = Key { id, form };
            if form != key.form && self.allocated.remove(&other) {
                let entry = self.entries.get_mut(&other);
                entry.expect("what has an allocation is kept").allocation = None;
            }
        }
        self.allocated.insert(key);
    }

    /// When to report next; none: nothing spans senders here.
    pub fn report_at(&self, now: DurationMs) -> Option<DurationMs> {
        let allocated = self.allocated.iter().filter_map(|key| {
            let entry = self.entries.get(key)?;
            Some(entry.allocation.as_ref()?.due_at(now, &entry.limiter))
        });
        allocated.min()
    }

    /// What is to be told now. `waiting` says how many events wait in queues for a limit.
    pub fn reports(
        &mut self,
        now: DurationMs,
        waiting: impl Fn(&LimitId) -> u64,
    ) -> Vec<LimitReport> {
        let mut reports = Vec::new();
        for key in &self.allocated {
            let Some(entry) = self.entries.get_mut(key) else {
                continue;
            };
            if reports.len() >= REPORTS_MAX {
                break;
            }
            if let Some(allocation) = &mut entry.allocation
                && allocation.due_at(now, &entry.limiter) <= now
            {
                let waiting = waiting(&key.id);
                reports.push(allocation.report(now, &key.id, &mut entry.limiter, waiting));
            }
        }
        reports
    }

    /// Takes the answers to reports of this session. Says of which limits more may be used than before, and how much.
    pub fn answered(
        &mut self,
        now: DurationMs,
        reports: &[LimitReport],
        answers: &[LimitAnswer],
    ) -> Vec<(LimitId, u64)> {
        let mut more = Vec::new();
        for (report, answer) in reports.iter().zip(answers) {
            let key = Key {
                id: report.id.clone(),
                form: form(report.limit),
            };
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let Some(allocation) = &mut entry.allocation else {
                continue;
            };
            if *answer == LimitAnswer::Closed && allocation.is_closing() {
                entry.allocation = None;
                self.allocated.remove(&key);
                if entry.is_at_rest(now) {
                    self.entries.remove(&key);
                }
                // An owner that came meanwhile begins anew.
                more.push((key.id, 1));
                continue;
            }
            let brought = allocation.answered(report.limit, *answer, &mut entry.limiter);
            if brought > 0 {
                more.push((key.id, brought));
            }
        }
        more
    }

    /// Whether one of so many connections of a limit is to end, because there are more than this sender's share.
    pub fn must_leave(&mut self, now: DurationMs, id: &LimitId) -> bool {
        let lease = self.lease;
        let Some(entry) = self.connections(id) else {
            return false;
        };
        match &mut entry.allocation {
            Some(allocation) => allocation.must_leave(now, lease, &entry.limiter),
            // The next owner of the site has the whole limit.
            None => !lease.holds(now),
        }
    }

    /// A connection of a limit has nothing to do, or has again, or ends. Says whether that is counted.
    pub fn idles(&mut self, id: &LimitId, is_idle: bool) -> bool {
        let allocation = self
            .connections(id)
            .and_then(|entry| entry.allocation.as_mut());
        let is_counted = allocation.is_some();
        if let Some(allocation) = allocation {
            allocation.idles(is_idle);
        }
        is_counted
    }

    /// One that was to end has ended.
    pub fn left(&mut self, id: &LimitId) {
        if let Some(allocation) = self
            .connections(id)
            .and_then(|entry| entry.allocation.as_mut())
        {
            allocation.left();
        }
    }

    /// Whether there are more connections of some limit than this sender's share.
    pub fn is_over(&self, now: DurationMs) -> bool {
        let mut allocated = self.allocated.iter();
        allocated.any(|key| {
            let entry = self.entries.get(key);
            key.form == Form::Concurrency
                && entry.is_some_and(|entry| {
                    let allocation = entry.allocation.as_ref();
                    allocation.is_some_and(|allocation| {
                        allocation.is_over(now, self.lease, &entry.limiter)
                    })
                })
        })
    }

    fn connections(&mut self, id: &LimitId) -> Option<&mut Entry> {
        let key = Key {
            id: id.clone(),
            form: Form::Concurrency,
        };
        self.entries.get_mut(&key)
    }

    pub(super) fn allocations(&mut self) -> impl Iterator<Item = &mut Allocation> {
        self.entries
            .values_mut()
            .filter_map(|entry| entry.allocation.as_mut())
    }
}

fn form(limit: SharedLimit) -> Form {
    let is_by_owner = false;
    Limit::Shared { limit, is_by_owner }.form()
}

impl Entry {
    /// The limit as it is kept here alone, and what counts of it; none if it is granted.
    fn alone(&self, now: DurationMs) -> Option<(SharedLimit, Before)> {
        let out = match &self.limiter {
            Limiter::Window(window) => window.out(),
            Limiter::Concurrency(concurrency) => concurrency.out(),
            Limiter::TokenLease(_) => return None,
        };
        let limit = match &self.limiter {
            Limiter::Window(window) => SharedLimit::Rate(window.rate()),
            Limiter::Concurrency(concurrency) => SharedLimit::Connections(concurrency.limit()),
            Limiter::TokenLease(_) => return None,
        };
        let ended = self.limiter.counted(now).saturating_sub(out);
        Some((limit, Before { ended, out }))
    }

    fn is_at_rest(&self, now: DurationMs) -> bool {
        match &self.limiter {
            Limiter::TokenLease(token_lease) => token_lease.is_at_rest(),
            _ => self.is_idle(now),
        }
    }
}
