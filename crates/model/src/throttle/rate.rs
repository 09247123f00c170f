//! So many in so long.

use minicbor::{Decode, Encode};

use crate::time::DurationMs;

/// A shorter window would be lost in what a network delays.
pub const PER_MIN: DurationMs = DurationMs::from_secs(1);
/// Longer windows are not rates but budgets.
pub const PER_MAX: DurationMs = DurationMs::from_secs(24 * 3600);
/// More than anybody sends in a day; sums of it stay far from the end of the integers.
pub const COUNT_MAX: u64 = 1_000_000_000;

/// At most `count` events in any window of length `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Rate {
    /// 0 lets nothing pass.
    #[n(0)]
    pub count: u64,
    #[n(1)]
    pub per: DurationMs,
    /// How many may go at once beyond an even pace; none: the window is the only limit, and all of it may go at once.
    #[n(2)]
    pub burst: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRate {
    #[error("a rate counts up to {COUNT_MAX} events")]
    Count,
    #[error("the window of a rate is from one second to one day")]
    Per,
    #[error("a burst is at least 1")]
    Burst,
}

impl Rate {
    /// # Errors
    /// A number is out of its range.
    pub fn new(count: u64, per: DurationMs, burst: Option<u64>) -> Result<Self, BadRate> {
        if count > COUNT_MAX {
            return Err(BadRate::Count);
        }
        if !(PER_MIN..=PER_MAX).contains(&per) {
            return Err(BadRate::Per);
        }
        if burst == Some(0) {
            return Err(BadRate::Burst);
        }
        Ok(Self { count, per, burst })
    }

    /// The same pace, counted over another window. "100 a second" must be counted over a minute before it can be lowered
    /// to one a minute.
    ///
    /// # Errors
    /// The window is out of range, or too many events go into it.
    pub fn over(self, per: DurationMs) -> Result<Self, BadRate> {
        let count = u128::from(self.count) * u128::from(per.0) / u128::from(self.per.0.max(1));
        let count = u64::try_from(count).map_err(|_| BadRate::Count)?;
        Self::new(count, per, self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_out_of_range_are_refused() {
        const DAY: u64 = 86_400_000;
        for (count, per, burst, expected) in [
            (0, 1000, None, None),
            (1, DAY, Some(1), None),
            (COUNT_MAX, 1000, None, None),
            (COUNT_MAX + 1, 1000, None, Some(BadRate::Count)),
            (1, 999, None, Some(BadRate::Per)),
            (1, DAY + 1, None, Some(BadRate::Per)),
            (1, 1000, Some(0), Some(BadRate::Burst)),
        ] {
            let made = Rate::new(count, DurationMs(per), burst);
            assert_eq!(made.err(), expected, "{count} per {per}, burst {burst:?}");
        }
    }

    #[test]
    fn a_pace_is_counted_over_another_window() {
        let second = DurationMs::from_secs(1);
        let minute = DurationMs::from_secs(60);
        let rate = |count, per| Rate::new(count, per, None);
        assert_eq!(
            rate(100, second).and_then(|r| r.over(minute)),
            rate(6000, minute)
        );
        assert_eq!(
            rate(90, minute).and_then(|r| r.over(second)),
            rate(1, second)
        );
        let too_many = rate(COUNT_MAX, second).and_then(|r| r.over(minute));
        assert_eq!(too_many, Err(BadRate::Count));
    }
}
