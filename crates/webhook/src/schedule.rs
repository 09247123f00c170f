//! When a request that failed is tried again: the example schedule of Standard Webhooks 1.0.0.
//!
//! The specification lists delays, each from the failure before (`Delay`), beside the sums of them (`Time since start`): the last of
//! ten attempts is 75 h 35 min 5 s after the first, and not 24 h.

use skein_model::DurationMs;

/// From the start or the failure before to the n-th attempt.
pub const GAPS: [DurationMs; 10] = [
    DurationMs(0),
    DurationMs::from_secs(5),
    DurationMs::from_secs(5 * 60),
    DurationMs::from_secs(30 * 60),
    DurationMs::from_secs(2 * 3600),
    DurationMs::from_secs(5 * 3600),
    DurationMs::from_secs(10 * 3600),
    DurationMs::from_secs(14 * 3600),
    DurationMs::from_secs(20 * 3600),
    DurationMs::from_secs(24 * 3600),
];

/// The sum of the gaps.
pub const SPAN: DurationMs = DurationMs::from_secs(75 * 3600 + 35 * 60 + 5);

/// What a receiver may ask for with Retry-After: the longest gap. A mistaken one does not stop an endpoint for years.
pub const RETRY_AFTER_MAX: DurationMs = GAPS[9];

/// Part of a gap that chance adds at most, so that endpoints which failed together are not tried together.
const JITTER_PERCENT: u64 = 10;

/// No wait is longer: the longest gap with its jitter.
pub const WAIT_MAX: DurationMs = DurationMs(GAPS[9].0 + GAPS[9].0 / 100 * JITTER_PERCENT);

/// Attempts that a receiver may put off by Retry-After at the shortest gap; then it is asked less often.
const QUICK_THROTTLES: u32 = 10;

/// How long to wait after so many failures, 1 or more. None: there is no attempt left. `jitter`: any number, uniform.
#[must_use]
pub fn wait(failures: u32, jitter: u64) -> Option<DurationMs> {
    let gap = GAPS.get(usize::try_from(failures).ok()?)?;
    Some(jittered(*gap, jitter))
}

/// How long to wait when a receiver has named a time, after so many attempts.
#[must_use]
pub fn throttled(retry_after: DurationMs, attempts: u32, jitter: u64) -> DurationMs {
    let least = if attempts <= QUICK_THROTTLES {
        GAPS[1]
    } else {
        GAPS[2]
    };
    jittered(retry_after.clamp(least, RETRY_AFTER_MAX), jitter)
}

fn jittered(gap: DurationMs, jitter: u64) -> DurationMs {
    let most = gap.0 / 100 * JITTER_PERCENT;
    DurationMs(gap.0 + jitter % (most + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_that_of_the_specification() {
        let (mut sum, mut sums) = (0, Vec::new());
        for gap in GAPS {
            sum += gap.0 / 1000;
            sums.push(format!(
                "{:02}:{:02}:{:02}",
                sum / 3600,
                sum / 60 % 60,
                sum % 60
            ));
        }
        let expected = [
            "00:00:00", "00:00:05", "00:05:05", "00:35:05", "02:35:05", "07:35:05", "17:35:05",
            "31:35:05", "51:35:05", "75:35:05",
        ];
        assert_eq!(sums, expected);
        assert_eq!(SPAN.0, sum * 1000);
    }

    #[test]
    fn chance_adds_a_tenth_at_most() {
        for failures in 1..10 {
            let gap = GAPS[failures as usize];
            for jitter in [0, 1, 499, 12_345_678, u64::MAX] {
                let wait = wait(failures, jitter).map_or(0, |wait| wait.0);
                assert!((gap.0..=gap.0 + gap.0 / 10).contains(&wait) && wait <= WAIT_MAX.0);
            }
        }
        assert_eq!(wait(10, 0), None);
        assert_eq!(wait(u32::MAX, 0), None);
    }

    #[test]
    fn a_receiver_is_heard_within_bounds() {
        for (asked, attempts, expected) in [
            (60_000, 1, 60_000),
            (0, 1, 5_000),
            (0, 10, 5_000),
            (0, 11, 300_000),
            (u64::MAX, 1, RETRY_AFTER_MAX.0),
        ] {
            assert_eq!(throttled(DurationMs(asked), attempts, 0).0, expected);
        }
    }
}
