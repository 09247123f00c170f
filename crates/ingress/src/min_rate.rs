//! How slow a client may be. Pure.

use std::time::Duration;

/// The slowest body that is waited for: silence up to a limit, and on the whole no slower than a rate. Without the rate,
/// a client that sends a byte now and then would hold its connection and its part of the memory for ever.
///
/// Octets earn time, the wait for them uses it up, and no more is ever saved than the longest silence: who was fast at first
/// may not rest for hours. Only what a client is waited for counts, not what disks or others take.
#[derive(Debug, Clone, Copy)]
pub struct MinRate {
    silence_max: Duration,
    rate_min: u64,
    left: Duration,
}

impl MinRate {
    /// A rate of 0 octets in a second lets a client be as slow as it likes, but for silence.
    pub fn new(silence_max: Duration, rate_min: u64) -> Self {
        Self {
            silence_max,
            rate_min,
            left: silence_max,
        }
    }

    /// How long to wait for the next octets.
    pub fn wait(&self) -> Duration {
        self.left
    }

    /// So many octets came after this wait.
    pub fn received(&mut self, bytes: usize, waited: Duration) {
        let earned = match self.rate_min {
            0 => self.silence_max,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64),
        };
        let left = self.left.saturating_sub(waited).saturating_add(earned);
        self.left = left.min(self.silence_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second in which a client with 10 s of silence and 100 octets in a second to keep is given up, that sends so many
    /// octets at once and then so many every so many seconds.
    fn given_up(at_once: usize, then: usize, every: u64) -> Option<u64> {
        let mut min_rate = MinRate::new(Duration::from_secs(10), 100);
        min_rate.received(at_once, Duration::ZERO);
        for nth in 0..10_000 {
            if min_rate.wait() < Duration::from_secs(every) {
                return Some(nth * every + min_rate.wait().as_secs());
            }
            min_rate.received(then, Duration::from_secs(every));
        }
        None
    }

    #[test]
    fn a_body_keeps_its_pace_or_ends() {
        for (at_once, then, every, expected) in [
            (0, 0, 20, Some(10)),
            (0, 1, 1, Some(10)),
            (0, 1, 3, Some(10)),
            // Time is not saved up by octets that came fast.
            (200_000, 1, 3, Some(10)),
            (200_000_000, 1, 3, Some(10)),
            (0, 300, 3, None),
            (0, 1000, 10, None),
            (0, 1000, 11, Some(10)),
        ] {
            assert_eq!(
                given_up(at_once, then, every),
                expected,
                "{at_once} at once, then {then} every {every} s"
            );
        }
    }

    #[test]
    fn without_a_rate_only_silence_ends_a_body() {
        let mut min_rate = MinRate::new(Duration::from_secs(10), 0);
        for _ in 0..1000 {
            min_rate.received(1, Duration::from_secs(9));
            assert_eq!(min_rate.wait(), Duration::from_secs(10));
        }
    }
}
