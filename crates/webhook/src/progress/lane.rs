//! A cursor in a group's log, and the one batch behind it that is being tried.

use minicbor::{Decode, Encode};
use skein_model::{DurationMs, UnixMs};

use crate::batch::Cut;
use crate::outcome::{Outcome, Verdict};
use crate::schedule;

/// Which of an endpoint's cursors in a group's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum LaneId {
    #[n(0)]
    Main,
    /// The n-th replay.
    #[n(1)]
    Replay(#[n(0)] u32),
}

/// Names an attempt, so that a result is taken once, and none of an attempt that has been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct AttemptId {
    #[n(0)]
    pub lane: LaneId,
    /// Of all that an endpoint has been sent of a group.
    #[n(1)]
    pub batch: u64,
    /// Of its attempts: 1 is the first.
    #[n(2)]
    pub number: u32,
}

/// A batch that was cut, and has neither been delivered nor died.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Trying {
    /// Numbers in the log, both of it.
    #[n(0)]
    pub first: u64,
    #[n(1)]
    pub through: u64,
    /// Those among them that the filter took.
    #[n(2)]
    pub events: u64,
    /// The time of the first of them.
    #[n(3)]
    pub oldest: UnixMs,
    /// Attempts that have ended.
    #[n(4)]
    pub attempts: u32,
    /// Attempts that count for the schedule.
    #[n(5)]
    pub failures: u32,
    /// When the first failed.
    #[n(6)]
    pub failing_since: Option<UnixMs>,
    #[n(7)]
    pub next_at: UnixMs,
    /// Which batch it is, of all that were begun with.
    #[n(8)]
    pub number: u64,
}

/// What follows from an attempt that failed.
pub(super) enum After {
    Wait(UnixMs),
    Dead,
}

impl Trying {
    /// The attempt whose result is awaited.
    pub(super) fn attempt(&self, lane: LaneId) -> AttemptId {
        AttemptId {
            lane,
            batch: self.number,
            number: self.attempts.saturating_add(1),
        }
    }

    /// Counts a failure, and sets when the next attempt is.
    pub(super) fn fail(&mut self, outcome: &Outcome, now: UnixMs, jitter: u64) -> After {
        let since = *self.failing_since.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        let wait = match (outcome.verdict(), outcome.retry_after()) {
            // Who says when to come back is there: it is not the schedule that ends this, but its span.
            (Verdict::Throttled, Some(_)) if now.since(since) >= schedule::SPAN => None,
            (Verdict::Throttled, Some(asked)) => {
                Some(schedule::throttled(asked, self.attempts, jitter))
            }
            (_, asked) => {
                self.failures = self.failures.saturating_add(1);
                let asked = asked.unwrap_or_default().min(schedule::RETRY_AFTER_MAX);
                schedule::wait(self.failures, jitter).map(|wait| wait.max(asked))
            }
        };
        match wait {
            Some(wait) => {
                self.next_at = now + wait;
                After::Wait(self.next_at)
            }
            None => After::Dead,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Lane {
    /// The last event that is done with.
    #[n(0)]
    pub cursor: u64,
    #[n(1)]
    pub trying: Option<Trying>,
}

impl Lane {
    pub(super) fn new(cursor: u64) -> Self {
        Self {
            cursor,
            trying: None,
        }
    }

    /// Takes a cut of the events behind the cursor. Nothing changes if another batch is being tried, or the cursor has moved on.
    /// Returns whether a batch is begun with.
    pub(super) fn begin(&mut self, cut: &Cut, number: u64, now: UnixMs) -> bool {
        if self.trying.is_some() || cut.through <= self.cursor {
            return false;
        }
        let Some(batch) = &cut.batch else {
            self.cursor = cut.through;
            return false;
        };
        self.trying = Some(Trying {
            first: self.cursor + 1,
            through: cut.through,
            events: batch.events as u64,
            oldest: batch.oldest,
            attempts: 0,
            failures: 0,
            failing_since: None,
            next_at: now,
            number,
        });
        true
    }

    /// The batch is done with.
    pub(super) fn pass(&mut self) -> Option<Trying> {
        let done = self.trying.take();
        if let Some(done) = &done {
            self.cursor = done.through;
        }
        done
    }

    /// The log begins with this number. Returns the numbers that it no longer has.
    pub(super) fn lose(&mut self, oldest: u64) -> Option<(u64, u64)> {
        let last = oldest.checked_sub(1).filter(|last| *last > self.cursor)?;
        let first = self.cursor + 1;
        self.cursor = last;
        self.trying = self.trying.take().filter(|trying| trying.through > last);
        if let Some(trying) = &mut self.trying {
            trying.first = oldest;
        }
        Some((first, last))
    }

    /// Another attempt at once, with the whole schedule before it.
    pub(super) fn retry(&mut self, now: UnixMs) {
        if let Some(trying) = &mut self.trying {
            trying.failures = 0;
            trying.failing_since = None;
            trying.next_at = now;
        }
    }
}

/// Whether a time has come. One that is further off than any wait was set by a clock that has been set back since.
pub(super) fn is_due(at: UnixMs, now: UnixMs) -> bool {
    at <= now || at.since(now) > DurationMs(schedule::WAIT_MAX.0)
}
