//! How long a session lasts: as its sender counts, and as the meta group's leader does.

use crate::time::DurationMs;

/// A session lasts this long after its last heartbeat.
pub const LEASE: DurationMs = DurationMs::from_secs(10);
/// Four heartbeats fit into a lease.
pub const HEARTBEAT: DurationMs = DurationMs(2500);
/// The leader waits longer than the sender counts, for what clocks differ in that time and for the way there.
pub const GRACE: DurationMs = DurationMs(1100);
/// A sender stops this long before its lease ends (DESIGN section 8).
pub const STOP_EARLY: DurationMs = DurationMs(1000);

/// Until when a session surely lasts, on the sender's own clock, which never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease {
    pub until: DurationMs,
}

impl Lease {
    /// There is no session.
    pub const ENDED: Self = Self {
        until: DurationMs(0),
    };

    /// Counts from when the acknowledged request was sent: the leader heard of it later.
    pub fn granted(sent_at: DurationMs, lasts: DurationMs) -> Self {
        Self {
            until: DurationMs(sent_at.0 + lasts.0),
        }
    }

    /// Whether a message may be completed now.
    pub fn holds(self, now: DurationMs) -> bool {
        self.left(now) > DurationMs(0)
    }

    /// For so long messages may be completed.
    pub fn left(self, now: DurationMs) -> DurationMs {
        DurationMs(self.until.0.saturating_sub(STOP_EARLY.0 + now.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_a_second_early_and_before_the_leader_thinks_so() {
        let lease = Lease::granted(DurationMs(500), LEASE);
        assert!(lease.holds(DurationMs(9_499)));
        assert!(!lease.holds(DurationMs(9_500)));
        assert!(!Lease::ENDED.holds(DurationMs(0)));
    }
}
