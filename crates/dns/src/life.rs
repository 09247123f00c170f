//! How long answers are kept.

use std::time::{Duration, Instant};

/// A postmaster who moves the MX should not wait for a stranger's TTL of weeks.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(3600);
/// A domain that appears shall be found soon.
pub(crate) const NEGATIVE_LIFE_MAX: Duration = Duration::from_secs(300);

/// The earlier of two ends; the absence of one counts as no limit.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
