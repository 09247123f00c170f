//! Points in time and spans, in milliseconds. Wall time, the time of limits and spans are types of their own; a monotonic
//! instant is `std::time::Instant`, or the span since the machine started.

use std::fmt;
use std::ops::{Add, Sub};

use minicbor::{Decode, Encode};

/// Milliseconds since 1970-01-01T00:00:00Z, as stamped by a group's leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct UnixMs(#[n(0)] pub u64);

/// A span in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct DurationMs(#[n(0)] pub u64);

impl DurationMs {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }
}

/// A point in the time that shared limits are counted in, by a leader's
/// [`LimitClock`](crate::throttle::LimitClock). It begins near the wall clock's and has its own pace, so that one is never
/// taken for the other: a limit cannot be given what another group's command is stamped with.
///
/// ```compile_fail,E0308
/// use skein_model::throttle::{Ledger, Rate};
/// use skein_model::{DurationMs, UnixMs};
///
/// let rate = Rate { count: 10, per: DurationMs::from_secs(60), burst: None };
/// Ledger::after_owners(rate, UnixMs(1_700_000_000_000));
/// ```
///
/// ```
/// use skein_model::throttle::{Ledger, Rate};
/// use skein_model::{DurationMs, LimitMs};
///
/// let rate = Rate { count: 10, per: DurationMs::from_secs(60), burst: None };
/// Ledger::after_owners(rate, LimitMs(1_700_000_000_000));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct LimitMs(#[n(0)] pub u64);

impl LimitMs {
    /// Before the first command about a shared limit there is only the wall clock.
    pub fn first(wall: UnixMs) -> Self {
        Self(wall.0)
    }

    /// The span since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl UnixMs {
    /// The span since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl Add<DurationMs> for UnixMs {
    type Output = Self;
    fn add(self, span: DurationMs) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<DurationMs> for UnixMs {
    type Output = Self;
    fn sub(self, span: DurationMs) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add<DurationMs> for LimitMs {
    type Output = Self;
    fn add(self, span: DurationMs) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<DurationMs> for LimitMs {
    type Output = Self;
    fn sub(self, span: DurationMs) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl From<std::time::Duration> for DurationMs {
    fn from(span: std::time::Duration) -> Self {
        Self(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<DurationMs> for std::time::Duration {
    fn from(span: DurationMs) -> Self {
        Self::from_millis(span.0)
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}
