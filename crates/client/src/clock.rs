//! Time that no operator sets: since the machine started, and of the meta group.

use skein_model::{DurationMs, UnixMs};

/// The time since the machine started, suspended time included.
pub fn since_boot() -> DurationMs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ms = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    DurationMs(u64::try_from(ms).unwrap_or(0))
}

/// The meta group's time, on a clock of this machine that no operator sets.
#[derive(Debug, Clone, Copy)]
pub struct GroupTime {
    then: UnixMs,
    since: DurationMs,
}

impl GroupTime {
    pub fn at(then: UnixMs) -> Self {
        let since = since_boot();
        Self { then, since }
    }

    pub fn now(&self) -> UnixMs {
        self.then + DurationMs(since_boot().0.saturating_sub(self.since.0))
    }
}
