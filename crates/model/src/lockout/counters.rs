//! Failures of many, each forgotten in a minute.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The wait before the next answer, which doubles with each further failure. Attempts count until they have turned out well, so
/// those of an honest client that logs in eight times at once wait a few seconds, and none of them has to come again.
const DELAY: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(8);
/// Who would wait longer for his turn is not asked to wait, but to come again: waiting sessions take up places.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A lock.
pub const LOCK: Duration = Duration::from_secs(900);
/// One failure is forgotten in this time.
pub const FORGET: Duration = Duration::from_secs(60);
/// Entries of each table, of about 100 bytes. Those with the fewest failures go first.
pub const ENTRIES_MAX: usize = 10_000;

/// By what failures are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Failures that make nobody wait.
    pub free: u32,
    /// With this many it is locked.
    pub failures_max: u32,
}

/// What becomes of entries without failures when room is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calm {
    Forgotten,
    /// Those that were used last.
    Kept,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    /// With those that are pending.
    failures: u32,
    /// Attempts that have not failed yet.
    pending: u32,
    /// Up to when failures were forgotten.
    at: Duration,
    /// When the next attempt is looked at, at the earliest.
    next_at: Duration,
    locked_until: Duration,
}

impl Counter {
    fn forget(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs() / FORGET.as_secs();
        let forgotten = u32::try_from(passed).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(forgotten);
        self.pending = self.pending.min(self.failures);
        self.at = match self.failures {
            0 => now,
            _ => self.at + FORGET * forgotten,
        };
    }

    /// The more, the longer an entry is kept.
    fn order(&self, other: &Self) -> Ordering {
        let weight = |counter: &Self| (counter.failures, counter.locked_until, counter.at);
        weight(self).cmp(&weight(other))
    }
}

impl Rule {
    fn delay(self, failures: u32) -> Duration {
        match failures.checked_sub(self.free + 1) {
            None => Duration::ZERO,
            Some(doublings) => DELAY.saturating_mul(1 << doublings.min(16)).min(DELAY_MAX),
        }
    }
}

/// Failures by whom they count for.
#[derive(Debug)]
pub struct Counters<K> {
    rule: Rule,
    calm: Calm,
    entries: HashMap<K, Counter>,
}

impl<K: Hash + Eq + Clone> Counters<K> {
    pub fn new(rule: Rule, calm: Calm) -> Self {
        Self {
            rule,
            calm,
            entries: HashMap::new(),
        }
    }

    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How long an attempt would wait.
    ///
    /// # Errors
    /// It is not looked at for this time.
    pub fn due(&self, key: &K, now: Duration) -> Result<Duration, Duration> {
        let Some(counter) = self.entries.get(key) else {
            return Ok(Duration::ZERO);
        };
        let locked = counter.locked_until.saturating_sub(now);
        let wait = counter.next_at.saturating_sub(now);
        match () {
            () if !locked.is_zero() => Err(locked),
            () if wait > WAIT_MAX => Err(wait),
            () => Ok(wait),
        }
    }

    /// Counts an attempt; returns how long it waits.
    pub fn begin(&mut self, key: K, now: Duration) -> Duration {
        let rule = self.rule;
        let counter = self.entry(key, now);
        counter.failures = counter.failures.saturating_add(1);
        counter.pending = counter.pending.saturating_add(1);
        let looked_at = counter.next_at.max(now) + rule.delay(counter.failures);
        counter.next_at = looked_at;
        looked_at.saturating_sub(now)
    }

    /// It did not fail.
    pub fn undo(&mut self, key: &K) {
        if let Some(counter) = self.entries.get_mut(key) {
            counter.failures = counter.failures.saturating_sub(1);
            counter.pending = counter.pending.saturating_sub(1);
        }
    }

    pub fn is_locked(&self, key: &K, now: Duration) -> bool {
        let counter = self.entries.get(key);
        counter.is_some_and(|counter| counter.locked_until > now)
    }

