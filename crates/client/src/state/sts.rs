//! MTA-STS policies as the leader told of them, for a while. Pure but for the lock: time is an argument.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skein_model::DurationMs;
use skein_model::sts::StsPolicy;

/// Twice so many domains are kept, with a policy or none; those that mail went to of late are moved on. A policy has some 300
/// bytes, and at most 16 KB.
const GENERATION_MAX: usize = 5000;

/// What the leader answered of a domain.
#[derive(Debug, Clone)]
pub struct Answered {
    /// None: the domain has no policy.
    pub policy: Option<Arc<StsPolicy>>,
    /// It need not be asked for before. Since the machine started.
    pub ask_again_at: DurationMs,
    /// Where no leader can be asked, it is gone by until then.
    pub valid_until: DurationMs,
}

#[derive(Debug, Default)]
pub struct KnownSts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    young: HashMap<String, Answered>,
    old: HashMap<String, Answered>,
}

/// What is known here of a domain.
#[derive(Debug, Clone)]
pub enum Known {
    Sure(Option<Arc<StsPolicy>>),
    /// The leader is to be asked; without one, this holds.
    Stale(Option<Arc<StsPolicy>>),
    Unknown,
}

impl KnownSts {
    /// The leader is at this version: policies of another one are asked for again.
    pub fn hear(&self, version: u64) {
        let mut inner = self.inner.lock();
        if inner.version == version {
            return;
        }
        inner.version = version;
        let inner = &mut *inner;
        for answered in inner.young.values_mut().chain(inner.old.values_mut()) {
            answered.ask_again_at = DurationMs(0);
        }
    }

    pub fn look_up(&self, domain: &str, now: DurationMs) -> Known {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.young.get(domain) {
            return at(known, now);
        }
        let Some(known) = inner.old.remove(domain) else {
            return Known::Unknown;
        };
        let found = at(&known, now);
        inner.put(domain.to_owned(), known);
        found
    }

    /// The leader answered at this version.
    pub fn learn(&self, domain: &str, answered: Answered) {
        let mut inner = self.inner.lock();
        inner.old.remove(domain);
        inner.put(domain.to_owned(), answered);
    }
}

impl Inner {
    fn put(&mut self, domain: String, answered: Answered) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&domain) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(domain, answered);
    }
}

fn at(known: &Answered, now: DurationMs) -> Known {
    if now < known.ask_again_at {
        Known::Sure(known.policy.clone())
    } else if now < known.valid_until {
        Known::Stale(known.policy.clone())
    } else {
        Known::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(ask_again_at: u64, valid_until: u64) -> Answered {
        Answered {
            policy: None,
            ask_again_at: DurationMs(ask_again_at),
            valid_until: DurationMs(valid_until),
        }
    }

    #[test]
    fn an_answer_is_sure_then_stale_then_forgotten() {
        let known = KnownSts::default();
        known.learn("a.example", answered(10, 20));
        let look = |at: u64| known.look_up("a.example", DurationMs(at));
        assert!(matches!(look(9), Known::Sure(None)));
        assert!(matches!(look(10), Known::Stale(None)));
        assert!(matches!(look(19), Known::Stale(None)));
        assert!(matches!(look(20), Known::Unknown));
        known.hear(1);
        assert!(
            matches!(look(9), Known::Stale(None)),
            "policies have changed"
        );
        known.hear(1);
        known.learn("a.example", answered(10, 20));
        known.hear(1);
        assert!(matches!(look(9), Known::Sure(None)));
    }

    #[test]
    fn what_is_used_outlives_any_number_of_others() {
        let known = KnownSts::default();
        known.learn("used.example", answered(10, 20));
        for n in 0..5 * GENERATION_MAX {
            known.learn(&format!("d{n}.example"), answered(10, 20));
            if n % 1000 == 0 {
                let used = known.look_up("used.example", DurationMs(1));
                assert!(matches!(used, Known::Sure(_)), "{n}");
            }
        }
        let inner = known.inner.lock();
        assert!(inner.young.len() + inner.old.len() <= 2 * GENERATION_MAX);
    }
}
