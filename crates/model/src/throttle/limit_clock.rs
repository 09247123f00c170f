//! The time of what is shared.

use crate::time::{DurationMs, LimitMs};

/// What leaders have measured on clocks that never go back, added up. A leader goes on from the latest time in the state,
/// so that a wall clock that is ahead, its own or the one before its own, ends no window early. The time of elections is
/// missing: windows are a little longer then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitClock {
    from: LimitMs,
    since: DurationMs,
}

impl LimitClock {
    /// A node becomes leader at `now` of its own clock; `latest` is the time of the last command that was committed, or
    /// [`LimitMs::first`] before there was one.
    pub fn resume(latest: LimitMs, now: DurationMs) -> Self {
        Self {
            from: latest,
            since: now,
        }
    }

    /// What a command is stamped with.
    pub fn at(&self, now: DurationMs) -> LimitMs {
        self.from + DurationMs(now.0.saturating_sub(self.since.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_goes_on_from_the_latest_time() {
        let first = LimitClock::resume(LimitMs(1_000_000), DurationMs(50));
        assert_eq!(first.at(DurationMs(80)), LimitMs(1_000_030));
        let second = LimitClock::resume(LimitMs(1_000_030), DurationMs(7_000));
        assert_eq!(second.at(DurationMs(7_001)), LimitMs(1_000_031));
        assert_eq!(second.at(DurationMs(0)), LimitMs(1_000_030));
    }
}