    /// Failures that count, and whether this one locks out who was not.
    pub fn failed(&mut self, key: &K, now: Duration) -> (u32, bool) {
        let failures_max = self.rule.failures_max;
        let Some(counter) = self.entries.get_mut(key) else {
            return (0, false);
        };
        counter.pending = counter.pending.saturating_sub(1);
        if counter.failures < failures_max {
            return (counter.failures, false);
        }
        let was_locked = counter.locked_until > now;
        counter.locked_until = now + LOCK;
        (counter.failures, !was_locked)
    }

    /// So many failed somewhere else.
    pub fn add(&mut self, key: K, failures: u32, now: Duration) {
        let failures_max = self.rule.failures_max;
        let counter = self.entry(key, now);
        counter.failures = counter.failures.saturating_add(failures);
        if counter.failures >= failures_max && failures > 0 {
            counter.locked_until = now + LOCK;
        }
    }

    /// Somewhere else is known of at least so many failures, and of a lock. Says whether that is news.
    pub fn raise(&mut self, key: K, failures: u32, locked_for: Duration, now: Duration) -> bool {
        // A clock of another machine that is wrong locks nobody out for longer.
        let locked_until = match locked_for.min(LOCK) {
            Duration::ZERO => Duration::ZERO,
            locked_for => now + locked_for,
        };
        let counter = self.entry(key, now);
        // What was said a moment ago is said again with a little less.
        let is_longer = locked_until > counter.locked_until + Duration::from_secs(2);
        let is_more = failures > counter.failures;
        counter.failures = counter.failures.max(failures);
        if is_longer {
            counter.locked_until = locked_until;
        }
        is_more || is_longer
    }

    /// Nothing counts for it any more, and it is there still.
    pub fn clear(&mut self, key: &K, now: Duration) -> bool {
        let Some(counter) = self.entries.get_mut(key) else {
            return false;
        };
        *counter = Counter {
            at: now,
            ..Counter::default()
        };
        true
    }

    /// Makes an entry without failures.
    pub fn note(&mut self, key: K, now: Duration) {
        self.entry(key, now);
    }

    /// What counts for one: failures, and for how long it is locked.
    pub fn of(&mut self, key: &K, now: Duration) -> Option<(u32, Duration)> {
        let counter = self.entries.get_mut(key)?;
        counter.forget(now);
        let locked_for = counter.locked_until.saturating_sub(now);
        Some((counter.failures, locked_for))
    }

    /// Of all, in no order, without attempts that are pending: these are told of when they have failed.
    pub fn all(&mut self, now: Duration) -> impl Iterator<Item = (&K, u32, Duration)> {
        self.entries.iter_mut().map(move |(key, counter)| {
            counter.forget(now);
            let locked_for = counter.locked_until.saturating_sub(now);
            (key, counter.failures - counter.pending, locked_for)
        })
    }

    fn entry(&mut self, key: K, now: Duration) -> &mut Counter {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let counter = self.entries.entry(key).or_default();
        counter.forget(now);
        counter
    }

    /// Forgets what decayed, or else the eighth with the fewest failures.
    fn make_room(&mut self, now: Duration) {
        if self.calm == Calm::Forgotten {
            self.entries.retain(|_, counter| {
                counter.forget(now);
                counter.failures > 0 || counter.locked_until > now
            });
        }
        let keep = ENTRIES_MAX - ENTRIES_MAX / 8;
        if self.entries.len() <= keep {
            return;
        }
        let mut order: Vec<(K, Counter)> = self.entries.drain().collect();
        let excess = order.len() - keep;
        order.select_nth_unstable_by(excess, |one, other| one.1.order(&other.1));
        self.entries = order.split_off(excess).into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_counter_forgets_a_failure_in_a_minute() {
        let mut counter = Counter {
            failures: 5,
            ..Counter::default()
        };
        for (at, left) in [(59, 5), (60, 4), (119, 4), (180, 2), (10_000, 0)] {
            counter.forget(s(at));
            assert_eq!(counter.failures, left, "{at}");
        }
        assert!(counter.at >= s(10_000));
    }

    #[test]
    fn delays_double_to_eight_seconds() {
        let rule = super::super::OF_CLIENTS;
        let delays: Vec<u128> = (1..=10).map(|n| rule.delay(n).as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000]);
    }
}
