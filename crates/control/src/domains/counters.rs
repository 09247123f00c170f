//! What is counted of domains.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use skein_wire::v1::DomainState;

#[derive(Debug, Default)]
pub struct Counters {
    good: AtomicU64,
    faulty: AtomicU64,
    failed: AtomicU64,
    /// As the leader last looked.
    states: Mutex<BTreeMap<DomainState, u64>>,
}

impl Counters {
    pub fn checked(&self, has_findings: bool) {
        let counter = match has_findings {
            true => &self.faulty,
            false => &self.good,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Checks by their results.
    pub fn checks(&self) -> [(&'static str, u64); 3] {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("good", of(&self.good)),
            ("faulty", of(&self.faulty)),
            ("failed", of(&self.failed)),
        ]
    }

    pub fn set_states(&self, counts: BTreeMap<DomainState, u64>) {
        *self.states.lock() = counts;
    }

    /// Domains by their states, as the leader last looked.
    pub fn states(&self) -> [(&'static str, u64); 3] {
        let states = self.states.lock();
        let words = [
            ("unverified", DomainState::Unverified),
            ("waiting", DomainState::Waiting),
            ("signing", DomainState::Signing),
        ];
        words.map(|(word, state)| (word, states.get(&state).copied().unwrap_or(0)))
    }
}
