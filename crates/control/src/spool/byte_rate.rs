//! A limit on bytes per second that several tasks share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Debug)]
pub struct ByteRate {
    bytes_per_second: AtomicU64,
    /// When what was let through so far is paid for.
    free_at: Mutex<Instant>,
}

impl ByteRate {
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: AtomicU64::new(bytes_per_second),
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// For what comes from here on.
    pub fn set(&self, bytes_per_second: u64) {
        self.bytes_per_second
            .store(bytes_per_second, Ordering::Relaxed);
    }

    /// Waits until so many bytes more may go.
    pub async fn pass(&self, bytes: usize) {
        tokio::time::sleep_until(self.turn(Instant::now(), bytes)).await;
    }

    fn turn(&self, now: Instant, bytes: usize) -> Instant {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut free_at = self.free_at.lock();
        let turn = now.max(*free_at);
        *free_at = turn + cost;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_is_waited_for_and_silence_saves_nothing_up() {
        let byte_rate = ByteRate::new(1_000_000);
        let start = Instant::now() + Duration::from_secs(1);
        for (at_ms, bytes, turn_ms) in [
            (0, 500_000, 0),
            (0, 100_000, 500),
            (550, 1_000, 600),
            (5000, 1_000_000, 5000),
            (5000, 1_000_000, 6000),
        ] {
            let turn = byte_rate.turn(start + Duration::from_millis(at_ms), bytes);
            assert_eq!(
                turn,
                start + Duration::from_millis(turn_ms),
                "at {at_ms} ms"
            );
        }
        byte_rate.set(2_000_000);
        let at = start + Duration::from_secs(9);
        assert_eq!(byte_rate.turn(at, 1_000_000), at);
        assert_eq!(byte_rate.turn(at, 1), at + Duration::from_millis(500));
    }
}
