//! Several limits at once, all or none.

use std::collections::{BTreeMap, BTreeSet};

use super::limit::{Form, Limit, LimitId, Limiter};
use super::lowered::Lowered;
use super::purse::Purse;
use super::stake::Stake;
use crate::lease::Lease;
use crate::time::DurationMs;

/// A sender works at fewer sites than this within a day, with a few limits each. A limiter that counts nothing has about
/// 200 bytes, one that is in full use 1.6 kB more.
pub const LIMITERS_MAX: usize = 65_536;
/// Looking for idle limiters goes through all of them, and a window becomes idle in a second at the earliest.
const SWEEP_EVERY: DurationMs = DurationMs::from_secs(1);

/// A limit that what is about to be done must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    pub id: LimitId,
    /// As it is now. If it is another one than before, it holds at once for new tokens; what is out counts on.
    pub limit: Limit,
    /// What whoever had the site before has used counts, so whoever has it next is to know.
    pub is_inherited: bool,
    /// Nobody else has used the limit since then, on this process's clock; 0 if nobody ever has.
    pub gone_since: DurationMs,
}

/// A limit that does not let anything pass now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
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
    pub(super) fn of(want: &Want) -> Self {
        Self {
            id: want.id.clone(),
            form: want.limit.form(),
        }
    }
}

/// One token of each of several limits. It must come back by [`Gates::ended`] or [`Gates::cancel`]; one that is dropped
/// is out for good.
#[derive(Debug)]
#[must_use = "tokens that do not come back are out for good"]
pub struct Permit(Vec<Key>);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) limiter: Limiter,
    lowered: Option<Lowered>,
    pub(super) is_inherited: bool,
    gone_since: DurationMs,
    /// While the limit spans senders, and this one has a part in it.
    pub(super) stake: Option<Stake>,
}

/// All limits that one sender keeps.
#[derive(Debug)]
pub struct Gates {
    pub(super) entries: BTreeMap<Key, Entry>,
    /// Those that have a stake.
    pub(super) staked: BTreeSet<Key>,
    /// The version of the policy that limits are of.
    pub(super) policy: u64,
    entries_max: usize,
    swept_at: Option<DurationMs>,
    /// Purses that were made.
    pub(super) purses: u64,
    pub(super) lease: Lease,
}

