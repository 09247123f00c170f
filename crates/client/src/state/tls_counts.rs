//! How TLS with hosts of other domains went, until the leader is told. Counting never waits, and has bounds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use skein_model::tls_report::{Day, DayCounts, TlsResult};

/// Domains and days that wait to be told of; some 300 bytes each, and at most 16 KB. A sender tells every few seconds, and only of
/// domains that ask for reports.
const PENDING_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct TlsCounts {
    /// Reports are sent in this cluster.
    is_on: AtomicBool,
    pending: Mutex<BTreeMap<(Day, String), DayCounts>>,
    lost: AtomicU64,
}

impl TlsCounts {
    /// Whether how sessions go is counted at all.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(crate) fn set_on(&self, is_on: bool) {
        if self.is_on.swap(is_on, Ordering::Relaxed) && !is_on {
            self.pending.lock().clear();
        }
    }

    pub fn count(&self, day: Day, result: TlsResult) {
        if !self.is_on() {
            return;
        }
        let mut pending = self.pending.lock();
        let key = (day, result.domain.clone());
        if pending.len() >= PENDING_MAX && !pending.contains_key(&key) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pending.entry(key).or_default().count(result);
    }

    /// All that was counted and not taken.
    pub fn take(&self) -> BTreeMap<(Day, String), DayCounts> {
        std::mem::take(&mut *self.pending.lock())
    }

    /// Sessions that no report will tell of.
    pub fn lose(&self, sessions: u64) {
        self.lost.fetch_add(sessions, Ordering::Relaxed);
    }

    /// How many sessions were not counted for want of room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use skein_model::tls_report::AppliedPolicy;

    use super::*;

    fn result(domain: String) -> TlsResult {
        TlsResult {
            domain,
            policy: AppliedPolicy::none(),
            mx_host: "mx.a.example".to_owned(),
            receiving_ip: None,
            sending_ip: None,
            failure: None,
        }
    }

    #[test]
    fn sessions_are_counted_by_day_and_domain_while_reports_are_sent() {
        let (counts, day) = (TlsCounts::default(), Day(20_000));
        counts.count(day, result("a.example".to_owned()));
        assert!(counts.take().is_empty(), "nobody sends reports");
        counts.set_on(true);
        for n in 0..PENDING_MAX + 5 {
            for _ in 0..2 {
                counts.count(day, result(format!("d{n}.example")));
            }
        }
        let taken = counts.take();
        assert_eq!(taken.len(), PENDING_MAX);
        assert!(taken.values().all(|counts| counts.sessions() == 2));
        assert_eq!(counts.lost(), 10);
        counts.count(day, result("a.example".to_owned()));
        counts.set_on(false);
        assert!(counts.take().is_empty());
    }
}
