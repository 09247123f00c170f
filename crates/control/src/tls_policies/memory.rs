//! What the leader remembers of domains beside the policies that are kept: when it looked, and what there was not. Pure: time is an
//! argument. Another leader looks anew.

use std::collections::HashMap;

use skein_model::sts::StsPolicy;
use skein_model::{DurationMs, UnixMs};

/// Twice so many domains are remembered; some 200 bytes each.
const GENERATION_MAX: usize = 50_000;
/// A domain that announces no policy, or whose policy cannot be had, is looked at again then (RFC 8461 3.3 wants five minutes
/// between attempts).
const ABSENT_FOR: DurationMs = DurationMs::from_secs(300);
/// One about which the DNS says nothing.
const UNKNOWN_FOR: DurationMs = DurationMs::from_secs(60);
/// What is asked for again before mail fails is fetched as often.
const FETCH_EVERY: DurationMs = DurationMs::from_secs(60);

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A policy is kept.
    Kept,
    /// There is one, and no room to keep it.
    Unkept(StsPolicy),
    /// None is announced, or it could not be had.
    Absent,
    /// The DNS gave no answer.
    Unknown,
}

#[derive(Debug, Clone)]
struct Seen {
    looked_at: UnixMs,
    fetched_at: Option<UnixMs>,
    found: Found,
}

#[derive(Debug)]
pub struct Memory {
    /// Whether a policy that is kept has another id by now is asked as often.
    look_every: DurationMs,
    seen: Generations<Seen>,
    asked: Generations<UnixMs>,
    version: u64,
}

impl Memory {
    pub fn new(look_every: DurationMs) -> Self {
        Self {
            look_every,
            seen: Generations::default(),
            asked: Generations::default(),
            version: 0,
        }
    }

    /// Mail goes there. `version`: of the policies that are kept. With another one an operator may have had a domain forgotten, also
    /// at another node, so that all are looked at anew.
    pub fn asked(&mut self, domain: &str, now: UnixMs, version: u64) {
        if self.version != version {
            self.version = version;
            self.seen = Generations::default();
        }
        self.asked.put(domain, now);
    }

    /// When mail last went there, as far as this leader knows.
    pub fn asked_at(&mut self, domain: &str) -> UnixMs {
        self.asked.get(domain).copied().unwrap_or_default()
    }

    /// A domain was looked at.
    pub fn looked(&mut self, domain: &str, now: UnixMs, has_fetched: bool, found: Found) {
        let before = self.seen.get(domain).and_then(|seen| seen.fetched_at);
        let seen = Seen {
            looked_at: now,
            fetched_at: has_fetched.then_some(now).or(before),
            found,
        };
        self.seen.put(domain, seen);
    }

    /// Nothing is known of it any more.
    pub fn forget(&mut self, domain: &str) {
        self.seen.remove(domain);
    }

    /// Of a domain without a policy that is kept: for how long it need not be looked at, and the policy that there is no room
    /// for. None: it is to be looked at.
    pub fn rests(&mut self, domain: &str, now: UnixMs) -> Option<(DurationMs, Option<StsPolicy>)> {
        let seen = self.seen.get(domain)?;
        let (policy, lasts) = match &seen.found {
            Found::Kept => return None,
            Found::Unkept(policy) => (Some(policy.clone()), ABSENT_FOR),
            Found::Absent => (None, ABSENT_FOR),
            Found::Unknown => (None, UNKNOWN_FOR),
        };
        let left = lasts.0.checked_sub(now.since(seen.looked_at).0)?;
        (left > 0).then_some((DurationMs(left), policy))
    }

    /// Whether it is time to ask if a policy that is kept has another id.
    pub fn is_look_due(&mut self, domain: &str, now: UnixMs) -> bool {
        let every = self.look_every;
        let seen = self.seen.get(domain);
        seen.is_none_or(|seen| now.since(seen.looked_at) >= every)
    }

    /// Whether it may be fetched again because mail would fail.
    pub fn is_fetch_due(&mut self, domain: &str, now: UnixMs) -> bool {
        let fetched = self.seen.get(domain).and_then(|seen| seen.fetched_at);
        let every = FETCH_EVERY.min(self.look_every);
        fetched.is_none_or(|at| now.since(at) >= every)
    }
}

/// Entries of which those that are used stay when there is no room for all.
#[derive(Debug)]
struct Generations<T> {
    young: HashMap<String, T>,
    old: HashMap<String, T>,
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<T> Generations<T> {
    fn get(&mut self, name: &str) -> Option<&T> {
        if let Some(value) = self.old.remove(name) {
            self.put(name, value);
        }
        self.young.get(name)
    }

    fn put(&mut self, name: &str, value: T) {
        self.old.remove(name);
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(name) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.to_owned(), value);
    }

    fn remove(&mut self, name: &str) {
        self.young.remove(name);
        self.old.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn after(seconds: u64) -> UnixMs {
        NOW + DurationMs::from_secs(seconds)
    }

    #[test]
    fn what_was_not_there_is_looked_at_again_after_a_while() {
        for (found, rests_s) in [(Found::Absent, 300), (Found::Unknown, 60), (Found::Kept, 0)] {
            let mut memory = Memory::new(DurationMs::from_secs(600));
            assert_eq!(memory.rests("a.example", NOW), None);
            memory.looked("a.example", NOW, false, found.clone());
            let rests = |memory: &mut Memory, at| memory.rests("a.example", at).is_some();
            assert_eq!(rests(&mut memory, NOW), rests_s > 0, "{found:?}");
            if rests_s > 0 {
                assert!(rests(&mut memory, after(rests_s - 1)), "{found:?}");
            }
            assert!(!rests(&mut memory, after(rests_s)), "{found:?}");
            memory.looked("a.example", NOW, false, found);
            memory.forget("a.example");
            assert!(!rests(&mut memory, NOW));
        }
    }

    #[test]
    fn a_policy_is_asked_about_and_fetched_no_more_often_than_it_may() {
        let mut memory = Memory::new(DurationMs::from_secs(600));
        assert!(memory.is_look_due("a.example", NOW) && memory.is_fetch_due("a.example", NOW));
        memory.looked("a.example", NOW, true, Found::Kept);
        for (at, look, fetch) in [
            (0, false, false),
            (59, false, false),
            (60, false, true),
            (600, true, true),
        ] {
            assert_eq!(memory.is_look_due("a.example", after(at)), look, "{at}");
            assert_eq!(memory.is_fetch_due("a.example", after(at)), fetch, "{at}");
        }
        memory.asked("a.example", NOW, 1);
        assert!(
            memory.is_look_due("a.example", NOW),
            "something was flushed"
        );
        memory.looked("a.example", NOW, true, Found::Kept);
        // A look without a fetch.
        memory.looked("a.example", after(600), false, Found::Kept);
        assert!(!memory.is_look_due("a.example", after(601)));
        assert!(memory.is_fetch_due("a.example", after(601)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::new(DurationMs::from_secs(600));
        memory.asked("used.example", NOW, 0);
        for n in 0..3 * GENERATION_MAX {
            memory.asked(&format!("d{n}.example"), NOW, 0);
            if n % 10_000 == 0 {
                assert_eq!(memory.asked_at("used.example"), NOW, "{n}");
            }
        }
        assert!(memory.asked.young.len() + memory.asked.old.len() <= 2 * GENERATION_MAX);
        assert_eq!(memory.asked_at("d1.example"), UnixMs(0));
    }
}