impl Gates {
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            staked: BTreeSet::new(),
            policy: 0,
            entries_max,
            swept_at: None,
            purses: 0,
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
        let mut number = self.purses;
        for (_, purse) in self.purses() {
            number += 1;
            purse.renew(number);
        }
        self.purses = number;
        for stake in self.stakes() {
            stake.begin_session();
        }
    }

    /// Takes a token of each limit, or none.
    ///
    /// # Errors
    /// One has no token left, or there are too many limits in use.
    pub fn try_take(&mut self, now: DurationMs, wants: &[Want]) -> Result<Permit, Held> {
        self.make_room(now, wants)?;
        let mut held: Option<Held> = None;
        for want in wants {
            let until = self.prepare(now, want);
            let is_later = held.as_ref().is_none_or(|held| match (held.until, until) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(before), Some(until)) => until > before,
            });
            if until != Some(now) && is_later {
                let limit = want.id.clone();
                held = Some(Held { limit, until });
            }
        }
        if let Some(held) = held {
            return Err(held);
        }
        let mut permit = Permit(Vec::with_capacity(wants.len()));
        for want in wants {
            let key = Key::of(want);
            let entry = self.entries.get_mut(&key).expect("it was prepared");
            // Each is open, unless one is named twice.
            if !entry.limiter.take(now, self.lease) {
                let limit = key.id.clone();
                let until = entry.next_at(now, want.limit, self.lease);
                self.cancel(permit);
                return Err(Held { limit, until });
            }
            if let Some(stake) = &mut entry.stake {
                stake.took(now, &entry.limiter);
            }
            permit.0.push(key);
        }
        Ok(permit)
    }

    /// When a limit opens, after making it what it is now.
    fn prepare(&mut self, now: DurationMs, want: &Want) -> Option<DurationMs> {
        let purses = &mut self.purses;
        let entry = self.entries.entry(Key::of(want)).or_insert_with(|| {
            *purses += 1;
            Entry::new(Limiter::new(want.limit, *purses))
        });
        let effective = entry.effective(now, want.limit);
        let mut has_joined = false;
        let part = match (want.limit, effective) {
            (Limit::Wide { is_by_owner, .. }, Limit::Wide { limit, .. }) => {
                has_joined = entry.stake.is_none();
                let stake = entry.stake.get_or_insert_with(|| Stake::new(now, limit));
                let is_other = stake.set(limit, self.policy, is_by_owner);
                if let Limiter::Purse(purse) = &mut entry.limiter
                    && is_other
                {
                    *purses += 1;
                    purse.renew(*purses);
                }
                effective.with_count(limit.count().min(stake.may(now, self.lease)))
            }
            _ => effective,
        };
        entry.limiter.set(now, part);
        entry.is_inherited = want.is_inherited;
        if want.gone_since > entry.gone_since {
            entry.gone_since = want.gone_since;
            let count = want.limit.count().unwrap_or(0);
            entry.limiter.predecessor_gone(now, count, want.gone_since);
        }
        let opens = entry.next_at(now, want.limit, self.lease);
        if has_joined {
            self.joined(Key::of(want));
        }
        opens
    }

    /// Forgets idle limiters if there is no room. Those that are wanted now are made anew.
    fn make_room(&mut self, now: DurationMs, wants: &[Want]) -> Result<(), Held> {
        if self.has_room(wants).is_ok() {
            return Ok(());
        }
        let swept_at = self.swept_at.unwrap_or_default();
        let is_due = self.swept_at.is_none() || now.0.saturating_sub(swept_at.0) >= SWEEP_EVERY.0;
        if is_due {
            self.swept_at = Some(now);
            self.entries.retain(|_, entry| !entry.is_idle(now));
        }
        self.has_room(wants).map_err(|limit| Held {
            limit,
            until: Some(DurationMs(now.0 + SWEEP_EVERY.0)),
        })
    }

    fn has_room(&self, wants: &[Want]) -> Result<(), LimitId> {
        let room = self.entries_max.saturating_sub(self.entries.len());
        if wants.len() <= room {
            return Ok(());
        }
        let mut new = wants
            .iter()
            .filter(|want| !self.entries.contains_key(&Key::of(want)));
        new.nth(room).map_or(Ok(()), |want| Err(want.id.clone()))
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

    /// Lowers a limit of this process's own to `to` for a time; then it climbs back. One that spans processes is lowered by
    /// the leader.
    ///
    /// # Errors
    /// There are too many limits in use.
    pub fn lower(
        &mut self,
        now: DurationMs,
        want: &Want,
        to: u64,
        lasts: DurationMs,
    ) -> Result<(), Held> {
        let Some(full) = want.limit.count() else {
            return Ok(());
        };
        self.make_room(now, std::slice::from_ref(want))?;
        self.prepare(now, want);
        let entry = self.entry(&Key::of(want));
        entry.lowered = Some(Lowered::lower(entry.lowered, full, now, to, lasts));
        entry.limiter.set(now, entry.effective(now, want.limit));
        Ok(())
    }

    /// What is left of a limit now that may be lowered.
    pub fn effective(&self, now: DurationMs, want: &Want) -> Limit {
        let entry = self.entries.get(&Key::of(want));
        entry.map_or(want.limit, |entry| entry.effective(now, want.limit))
    }

    /// How many tokens of a limit count now: a share of it may be given away only below that.
    pub fn counted(&self, now: DurationMs, want: &Want) -> u64 {
        match self.entries.get(&Key::of(want)).map(|entry| &entry.limiter) {
            Some(limiter) => limiter.counted(now),
            None => 0,
        }
    }

    /// The tokens that the leader granted, to report them and to add to them.
    pub fn purses(&mut self) -> impl Iterator<Item = (&LimitId, &mut Purse)> {
        self.entries
            .iter_mut()
            .filter_map(|(key, entry)| match &mut entry.limiter {
                Limiter::Purse(purse) => Some((&key.id, purse)),
                _ => None,
            })
    }

    pub fn purse(&mut self, id: &LimitId) -> Option<&mut Purse> {
        let key = Key {
            id: id.clone(),
            form: Form::Granted,
        };
        match &mut self.entries.get_mut(&key)?.limiter {
            Limiter::Purse(purse) => Some(purse),
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what counts nothing. Not necessary for the bound on memory.
    pub fn forget_idle(&mut self, now: DurationMs) {
        self.entries.retain(|_, entry| !entry.is_idle(now));
    }
}

impl Entry {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self {
            limiter,
            lowered: None,
            is_inherited: false,
            gone_since: DurationMs(0),
            stake: None,
        }
    }

    pub(super) fn effective(&self, now: DurationMs, limit: Limit) -> Limit {
        match (self.lowered, limit.count()) {
            (Some(lowered), Some(full)) => limit.with_count(lowered.effective(full, now)),
            _ => limit,
        }
    }

    /// A limit that climbs opens at its next step, if not before.
    pub(super) fn next_at(
        &self,
        now: DurationMs,
        limit: Limit,
        lease: Lease,
    ) -> Option<DurationMs> {
        let opens = self.limiter.next_at(now, lease);
        if opens == Some(now) {
            return opens;
        }
        let full = limit.count().unwrap_or(0);
        let step = self
            .lowered
            .and_then(|lowered| lowered.next_step(full, now));
        opens.into_iter().chain(step).min()
    }

    pub(super) fn is_idle(&self, now: DurationMs) -> bool {
        let is_low = self
            .lowered
            .is_some_and(|lowered| !lowered.has_climbed(now));
        self.limiter.is_idle(now) && !is_low && self.stake.is_none()
    }
}
