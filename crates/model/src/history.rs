//! When a finished message may be forgotten.

use crate::time::{DurationMs, UnixMs};

/// An Accept may come again for this long: an intake offers one for 20 s, and it may be on its way for a while. Should its
/// message be forgotten by then, it would be taken for a new one.
const LATE: DurationMs = DurationMs::from_secs(60);

/// Kept by the leader of a spool group, in memory only.
#[derive(Debug, Default)]
pub struct Horizon {
    /// What had finished by this time of the group did so `LATE` ago or earlier, as this leader has seen.
    finished_by: UnixMs,
    /// A later time of the group, and when it was seen.
    seen: Option<(DurationMs, UnixMs)>,
}

impl Horizon {
    /// What finished before the returned time may be forgotten: it is known for `keep` and, as `now` may have jumped, for
    /// `LATE` by `elapsed`, which is read from a clock that never goes back. `group_now` is the time of the latest entry.
    pub fn forget_before(
        &mut self,
        elapsed: DurationMs,
        now: UnixMs,
        group_now: UnixMs,
        keep: DurationMs,
    ) -> UnixMs {
        match self.seen {
            Some((at, _)) if elapsed.0 < at.0 + LATE.0 => {}
            seen => {
                self.finished_by = seen.map_or(self.finished_by, |(_, time)| time);
                self.seen = Some((elapsed, group_now));
            }
        }
        self.finished_by.min(now - keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_makes_nothing_old() {
        let mut horizon = Horizon::default();
        let mut before = |seconds, now: u64, group_now: u64| {
            let elapsed = DurationMs::from_secs(seconds);
            let keep = DurationMs(100);
            let before = horizon.forget_before(elapsed, UnixMs(now), UnixMs(group_now), keep);
            before.0
        };
        assert_eq!(before(0, 1_000, 1_000), 0, "a new leader knows nothing");
        assert_eq!(before(59, 900_000, 900_000), 0, "the clock jumped");
        assert_eq!(before(60, 900_001, 900_001), 1_000);
        assert_eq!(before(119, 900_002, 900_002), 1_000);
        assert_eq!(before(120, 900_003, 900_003), 899_903);
        assert_eq!(before(121, 500, 900_004), 400, "kept by any clock");
    }
}
