//! The one place where the control function reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use skein_model::UnixMs;

/// The time that a leader stamps on an entry.
pub fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
