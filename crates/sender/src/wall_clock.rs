//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use skein_model::UnixMs;

/// The clock of this machine, which may be wrong, and may be set: for what is only shown, and before the first
/// session.
pub fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
