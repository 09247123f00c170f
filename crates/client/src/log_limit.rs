//! Log lines about what may happen many times a second.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Often enough to be seen, seldom enough for a log that others read too.
const EVERY: Duration = Duration::from_secs(10);

/// Lets one line through at a time, and counts those that it held back.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    state: Mutex<(Option<Instant>, u64)>,
}

impl LogLimit {
    /// How many lines were held back since the last one that passed, if this one passes.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let (last, held) = &mut *state;
        if last.is_some_and(|last| now < last + EVERY) {
            *held += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_counted() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let passed = [0, 1, 9, 10, 11, 30].map(|at| limit.pass(start + Duration::from_secs(at)));
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
