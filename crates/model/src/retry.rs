//! When a deferred task is tried again, and when it is given up.

use crate::id::{TaskId, mix};
use crate::time::{DurationMs, UnixMs};

/// Exponential backoff with a cap and a maximum age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first attempt.
    pub first: DurationMs,
    /// Longest wait between attempts.
    pub cap: DurationMs,
    /// Age at which open recipients expire. RFC 5321 4.5.4.1 asks for at least 4 to 5 days.
    pub max_age: DurationMs,
    /// Age at which a sender is told that mail is late; none: never.
    pub delay_notice: Option<DurationMs>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: DurationMs::from_secs(5 * 60),
            cap: DurationMs::from_secs(4 * 3600),
            max_age: DurationMs::from_secs(5 * 24 * 3600),
            delay_notice: Some(DurationMs::from_secs(4 * 3600)),
        }
    }
}

/// What becomes of recipients that were deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    RetryAfter(DurationMs),
    Expired,
}

impl RetryPolicy {
    /// Decides after attempt number `attempt` (1 is the first) of a task that came in at `created`.
    ///
    /// The wait doubles from `first` to `cap`, and is moved by up to a tenth either way by a hash of task and
    /// attempt, so that tasks that failed together do not come back together. The last wait ends at `max_age`.
    pub fn after(&self, task: TaskId, attempt: u32, created: UnixMs, now: UnixMs) -> Next {
        let age = now.since(created);
        if self.is_expired(created, now) {
            return Next::Expired;
        }
        let doubled = self
            .first
            .0
            .saturating_mul(1 << attempt.saturating_sub(1).min(31));
        let base = doubled.min(self.cap.0).max(1);
        let spread = base / 5;
        let hash =
            mix(task.message.entropy() ^ (u64::from(task.number) << 32) ^ u64::from(attempt));
        let wait = base - spread / 2 + if spread == 0 { 0 } else { hash % spread };
        let left = self.max_age.0.saturating_sub(age.0).max(1);
        Next::RetryAfter(DurationMs(wait.min(left)))
    }

    pub fn is_expired(&self, created: UnixMs, now: UnixMs) -> bool {
        now.since(created) >= self.max_age
    }

    /// Whether a delay notice is due now, given that none was sent.
    pub fn delay_notice_due(&self, created: UnixMs, now: UnixMs) -> bool {
        self.delay_notice
            .is_some_and(|age| now.since(created) >= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, MessageId};

    fn task(random: u64) -> TaskId {
        TaskId {
            message: MessageId::new(UnixMs(0), GroupId(1), random),
            number: 0,
        }
    }

    #[test]
    fn waits_double_up_to_the_cap_within_a_tenth() {
        let policy = RetryPolicy::default();
        for (attempt, minutes) in [
            (1, 5),
            (2, 10),
            (3, 20),
            (4, 40),
            (5, 80),
            (6, 160),
            (7, 240),
            (40, 240),
        ] {
            for random in 0..50 {
                let Next::RetryAfter(wait) =
                    policy.after(task(random), attempt, UnixMs(0), UnixMs(1000))
                else {
                    panic!("expired at once");
                };
                let base = minutes * 60_000;
                assert!(
                    (base * 9 / 10..base * 11 / 10).contains(&wait.0),
                    "attempt {attempt}: {wait}"
                );
            }
        }
    }

    #[test]
    fn the_last_wait_ends_at_the_maximum_age() {
        let policy = RetryPolicy::default();
        let almost = UnixMs(policy.max_age.0 - 1000);
        assert_eq!(
            policy.after(task(1), 30, UnixMs(0), almost),
            Next::RetryAfter(DurationMs(1000))
        );
        assert_eq!(
            policy.after(task(1), 31, UnixMs(0), UnixMs(policy.max_age.0)),
            Next::Expired
        );
        let set_back = policy.after(task(1), 1, UnixMs(10_000_000), UnixMs(0));
        assert!(
            matches!(set_back, Next::RetryAfter(_)),
            "a clock set back expires nothing"
        );
    }
}
