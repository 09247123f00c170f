//! An even pace with bursts: the generic cell rate algorithm (ITU-T I.371).

use minicbor::{Decode, Encode};

use super::rate::Rate;
use crate::time::DurationMs;

/// Times here have 20 bits below the millisecond, so that a million a second are still a whole number apart.
const FRACTION_BITS: u32 = 20;
/// The clock's own step. What an even pace has in one step goes at once whatever the burst.
const TICK: u64 = 1 << FRACTION_BITS;

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Pace {
    /// Theoretical arrival time of the next event.
    #[n(0)]
    due: u64,
}

/// Between two events of an even pace.
fn interval(rate: Rate) -> u64 {
    (rate.per.0 << FRACTION_BITS) / rate.count.max(1)
}

impl Pace {
    /// The earliest time for one more, as far as the pace goes.
    pub fn opens_at(&self, rate: Rate) -> DurationMs {
        let Some(burst) = rate.burst else {
            return DurationMs(0);
        };
        // A burst beyond the window's count is the same as all of it.
        let burst = burst.min(rate.count).max(1);
        let tolerance = interval(rate)
            .saturating_mul(burst - 1)
            .saturating_add(TICK);
        DurationMs(self.due.saturating_sub(tolerance).div_ceil(TICK))
    }

    pub fn took(&mut self, now: DurationMs, rate: Rate) {
        if rate.burst.is_some() {
            self.due = self
                .due
                .max(now.0 << FRACTION_BITS)
                .saturating_add(interval(rate));
        }
    }

    pub fn gave_back(&mut self, rate: Rate) {
        if rate.burst.is_some() {
            self.due = self.due.saturating_sub(interval(rate));
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
    fn check(count: u64, burst: u64, expected: &[(u64, usize)]) {
        let rate = Rate {
            count,
            per: DurationMs::from_secs(1),
            burst: Some(burst),
        };
        let mut pace = Pace::default();
        for (now, passes) in expected {
            let now = DurationMs(1_700_000_000_000 + now);
            let mut passed = 0;
            while pace.opens_at(rate) <= now {
                pace.took(now, rate);
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
}
