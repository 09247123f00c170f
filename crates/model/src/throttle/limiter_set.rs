//! Several limits at once, all or none.

use std::collections::{BTreeMap, BTreeSet};

use super::allocation::Allocation;
use super::limit::{Form, Limit, LimitId, Limiter};
use super::token_lease::TokenLease;
use crate::lease::Lease;
use crate::time::DurationMs;

/// A sender works at fewer sites than this within a day, with a few limits each. A limiter that counts nothing has about
/// 200 bytes, one that is in full use 1.6 kB more.
pub const LIMITERS_MAX: usize = 65_536;
/// Looking for idle limiters goes through all of them, and a window becomes idle in a second at the earliest.
const SWEEP_EVERY: DurationMs = DurationMs::from_secs(1);

/// A limit that what is about to be done must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRequest {
    pub id: LimitId,
    /// As it is now. If it is another one than before, it holds at once for new tokens; what is out counts on.
    pub limit: Limit,
    /// What the owner before has used counts, so the next one is to know.
    pub is_inherited: bool,
    /// No other sender has used the limit since then, on this process's clock; 0 if none ever has.
    pub gone_since: DurationMs,
}

/// A limit that does not let anything pass now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttled {
    /// The one that opens last.
    pub limit: LimitId,
    /// When to try again; none: when something ends or is granted.
    pub until: Option<DurationMs>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: LimitId,
    pub(super) form: Form,
}

impl Key {
    pub(super) fn of(request: &LimitRequest) -> Self {
        Self {
            id: request.id.clone(),
            form: request.limit.form(),
        }
    }
}

/// One token of each of several limits. It must come back by [`LimiterSet::ended`] or [`LimiterSet::cancel`]; one that is dropped
/// is out for good.
#[derive(Debug)]
#[must_use = "tokens that do not come back are out for good"]
pub struct Permit(Vec<Key>);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) limiter: Limiter,
    pub(super) is_inherited: bool,
    gone_since: DurationMs,
    /// While the limit spans senders, and this one has a part in it.
    pub(super) allocation: Option<Allocation>,
}

/// All limits that one sender keeps.
#[derive(Debug)]
pub struct LimiterSet {
    pub(super) entries: BTreeMap<Key, Entry>,
    /// Those that have an allocation.
    pub(super) allocated: BTreeSet<Key>,
    /// The version of the policy that limits are of.
    pub(super) policy: u64,
    entries_max: usize,
    swept_at: Option<DurationMs>,
    /// Token leases that were made.
    pub(super) token_leases: u64,
    pub(super) lease: Lease,
}

