//! How far an endpoint has been told of one group's log, and when what is tried next.
//!
//! A [`Progress`] has one batch in flight at a time, or two with a replay: events of a message are of one group, so they arrive in
//! order while the endpoint is healthy. What it says must be kept before a request goes out ([`Progress::begin`]), so that whoever
//! goes on after a crash sends the same request again; what was in flight then is simply tried again.

mod lane;
mod records;
mod replay;
mod step;

use minicbor::{Decode, Encode};
use skein_model::{DurationMs, UnixMs};

use crate::batch::Cut;
use crate::endpoint::{AfterDeadLetter, Endpoint};
use crate::outcome::{Outcome, Verdict};
use lane::{After, is_due};

pub use lane::{AttemptId, Lane, LaneId, Trying};
pub use records::{
    Alert, AlertKind, Counters, DEAD_LETTERS_MAX, DeadLetter, GAPS_MAX, Gap, LastAnswer, Records,
};
pub use replay::{NoReplay, Replay, Span};
pub use step::{Effect, LogBounds, Next};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum State {
    #[default]
    #[n(0)]
    Active,
    /// The receiver is under load.
    #[n(1)]
    Throttled {
        #[n(0)]
        until: UnixMs,
    },
    /// By an operator.
    #[n(2)]
    Paused {
        #[n(0)]
        since: UnixMs,
    },
    /// The receiver answered 410.
    #[n(3)]
    Disabled {
        #[n(0)]
        since: UnixMs,
    },
    #[n(4)]
    PausedAfterDeadLetter {
        #[n(0)]
        since: UnixMs,
    },
}

/// Of one endpoint and one group. At most some 16 KiB, by the bounds of its lists.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    #[n(0)]
    state: State,
    #[n(1)]
    main: Lane,
    #[n(2)]
    replay: Option<Replay>,
    /// How many there have been.
    #[n(3)]
    replays: u32,
    /// The first failure since the last success.
    #[n(4)]
    failing_since: Option<UnixMs>,
    #[n(5)]
    last: Option<LastAnswer>,
    #[n(6)]
    records: Records,
    /// How many were begun with.
    #[n(7)]
    batches: u64,
}

impl Progress {
    /// Of an endpoint that is told of what comes after this event; 0 for all.
    #[must_use]
    pub fn new(after: u64) -> Self {
        Self {
            state: State::Active,
            main: Lane::new(after),
            replay: None,
            replays: 0,
            failing_since: None,
            last: None,
            records: Records::default(),
            batches: 0,
        }
    }

    #[must_use]
    pub fn next(&self, lane: LaneId, endpoint: &Endpoint, now: UnixMs) -> Next {
        let Some((own, last)) = self.lane(lane) else {
            return Next::Nothing;
        };
        match self.state {
            _ if endpoint.is_paused => return Next::Nothing,
            State::Active => {}
            State::Throttled { until } if is_due(until, now) => {}
            State::Throttled { until } => return Next::Wait(until),
            _ => return Next::Nothing,
        }
        match &own.trying {
            None => Next::Cut {
                first: own.cursor + 1,
                last,
            },
            Some(trying) if !is_due(trying.next_at, now) => Next::Wait(trying.next_at),
            Some(trying) => Next::Attempt {
                id: trying.attempt(lane),
                first: trying.first,
                through: trying.through,
            },
        }
    }

    /// Takes what was cut as [`Next::Cut`] asked for, after which [`Self::next`] says what to do. Nothing changes if it is of no
    /// use any more.
    pub fn begin(&mut self, lane: LaneId, cut: &Cut, now: UnixMs) {
        let number = self.batches + 1;
        let lane = self.lane_mut(lane);
        if lane.is_some_and(|lane| lane.begin(cut, number, now)) {
            self.batches = number;
        }
        self.end_replay();
    }

    /// Takes the result of an attempt. `jitter`: any number, uniform.
    pub fn on_result(
        &mut self,
        id: AttemptId,
        outcome: &Outcome,
        after: AfterDeadLetter,
        now: UnixMs,
        jitter: u64,
    ) -> Effect {
        if !self.is_awaited(id) {
            return Effect::Stale;
        }
        self.last = Some(LastAnswer::new(outcome, now));
        match outcome.verdict() {
            Verdict::Delivered => self.delivered(id.lane, now),
            Verdict::Gone => self.gone(id.lane, now),
            Verdict::Throttled | Verdict::Failed => {
                self.failed(id.lane, outcome, after, now, jitter)
            }
        }
    }

    /// What the log has by now, as the group's leader knows it. Events that it lost before they were delivered are told of, and
    /// counted.
    pub fn on_log(&mut self, log: LogBounds, now: UnixMs) {
        let replay = self.replay.as_mut().map(|replay| &mut replay.lane);
        for (lane, is_replay) in [(Some(&mut self.main), false), (replay, true)] {
            let lost = lane.and_then(|lane| lane.lose(log.oldest));
            if let Some((first, last)) = lost {
                self.records.gap(Gap {
                    first,
                    last,
                    at: now,
                    is_replay,
                });
            }
        }
        let last = log.next.saturating_sub(1);
        let trying = self.main.trying.as_ref().map(|trying| trying.through);
        if last < trying.unwrap_or_default().max(self.main.cursor) {
            self.main = Lane::new(self.main.cursor.min(last));
            self.replay = None;
            self.records.alert(AlertKind::LogRewound, now);
        }
        self.end_replay();
    }

