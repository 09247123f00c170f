//! The one place where the control function reads the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use skein_model::{DurationMs, UnixMs};

/// How far the groups' times have been ahead of this machine's clock.
static AHEAD_MS: AtomicU64 = AtomicU64::new(0);

/// The time that a leader stamps on an entry, and dispenses by.
pub fn now() -> UnixMs {
    wall() + DurationMs(AHEAD_MS.load(Ordering::Acquire))
}

/// A group's time never goes back. Should it be ahead of the clock here, as after a leader whose clock was, time goes on
/// from there: or nothing would be due until the clock has caught up.
pub fn observe(time: UnixMs) {
    AHEAD_MS.fetch_max(time.since(wall()).0, Ordering::AcqRel);
}

fn wall() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_that_of_a_group() {
        let ahead = now() + DurationMs(3_600_000);
        observe(ahead);
        assert!(now() >= ahead);
        observe(UnixMs(0));
        assert!(now() >= ahead);
    }
}