impl LimiterSet {
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            allocated: BTreeSet::new(),
            policy: 0,
            entries_max,
            swept_at: None,
            token_leases: 0,
            lease: Lease::ENDED,
        }
    }

    /// The session's lease, without which nothing that was granted is used.
    pub fn renew(&mut self, lease: Lease) {
        self.lease = lease;
    }

    /// The process has another session: what an earlier one was granted is spent. To be called before any report.
    pub fn begin_session(&mut self, lease: Lease) {
        self.lease = lease;
        let mut number = self.token_leases;
        for (_, token_lease) in self.token_leases() {
            number += 1;
            token_lease.renew(number);
        }
        self.token_leases = number;
        for allocation in self.allocations() {
            allocation.begin_session();
        }
    }

    /// Takes a token of each limit, or none.
    ///
    /// # Errors
    /// One has no token left, or there are too many limits in use.
    pub fn try_take(
        &mut self,
        now: DurationMs,
        requests: &[LimitRequest],
    ) -> Result<Permit, Throttled> {
        self.make_room(now, requests)?;
        let mut throttled: Option<Throttled> = None;
        for request in requests {
            let until = self.prepare(now, request);
            let is_later =
                throttled
                    .as_ref()
                    .is_none_or(|throttled| match (throttled.until, until) {
                        (None, _) => false,
                        (Some(_), None) => true,
                        (Some(before), Some(until)) => until > before,
                    });
            if until != Some(now) && is_later {
                let limit = request.id.clone();
                throttled = Some(Throttled { limit, until });
            }
        }
        if let Some(throttled) = throttled {
            return Err(throttled);
        }
        let mut permit = Permit(Vec::with_capacity(requests.len()));
        for request in requests {
            let key = Key::of(request);
            let entry = self.entries.get_mut(&key).expect("it was prepared");
            // Each is open, unless one is named twice.
            if !entry.limiter.take(now, self.lease) {
                let limit = key.id.clone();
                let until = entry.limiter.next_at(now, self.lease);
                self.cancel(permit);
                return Err(Throttled { limit, until });
            }
            if let Some(allocation) = &mut entry.allocation {
                allocation.took(now, &entry.limiter);
            }
            permit.0.push(key);
        }
        Ok(permit)
    }

    /// When a limit opens, after making it what it is now.
    fn prepare(&mut self, now: DurationMs, request: &LimitRequest) -> Option<DurationMs> {
        let token_leases = &mut self.token_leases;
        let entry = self.entries.entry(Key::of(request)).or_insert_with(|| {
            *token_leases += 1;
            Entry::new(Limiter::new(request.limit, *token_leases))
        });
        let mut has_joined = false;
        let part = match request.limit {
            Limit::Shared { limit, is_by_owner } => {
                has_joined = entry.allocation.is_none();
                let allocation = entry
                    .allocation
                    .get_or_insert_with(|| Allocation::new(now, limit));
                let is_other = allocation.set(limit, self.policy, is_by_owner);
                if let Limiter::TokenLease(token_lease) = &mut entry.limiter
                    && is_other
                {
                    *token_leases += 1;
                    token_lease.renew(*token_leases);
                }
                if let Limiter::TokenLease(token_lease) = &mut entry.limiter
                    && allocation.is_unsettled()
                {
                    token_lease.give_back();
                }
                request
                    .limit
                    .with_count(limit.count().min(allocation.may(now, self.lease)))
            }
            _ => request.limit,
        };
        entry.limiter.set(now, part);
        entry.is_inherited = request.is_inherited;
        if request.gone_since > entry.gone_since {
            entry.gone_since = request.gone_since;
            let count = request.limit.count().unwrap_or(0);
            entry
                .limiter
                .predecessor_gone(now, count, request.gone_since);
        }
        let opens = entry.limiter.next_at(now, self.lease);
        if has_joined {
            self.joined(Key::of(request));
        }
        opens
    }

    /// Forgets idle limiters if there is no room. Those that are wanted now are made anew.
    fn make_room(&mut self, now: DurationMs, requests: &[LimitRequest]) -> Result<(), Throttled> {
        if self.has_room(requests).is_ok() {
            return Ok(());
        }
        let swept_at = self.swept_at.unwrap_or_default();
        let is_due = self.swept_at.is_none() || now.0.saturating_sub(swept_at.0) >= SWEEP_EVERY.0;
        if is_due {
            self.swept_at = Some(now);
            self.entries.retain(|_, entry| !entry.is_idle(now));
        }
        self.has_room(requests).map_err(|limit| Throttled {
            limit,
            until: Some(DurationMs(now.0 + SWEEP_EVERY.0)),
        })
    }

    fn has_room(&self, requests: &[LimitRequest]) -> Result<(), LimitId> {
        let room = self.entries_max.saturating_sub(self.entries.len());
        if requests.len() <= room {
            return Ok(());
        }
        let mut new = requests
            .iter()
            .filter(|request| !self.entries.contains_key(&Key::of(request)));
        new.nth(room)
            .map_or(Ok(()), |request| Err(request.id.clone()))
    }

    /// What was to be done is over.
    pub fn ended(&mut self, now: DurationMs, permit: Permit) {
        for key in permit.0 {
            self.entry(&key).limiter.ended(now);
        }
    }

    /// It was not begun, and will not be.
    pub fn cancel(&mut self, permit: Permit) {
        for key in permit.0 {
            self.entry(&key).limiter.cancel();
        }
    }

    /// A connection is made: what counts attempts ends, what counts connections goes on.
    pub fn opened(&mut self, now: DurationMs, permit: &mut Permit) {
        permit.0.retain(|key| {
            let goes_on = key.form == Form::Concurrency;
            if !goes_on {
                self.entry(key).limiter.ended(now);
            }
            goes_on
        });
    }

    fn entry(&mut self, key: &Key) -> &mut Entry {
        let entry = self.entries.get_mut(key);
        entry.expect("a limiter with tokens out is not forgotten")
    }

    /// How many tokens of a limit count now: a share of it may be given away only below that.
    pub fn counted(&self, now: DurationMs, request: &LimitRequest) -> u64 {
        match self
            .entries
            .get(&Key::of(request))
            .map(|entry| &entry.limiter)
        {
            Some(limiter) => limiter.counted(now),
            None => 0,
        }
    }

    /// Limits on connections of which some are in use: how many those are, and how many may be here.
    pub fn connections_in_use(&self) -> impl Iterator<Item = (&LimitId, u64, u64)> {
        self.entries
            .iter()
            .filter_map(|(key, entry)| match &entry.limiter {
                Limiter::Concurrency(limiter) if limiter.out() > 0 => {
                    Some((&key.id, limiter.out(), limiter.limit()))
                }
                _ => None,
            })
    }

    /// The tokens that the leader granted, to report them and to add to them.
    pub fn token_leases(&mut self) -> impl Iterator<Item = (&LimitId, &mut TokenLease)> {
        self.entries
            .iter_mut()
            .filter_map(|(key, entry)| match &mut entry.limiter {
                Limiter::TokenLease(token_lease) => Some((&key.id, token_lease)),
                _ => None,
            })
    }

    pub fn token_lease(&mut self, id: &LimitId) -> Option<&mut TokenLease> {
        let key = Key {
            id: id.clone(),
            form: Form::Granted,
        };
        match &mut self.entries.get_mut(&key)?.limiter {
            Limiter::TokenLease(token_lease) => Some(token_lease),
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what counts nothing, so that a test sees what does.
    #[cfg(test)]
    pub(super) fn forget_idle(&mut self, now: DurationMs) {
        self.entries.retain(|_, entry| !entry.is_idle(now));
    }
}

impl Entry {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self {
            limiter,
            is_inherited: false,
            gone_since: DurationMs(0),
            allocation: None,
        }
    }

    pub(super) fn is_idle(&self, now: DurationMs) -> bool {
        self.limiter.is_idle(now) && self.allocation.is_none()
    }
}