    /// There is nothing to send for an attempt: the filter has been changed, or the log has lost what it took.
    pub fn on_nothing(&mut self, id: AttemptId) {
        if self.is_awaited(id) {
            self.lane_mut(id.lane).and_then(Lane::pass);
            self.end_replay();
        }
    }

    pub fn pause(&mut self, now: UnixMs) {
        if self.is_running() {
            self.state = State::Paused { since: now };
        }
    }

    /// An operator resumes what was paused, disabled or throttled: what is being tried is tried at once, with the whole schedule
    /// before it.
    pub fn resume(&mut self, now: UnixMs) {
        self.state = State::Active;
        self.main.retry(now);
        if let Some(replay) = &mut self.replay {
            replay.lane.retry(now);
        }
    }

    /// An operator has seen the alerts.
    pub fn acknowledge(&mut self) {
        self.records.alerts.clear();
    }

    /// Since when the oldest event has been waiting that is not delivered. `oldest_behind`: the time of the first event behind the
    /// cursor, if there is one.
    #[must_use]
    pub fn lag(&self, oldest_behind: Option<UnixMs>, now: UnixMs) -> DurationMs {
        let trying = self.main.trying.as_ref().map(|trying| trying.oldest);
        let oldest = trying.or(oldest_behind);
        oldest.map_or(DurationMs(0), |oldest| now.since(oldest))
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    #[must_use]
    pub fn main(&self) -> &Lane {
        &self.main
    }

    #[must_use]
    pub fn failing_since(&self) -> Option<UnixMs> {
        self.failing_since
    }

    #[must_use]
    pub fn last(&self) -> Option<&LastAnswer> {
        self.last.as_ref()
    }

    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    fn delivered(&mut self, lane: LaneId, now: UnixMs) -> Effect {
        let done = self.lane_mut(lane).and_then(Lane::pass);
        let events = done.map_or(0, |done| done.events);
        let counters = &mut self.records.counters;
        match lane {
            LaneId::Main => counters.delivered += events,
            LaneId::Replay(_) => counters.replayed += events,
        }
        self.failing_since = None;
        // A request that went out before another was throttled says nothing about now.
        if matches!(self.state, State::Throttled { until } if is_due(until, now)) {
            self.state = State::Active;
        }
        self.end_replay();
        Effect::Delivered { events }
    }

    fn gone(&mut self, lane: LaneId, now: UnixMs) -> Effect {
        if let Some(trying) = self.lane_mut(lane).and_then(|lane| lane.trying.as_mut()) {
            trying.attempts = trying.attempts.saturating_add(1);
        }
        self.count_failure(now);
        self.state = State::Disabled { since: now };
        self.records.alert(AlertKind::Disabled, now);
        Effect::Disabled
    }

    fn failed(
        &mut self,
        lane: LaneId,
        outcome: &Outcome,
        after: AfterDeadLetter,
        now: UnixMs,
        jitter: u64,
    ) -> Effect {
        self.count_failure(now);
        let trying = self.lane_mut(lane).and_then(|lane| lane.trying.as_mut());
        match trying.map(|trying| trying.fail(outcome, now, jitter)) {
            None => Effect::Stale,
            Some(After::Dead) => self.dead(lane, after, now),
            Some(After::Wait(until)) if outcome.verdict() == Verdict::Throttled => {
                if self.is_running() {
                    self.state = State::Throttled { until };
                }
                Effect::Throttled { until }
            }
            Some(After::Wait(at)) => Effect::Retry { at },
        }
    }

    fn dead(&mut self, lane: LaneId, after: AfterDeadLetter, now: UnixMs) -> Effect {
        let Some(done) = self.lane_mut(lane).and_then(Lane::pass) else {
            return Effect::Stale;
        };
        let letter = DeadLetter {
            first: done.first,
            through: done.through,
            events: done.events,
            attempts: done.attempts,
            reason: self
                .last
                .as_ref()
                .map(LastAnswer::reason)
                .unwrap_or_default(),
            at: now,
            is_replay: lane != LaneId::Main,
        };
        self.records.dead_letter(letter.clone());
        match lane {
            LaneId::Main if after == AfterDeadLetter::Pause && self.is_running() => {
                self.state = State::PausedAfterDeadLetter { since: now };
            }
            LaneId::Main => {}
            // Whoever wants the rest of it starts another.
            LaneId::Replay(_) => self.replay = None,
        }
        Effect::Dead(letter)
    }

    fn count_failure(&mut self, now: UnixMs) {
        self.records.counters.failed += 1;
        self.failing_since.get_or_insert(now);
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Active | State::Throttled { .. })
    }

    fn is_awaited(&self, id: AttemptId) -> bool {
        let trying = self
            .lane(id.lane)
            .and_then(|(lane, _)| lane.trying.as_ref());
        trying.is_some_and(|trying| trying.attempt(id.lane) == id)
    }

    /// With the last event that is for it.
    fn lane(&self, id: LaneId) -> Option<(&Lane, Option<u64>)> {
        match id {
            LaneId::Main => Some((&self.main, None)),
            LaneId::Replay(number) => {
                let replay = self.replay.as_ref().filter(|one| one.number == number)?;
                Some((&replay.lane, Some(replay.last)))
            }
        }
    }

    fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        match id {
            LaneId::Main => Some(&mut self.main),
            LaneId::Replay(number) => {
                let replay = self.replay.as_mut().filter(|one| one.number == number);
                replay.map(|replay| &mut replay.lane)
            }
        }
    }
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod progress_tests;
