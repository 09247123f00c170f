//! A wall clock that does not jump.

use crate::time::{DurationMs, UnixMs};

/// It gains or loses a tenth at most while it comes to agree with the machine's.
const SLEW: u64 = 10;
/// Between two corrections: long enough that a tenth of it is some milliseconds.
const STEP: DurationMs = DurationMs::from_secs(1);

/// Follows the wall clock as far as that goes on as a steady one does, and comes to it slowly when it was set: an hour takes
/// ten. So a clock that is set while a leader runs expires nothing and makes nothing due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlewedClock {
    time: UnixMs,
    /// When that was, on a clock that never goes back.
    since: DurationMs,
}

impl SlewedClock {
    /// At the start of a process there is only the wall clock.
    pub fn start(wall: UnixMs, now: DurationMs) -> Self {
        let (time, since) = (wall, now);
        Self { time, since }
    }

    /// Never less than before.
    pub fn look(&mut self, wall: UnixMs, now: DurationMs) -> UnixMs {
        let elapsed = DurationMs(now.0.saturating_sub(self.since.0));
        let steady = self.time + elapsed;
        if elapsed < STEP {
            return steady;
        }
        let most = DurationMs(elapsed.0 / SLEW);
        let time = wall.clamp(steady - most, steady + most);
        *self = Self { time, since: now };
        time
    }

    /// Time has come further elsewhere: it goes on from there.
    pub fn observe(&mut self, time: UnixMs, wall: UnixMs, now: DurationMs) {
        if time > self.look(wall, now) {
            *self = Self::start(time, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// What it says so many milliseconds after each other, while the wall clock is set to and fro.
    fn run(sets: &[(u64, i64)], lasts: u64) -> Vec<(u64, UnixMs)> {
        let wall = |at: u64| {
            let set = sets.iter().filter(|(when, _)| *when <= at);
            let off: i64 = set.map(|(_, by)| by).sum();
            UnixMs((1_000_000_000 + at).saturating_add_signed(off))
        };
        let mut clock = SlewedClock::start(wall(0), DurationMs(77));
        let ticks = (0..lasts).step_by(250);
        let look = |at| (at, clock.look(wall(at), DurationMs(77 + at)));
        ticks.map(look).collect()
    }

    #[test]
    fn it_is_the_wall_clock_while_that_is_steady() {
        for (at, time) in run(&[], HOUR) {
            assert_eq!(time, UnixMs(1_000_000_000 + at));
        }
    }

    #[test]
    fn a_clock_that_is_set_is_come_to_slowly() {
        let day = 24 * HOUR as i64;
        for by in [day, -day, 30_000, -30_000] {
            let times = run(&[(5000, by)], HOUR);
            for pair in times.windows(2) {
                let [(before, from), (after, to)] = pair else {
                    unreachable!()
                };
                let (elapsed, went) = (after - before, to.since(*from).0);
                assert!(from <= to && went <= elapsed + 250, "{from:?} {to:?}");
            }
            let (_, last) = times[times.len() - 1];
            let off = last.0.abs_diff(1_000_000_000 + HOUR);
            let all = by.unsigned_abs();
            assert!(off.abs_diff(all.min(HOUR / 10)) < 1500, "{by}: {off}");
        }
        let times = run(&[(5000, day), (9000, -day)], HOUR);
        assert_eq!(times[times.len() - 1].1.0, 1_000_000_000 + HOUR - 250);
    }

    #[test]
    fn what_is_ahead_is_gone_on_from() {
        let mut clock = SlewedClock::start(UnixMs(1000), DurationMs(0));
        clock.observe(UnixMs(50_000), UnixMs(1001), DurationMs(1));
        clock.observe(UnixMs(3), UnixMs(1001), DurationMs(1));
        assert_eq!(clock.look(UnixMs(1002), DurationMs(2)), UnixMs(50_001));
        // It waits for the wall clock, going on meanwhile.
        assert_eq!(
            clock.look(UnixMs(11_001), DurationMs(10_001)),
            UnixMs(59_000)
        );
    }
}
