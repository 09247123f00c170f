//! How slow a client may be. Pure.

use std::time::Duration;

/// The slowest body that is waited for: silence up to a limit, and on the whole no slower than a rate. Without the rate,
/// a client that sends a byte now and then would hold its connection and its part of the memory for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    received: u64,
}

impl Pace {
    pub fn add(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// How long to wait for the next bytes, this long after the body began. A client that was fast may rest, and one
    /// that is slow from the beginning has `silence_max` to show it.
    pub fn wait(&self, elapsed: Duration, silence_max: Duration, rate_min: u64) -> Duration {
        if rate_min == 0 {
            return silence_max;
        }
        let earned = Duration::from_secs_f64(self.received as f64 / rate_min as f64);
        let left = (silence_max + earned).saturating_sub(elapsed);
        left.min(silence_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_its_pace_or_ends() {
        let secs = Duration::from_secs;
        for (received, elapsed, rate, wait) in [
            (0, 0, 100, 10),
            (0, 4, 100, 6),
            (0, 10, 100, 0),
            (10, 20, 100, 0),
            (1_000, 15, 100, 5),
            (100_000, 15, 100, 10),
            (0, 1_000, 0, 10),
        ] {
            let mut pace = Pace::default();
            pace.add(received);
            assert_eq!(
                pace.wait(secs(elapsed), secs(10), rate),
                secs(wait),
                "{received} bytes in {elapsed} s at {rate}"
            );
        }
    }
}
