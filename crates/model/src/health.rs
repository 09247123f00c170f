//! Whether a site takes connections, as one sender sees it from one source IP.
//!
//! A site whose hosts give no session several times in a row is left alone for a time that grows with how long it has been
//! away, then asked by one connection. When it answers, connections grow from one, each success allowing as many again: who has waited for an
//! hour does not come all at once.

use crate::time::DurationMs;

/// Hosts are busy or restarted for a moment without anything being wrong.
const FAILURES: u32 = 3;
/// All mail of the site waits for it to be asked, so a site that is back is noticed after a part of the time that it was
/// away: seconds after a restart, some more after an hour. One that stays away is asked some forty times on the way to the
/// longest pause, by one connection each.
const PAUSES_OF_ABSENCE: u64 = 8;
const PAUSE_MIN: DurationMs = DurationMs::from_secs(5);
/// Sites that are away for days are many, and few come back.
const PAUSE_MAX: DurationMs = DurationMs::from_secs(300);
/// More connections than a sender opens to one site.
const UNLIMITED: u32 = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// In a row.
    failures: u32,
    /// The first of them.
    since: Option<DurationMs>,
    blocked_until: Option<DurationMs>,
    /// Connections that it may have at once.
    connections: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failures: 0,
            since: None,
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
        let since = *self.since.get_or_insert(now);
        if self.failures < FAILURES {
            return None;
        }
        let away = now.0.saturating_sub(since.0);
        let pause = (away / PAUSES_OF_ABSENCE).clamp(PAUSE_MIN.0, PAUSE_MAX.0);
        let pause = pause - chance % (pause / 10);
        let until = DurationMs(now.0 + pause);
        self.blocked_until = Some(until);
        self.connections = 1;
        Some(until)
    }

    /// The site took or refused something. Tells whether it was thought to do neither.
    pub fn works(&mut self) -> bool {
        self.failures = 0;
        self.since = None;
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
    fn a_site_is_asked_again_after_an_eighth_of_the_time_that_it_is_away() {
        let (mut health, mut now) = (Health::default(), 0);
        let (mut pauses, mut asked) = (Vec::new(), 0);
        while now < 24 * 3_600_000 {
            let began = now;
            let pause = block(&mut health, &mut now);
            pauses.push((began, pause));
            asked += u32::from(now < 3_600_000);
            assert!(!health.is_blocked(DurationMs(now)));
            assert!(health.is_blocked(DurationMs(now - 1)));
        }
        for (away, pause) in &pauses {
            assert!((5_000..=300_000).contains(pause), "{pause}");
            assert!(*pause <= (away / 8 + 1).max(5_000), "{pause} after {away}");
        }
        assert_eq!(pauses[..3], [(0, 5_000), (5_002, 5_000), (10_002, 5_000)]);
        assert_eq!(pauses.last().map(|(_, pause)| *pause), Some(300_000));
        assert!((30..60).contains(&asked), "{asked} times in the first hour");
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
