//! Whether a site takes connections, as one sender sees it from one source IP.
//!
//! A site whose hosts give no session several times in a row is left alone for a time that doubles, then asked by one
//! connection. When it answers, connections grow from one, each success allowing as many again: who has waited for an
//! hour does not come all at once.

use crate::time::DurationMs;

/// Hosts are busy or restarted for a moment without anything being wrong.
const FAILURES: u32 = 3;
/// The first pause; the next ones are twice as long each.
const PAUSE: DurationMs = DurationMs::from_secs(15);
/// As long as a task waits after its first attempt: a site that is back is noticed by then.
const PAUSE_MAX: DurationMs = DurationMs::from_secs(300);
/// More connections than a sender opens to one site.
const UNLIMITED: u32 = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// In a row.
    failures: u32,
    blocked_until: Option<DurationMs>,
    /// Connections that it may have at once.
    connections: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failures: 0,
            blocked_until: None,
            connections: UNLIMITED,
        }
    }
}

impl Health {
    /// Hosts gave no session, or ended it before they took or refused anything. `chance` moves the end of a pause by up to a
    /// tenth, so that senders do not come back together. Returns the end if there is a pause from now on.
    pub fn failed(&mut self, now: DurationMs, chance: u64) -> Option<DurationMs> {
        if self.is_blocked(now) {
            // Connections that were begun together fail together, which is one failure.
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let over = self.failures.checked_sub(FAILURES)?;
        let pause = PAUSE.0.saturating_mul(1 << over.min(16)).min(PAUSE_MAX.0);
        let pause = pause - chance % (pause / 10);
        let until = DurationMs(now.0 + pause);
        self.blocked_until = Some(until);
        self.connections = 1;
        Some(until)
    }

    /// The site took or refused something. Tells whether it was thought to do neither.
    pub fn works(&mut self) -> bool {
        self.failures = 0;
        self.connections = self.connections.saturating_mul(2).min(UNLIMITED);
        self.blocked_until.take().is_some()
    }

    pub fn is_blocked(&self, now: DurationMs) -> bool {
        self.blocked_until.is_some_and(|until| now < until)
    }

    /// When it is asked again; none while it answers.
    pub fn blocked_until(&self) -> Option<DurationMs> {
        self.blocked_until
    }

    pub fn connections_max(&self) -> u32 {
        self.connections
    }

    /// Whether there is nothing to remember.
    pub fn is_well(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(health: &mut Health, now: &mut u64) -> u64 {
        loop {
            if let Some(until) = health.failed(DurationMs(*now), 0) {
                let pause = until.0 - *now;
                *now = until.0;
                return pause;
            }
            *now += 1;
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (mut health, mut now) = (Health::default(), 0);
        let pauses: Vec<u64> = (0..7).map(|_| block(&mut health, &mut now)).collect();
        let expected = [15, 30, 60, 120, 240, 300, 300].map(|seconds| seconds * 1000);
        assert_eq!(pauses, expected);
        assert!(!health.is_blocked(DurationMs(now)));
        assert!(health.is_blocked(DurationMs(now - 1)));
    }

    #[test]
    fn a_few_failures_are_forgotten_with_a_success() {
        let mut health = Health::default();
        for _ in 0..100 {
            assert_eq!(health.failed(DurationMs(1), 7), None);
            assert_eq!(health.failed(DurationMs(1), 7), None);
            assert!(!health.works());
        }
        assert!(health.is_well());
    }

    #[test]
    fn failures_of_connections_that_were_begun_together_are_one() {
        let (mut health, mut now) = (Health::default(), 0);
        block(&mut health, &mut now);
        let first = health.blocked_until();
        for _ in 0..50 {
            assert_eq!(health.failed(DurationMs(now - 1), 0), None);
        }
        assert_eq!(health.blocked_until(), first);
    }

    #[test]
    fn connections_grow_from_one_when_a_site_is_back() {
        let (mut health, mut now) = (Health::default(), 0);
        block(&mut health, &mut now);
        assert_eq!(health.connections_max(), 1);
        assert!(health.works());
        for expected in [2, 4, 8] {
            assert_eq!(health.connections_max(), expected);
            assert!(!health.works());
        }
        for _ in 0..20 {
            let _ = health.works();
        }
        assert!(health.is_well());
    }
}
