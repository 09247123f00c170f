//! A rate that one process keeps, exactly.

use super::gcra::Gcra;
use super::rate::Rate;
use super::window_counter::WindowCounter;
use crate::time::DurationMs;

/// At most `count` events in any window of length `per`, as the destination sees them.
///
/// The destination sees an event at an unknown moment between when its token is taken and when its end is known here.
/// So a token counts from when it is taken until `per` after its end: of all events of a window, the one whose token was
/// taken last found the others counted. What this costs is latency: a token is used once in `per` and the time that it
/// is out.
///
/// `now` is read from a clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    rate: Rate,
    /// Tokens whose end is not known.
    out: u64,
    spent: WindowCounter,
    pace: Gcra,
}

impl Window {
    /// No owner has had a part of this limit lately.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            out: 0,
            spent: WindowCounter::default(),
            pace: Gcra::default(),
        }
    }

    /// Another owner had the limit for a while, used at most `count`, and ended at `gone_since`.
    pub fn predecessor_gone(&mut self, now: DurationMs, count: u64, gone_since: DurationMs) {
        if gone_since.0.saturating_add(self.rate.per.0) >= now.0 {
            self.spent.add(gone_since.0, count, self.rate.per);
        }
    }

    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Holds for tokens that are taken from now on. What is out counts on, and of what has ended as much as is
    /// remembered: a window that becomes longer does not know what came before the shorter one.
    pub fn set(&mut self, now: DurationMs, rate: Rate) {
        if self.rate == rate {
            return;
        }
        self.spent.forget(now.0, self.rate.per);
        self.rate = rate;
        self.spent.lengthen(rate.per);
        self.pace.clamp(now, rate);
    }

    /// Takes a token if there is one. It must come back by [`Self::ended`] or [`Self::cancel`].
    #[must_use]
    pub fn take(&mut self, now: DurationMs) -> bool {
        self.spent.forget(now.0, self.rate.per);
        if self.counted(now) >= self.rate.count || self.pace.opens_at(self.rate) > now {
            return false;
        }
        self.out += 1;
        self.pace.took(now, 1, self.rate);
        true
    }

    /// The event of a token is over: nothing of it reaches the destination from now on.
    ///
    /// # Panics
    /// No token is out.
    pub fn ended(&mut self, now: DurationMs) {
        self.come_back();
        self.spent.add(now.0, 1, self.rate.per);
    }

    /// The event of a token did not begin, and will not.
    ///
    /// # Panics
    /// No token is out.
    pub fn cancel(&mut self) {
        self.come_back();
        self.pace.gave_back(1, self.rate);
    }

    fn come_back(&mut self) {
        let left = self.out.checked_sub(1);
        self.out = left.expect("a token comes back once, and only if it was taken");
    }

    /// Tokens that are out or have ended within the window.
    pub fn counted(&self, now: DurationMs) -> u64 {
        self.out
            .saturating_add(self.spent.total(now.0, self.rate.per))
    }

    /// Tokens whose end is not known.
    pub fn out(&self) -> u64 {
        self.out
    }

    /// When a token can be had; none: not before something ends.
    pub fn next_at(&self, now: DurationMs) -> Option<DurationMs> {
        if self.out >= self.rate.count {
            return None;
        }
        let paced = self.pace.opens_at(self.rate).max(now);
        let counted = self.counted(now);
        if counted < self.rate.count {
            return Some(paced);
        }
        let excess = counted - self.rate.count + 1;
        let opens = self.spent.falls_by(excess, now.0, self.rate.per)?;
        Some(paced.max(DurationMs(opens)))
    }

    /// Whether a new window would do the same.
    pub fn is_idle(&self, now: DurationMs) -> bool {
        self.counted(now) == 0 && self.pace.opens_at(self.rate) <= now
    }

    #[cfg(test)]
    pub(super) fn spans(&self) -> usize {
        self.spent.spans()
    }
}
