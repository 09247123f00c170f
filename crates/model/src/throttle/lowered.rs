//! A limit that is lower for a while, and climbs back.

use minicbor::{Decode, Encode};

use crate::time::DurationMs;

/// Additive increase: so many steps, each of the same part of the full limit.
const STEPS: u64 = 10;

/// What response automation does to a limit: at most `to` until `until`, then up by a tenth of the full limit at a time,
/// within the same time again at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Lowered {
    #[n(0)]
    to: u64,
    #[n(1)]
    until: DurationMs,
    /// Between two steps up, in milliseconds. At least 1.
    #[n(2)]
    step: u64,
}

impl Lowered {
    /// Lowers what may be low already. What is lower stays so for as long as the longer of the two.
    pub fn lower(
        before: Option<Self>,
        full: u64,
        now: DurationMs,
        to: u64,
        lasts: DurationMs,
    ) -> Self {
        let until = now.0.saturating_add(lasts.0);
        let step = (lasts.0 / STEPS).max(1);
        let low = before.map_or(full, |before| before.effective(full, now));
        let is_low = before.filter(|before| now < before.until);
        Self {
            to: to.min(low),
            until: DurationMs(until.max(is_low.map_or(0, |before| before.until.0))),
            step: step.max(is_low.map_or(0, |before| before.step)),
        }
    }

    /// What is left of a limit.
    pub fn effective(&self, full: u64, now: DurationMs) -> u64 {
        let climbed = full.saturating_mul(self.steps(now)).div_ceil(STEPS);
        self.to.saturating_add(climbed).min(full)
    }

    /// The first step comes when the time is over.
    fn steps(&self, now: DurationMs) -> u64 {
        let over = now.0.checked_sub(self.until.0);
        over.map_or(0, |over| (over / self.step.max(1) + 1).min(STEPS))
    }

    /// When there will be more of the limit; none if there is all of it.
    pub fn next_step(&self, full: u64, now: DurationMs) -> Option<DurationMs> {
        if self.is_over(full, now) {
            return None;
        }
        Some(DurationMs(
            self.until
                .0
                .saturating_add(self.steps(now).saturating_mul(self.step)),
        ))
    }

    pub fn is_over(&self, full: u64, now: DurationMs) -> bool {
        self.effective(full, now) == full
    }

    /// Whether a limit of any size has climbed back.
    pub fn has_climbed(&self, now: DurationMs) -> bool {
        self.steps(now) == STEPS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s(seconds: u64) -> DurationMs {
        DurationMs::from_secs(seconds)
    }

    #[test]
    fn a_limit_is_low_for_a_while_and_climbs_back_by_tenths() {
        let lowered = Lowered::lower(None, 200, s(0), 5, s(100));
        for (seconds, expected) in [
            (0, 5),
            (99, 5),
            (100, 25),
            (109, 25),
            (110, 45),
            (180, 185),
            (189, 185),
            (190, 200),
            (9999, 200),
        ] {
            assert_eq!(lowered.effective(200, s(seconds)), expected, "at {seconds}");
        }
        assert_eq!(lowered.next_step(200, s(0)), Some(s(100)));
        assert_eq!(lowered.next_step(200, s(100)), Some(s(110)));
        assert_eq!(lowered.next_step(200, s(190)), None);
        let connections = Lowered::lower(None, 5, s(0), 1, s(100));
        let climbs: Vec<u64> = (10..18)
            .map(|n| connections.effective(5, s(n * 10)))
            .collect();
        assert_eq!(climbs, [2, 2, 3, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn the_lower_and_the_longer_word_counts() {
        let first = Lowered::lower(None, 100, s(0), 10, s(100));
        let milder = Lowered::lower(Some(first), 100, s(10), 50, s(30));
        assert_eq!(milder, first);
        let harsher = Lowered::lower(Some(first), 100, s(90), 0, s(100));
        assert_eq!(
            (
                harsher.effective(100, s(150)),
                harsher.effective(100, s(190))
            ),
            (0, 10)
        );
        let climbing = Lowered::lower(Some(first), 100, s(100), 90, s(100));
        assert_eq!(
            climbing.effective(100, s(150)),
            20,
            "it had not climbed further"
        );
        let nothing = Lowered::lower(None, 100, s(0), 300, s(100));
        assert!(nothing.is_over(100, s(0)));
    }

    proptest! {
        /// It never falls by itself, and each step is when it is said to be.
        #[test]
        fn it_only_climbs(full in 0u64..1000, to in 0u64..1000, lasts in 0u64..10_000) {
            let lowered = Lowered::lower(None, full, DurationMs(5), to, DurationMs(lasts));
            let mut now = DurationMs(5);
            let mut steps = 0;
            while let Some(next) = lowered.next_step(full, now) {
                prop_assert!(next > now);
                let before = DurationMs(next.0 - 1);
                prop_assert_eq!(lowered.effective(full, now), lowered.effective(full, before));
                prop_assert!(lowered.effective(full, next) >= lowered.effective(full, now));
                now = next;
                steps += 1;
            }
            prop_assert!(steps <= STEPS);
            prop_assert_eq!(lowered.effective(full, now), full);
            prop_assert!(lowered.has_climbed(DurationMs(5 + 2 * lasts + STEPS)));
            prop_assert!(now.0 <= 5 + 2 * lasts + STEPS);
        }
    }
}
