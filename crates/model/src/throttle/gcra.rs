//! An even pace with bursts: the generic cell rate algorithm (ITU-T I.371).

use minicbor::{Decode, Encode};

use super::rate::Rate;
use crate::time::DurationMs;

/// Times here have 20 bits below the millisecond, so that a million a second are still a whole number apart.
const FRACTION_BITS: u32 = 20;
/// The clock's own step. What an even pace has in one step goes at once whatever the burst.
const TICK: u64 = 1 << FRACTION_BITS;

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Gcra {
    /// Theoretical arrival time of the next event.
    #[n(0)]
    due: u64,
}

/// Between two events of an even pace.
fn interval(rate: Rate) -> u64 {
    ((rate.per.0 << FRACTION_BITS) / rate.count.max(1)).max(1)
}

/// How far ahead of the pace one may be; none: as far as one likes.
fn tolerance(rate: Rate, slack: u64) -> Option<u64> {
    // A burst beyond the window's count is the same as all of it.
    let burst = rate.burst?.min(rate.count).max(1);
    Some(
        interval(rate)
            .saturating_mul(burst - 1)
            .saturating_add(slack),
    )
}

impl Gcra {
    /// The earliest time for one more, as far as the pace goes.
    pub fn opens_at(&self, rate: Rate) -> DurationMs {
        let Some(tolerance) = tolerance(rate, TICK) else {
            return DurationMs(0);
        };
        DurationMs(self.due.saturating_sub(tolerance).div_ceil(TICK))
    }

    /// How many may go at once, where the caller looks only once in `slack` and must not be late for it.
    pub fn available(&self, now: DurationMs, rate: Rate, slack: DurationMs) -> u64 {
        let Some(tolerance) = tolerance(rate, slack.0 << FRACTION_BITS) else {
            return u64::MAX;
        };
        let now = now.0 << FRACTION_BITS;
        let spare = now.saturating_add(tolerance).checked_sub(self.due.max(now));
        spare.map_or(0, |spare| spare / interval(rate) + 1)
    }

    pub fn took(&mut self, now: DurationMs, count: u64, rate: Rate) {
        if rate.burst.is_some() {
            let lasts = interval(rate).saturating_mul(count);
            self.due = self.due.max(now.0 << FRACTION_BITS).saturating_add(lasts);
        }
    }

    pub fn gave_back(&mut self, count: u64, rate: Rate) {
        if rate.burst.is_some() {
            self.due = self
                .due
                .saturating_sub(interval(rate).saturating_mul(count));
        }
    }

    /// After a change of the rate: what a slower one has put off is not waited for.
    pub fn clamp(&mut self, now: DurationMs, rate: Rate) {
        let latest = (now.0 << FRACTION_BITS).saturating_add(interval(rate));
        self.due = self.due.min(latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pass at each of these times.
    fn check(count: u64, burst: u64, expected: &[(u64, u64)]) {
        let rate = Rate {
            count,
            per: DurationMs::from_secs(1),
            burst: Some(burst),
        };
        let mut pace = Gcra::default();
        for (now, passes) in expected {
            let now = DurationMs(1_700_000_000_000 + now);
            let mut passed = 0u64;
            assert_eq!(pace.available(now, rate, DurationMs(1)), *passes);
            while pace.opens_at(rate) <= now {
                pace.took(now, 1, rate);
                passed += 1;
            }
            assert_eq!(passed, *passes, "{count} a second, burst {burst}, at {now}");
        }
    }

    #[test]
    fn bursts_go_at_once_and_the_rest_evenly() {
        check(10, 1, &[(0, 1), (50, 0), (99, 1), (150, 0), (199, 1)]);
        check(10, 3, &[(0, 3), (99, 1), (100, 0), (199, 1), (5000, 3)]);
        check(10, 100, &[(0, 10), (100, 1)]);
        check(5000, 1, &[(0, 6), (1, 5), (2, 5), (3, 5), (1000, 6)]);
    }
    #[test]
    fn who_looks_seldom_is_not_late() {
        let rate = Rate {
            count: 60,
            per: DurationMs::from_secs(60),
            burst: Some(1),
        };
        let mut pace = Gcra::default();
        let mut passed = 0;
        for now in (0..60_000).step_by(1900) {
            let slack = DurationMs(2000);
            let available = pace.available(DurationMs(now), rate, slack);
            pace.took(DurationMs(now), available, rate);
            passed += available;
        }
        assert!((59..=62).contains(&passed), "{passed}");
        pace.gave_back(2, rate);
        assert!(pace.opens_at(rate) <= DurationMs(59_000));
    }
}
