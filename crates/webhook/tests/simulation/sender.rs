//! What makes requests, as a process does: it keeps what the core says, and forgets the rest when it crashes.

use skein_model::{DurationMs, GroupId, UnixMs, codec};
use skein_webhook::batch::{again, cut};
use skein_webhook::concurrency::{Busy, Concurrency};
use skein_webhook::endpoint::{AfterDeadLetter, Endpoint, Secret, Settings};
use skein_webhook::outcome::Outcome;
use skein_webhook::progress::{
    AttemptId, DEAD_LETTERS_MAX, Effect, GAPS_MAX, LaneId, Next, Progress, Span, State,
};
use skein_webhook::signature::sign;

use crate::log::{GROUPS, Log, Row, draw};
use crate::receiver::{Receiver, Request};

/// Rows that are read at once.
const PAGE: u64 = 40;
/// Batches that are begun with in one step.
const TURNS: usize = 4;

/// A request whose answer has not come yet.
struct InFlight {
    group: usize,
    id: AttemptId,
    outcome: Outcome,
}

pub struct World {
    pub now: UnixMs,
    pub endpoint: Endpoint,
    pub log: Log,
    pub receiver: Receiver,
    pub progress: Vec<Progress>,
    /// Batches that have died.
    pub dead: u64,
    /// Events of dead batches that the log had forgotten before they could be sent again.
    pub unreplayed: u64,
    /// Ranges that are still to be sent again.
    owed: Vec<(usize, u64, u64)>,
    in_flight: Vec<InFlight>,
    /// Results of a process that has crashed, which arrive when another goes on.
    late: Vec<InFlight>,
    places: Concurrency,
    random: u64,
}

impl World {
    pub const START: UnixMs = UnixMs(1_700_000_000_000);

    pub fn new(mut seed: u64, after: AfterDeadLetter) -> Self {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let mut endpoint = Endpoint::new(&Settings {
            name: "crm".into(),
            url: "https://hooks.example.com/skein".into(),
            tenant: Some("shop".into()),
            secrets: vec![Secret(secret.into())],
            ..Settings::default()
        })
        .unwrap();
        endpoint.after_dead_letter = after;
        Self {
            now: Self::START,
            log: Log::new(draw(&mut seed)),
            receiver: Receiver::new(endpoint.secrets.clone(), draw(&mut seed)),
            endpoint,
            progress: vec![Progress::new(0); GROUPS],
            dead: 0,
            unreplayed: 0,
            owed: Vec::new(),
            in_flight: Vec::new(),
            late: Vec::new(),
            places: Concurrency::default(),
            random: seed,
        }
    }

    /// All that is due now.
    pub fn act(&mut self) {
        self.answers();
        for group in 0..GROUPS {
            self.progress[group].on_log(self.log.bounds(group), self.now);
            self.pay(group);
            for lane in self.progress[group].lanes() {
                for _ in 0..TURNS {
                    if !self.turn(group, lane) {
                        break;
                    }
                }
            }
        }
    }

    /// Whether there may be more to do.
    fn turn(&mut self, group: usize, lane: LaneId) -> bool {
        match self.progress[group].next(lane, &self.endpoint, self.now) {
            Next::Nothing | Next::Wait(_) => false,
            Next::Cut { first, last } => {
                let last = last.unwrap_or(u64::MAX).min(first + PAGE);
                let rows = self.log.read(group, first, last);
                let found = cut(&self.endpoint, rows.iter().map(Row::event));
                let begun = found.map(|cut| self.progress[group].begin(lane, &cut, self.now));
                begun.is_some()
            }
            Next::Attempt { id, first, through } => self.attempt(group, id, first, through),
        }
    }

    fn attempt(&mut self, group: usize, id: AttemptId, first: u64, through: u64) -> bool {
        let place = (GroupId(group as u16), id.lane);
        let is_failing = self.progress[group].failing_since().is_some();
        match self
            .places
            .start(&self.endpoint.name, place, is_failing, self.now)
        {
            Ok(()) => {}
            Err(Busy::Lane | Busy::Until(_)) => return false,
            Err(other) => panic!("{other:?} with two groups"),
        }
        let rows = self.log.read(group, first, through);
        let batch = again(&self.endpoint, rows.iter().map(Row::event)).and_then(|cut| cut.batch);
        let Some(batch) = batch else {
            self.progress[group].on_nothing(id);
            self.places.end(&self.endpoint.name, place);
            return true;
        };
        let at_seconds = self.now.0 / 1000;
        let secrets = &self.endpoint.secrets;
        let outcome = self.receiver.take(&Request {
            id: &batch.id,
            at_seconds,
            signature: &sign(secrets, &batch.id, at_seconds, &batch.body).unwrap(),
            body: &batch.body,
            is_replay: id.lane != LaneId::Main,
        });
        self.in_flight.push(InFlight { group, id, outcome });
        // Some answers come at once, some later.
        if !draw(&mut self.random).is_multiple_of(4) {
            self.answers();
        }
        true
    }

    fn answers(&mut self) {
        for InFlight { group, id, outcome } in std::mem::take(&mut self.in_flight) {
            self.result(group, id, &outcome);
            let place = (GroupId(group as u16), id.lane);
            self.places.end(&self.endpoint.name, place);
        }
        let is_time = draw(&mut self.random).is_multiple_of(8) && !self.late.is_empty();
        let late = is_time.then(|| self.late.remove(0));
        if let Some(InFlight { group, id, outcome }) = late {
            self.result(group, id, &outcome);
        }
    }

    fn result(&mut self, group: usize, id: AttemptId, outcome: &Outcome) {
        let (after, jitter) = (self.endpoint.after_dead_letter, draw(&mut self.random));
        match self.progress[group].on_result(id, outcome, after, self.now, jitter) {
            Effect::Throttled { until } => self.places.hold(&self.endpoint.name, until),
            Effect::Dead(letter) => {
                self.dead += 1;
                self.owed.push((group, letter.first, letter.through));
            }
            _ => {}
        }
    }

    /// What an operator does who has seen a dead letter.
    fn pay(&mut self, group: usize) {
        let owed = self.owed.iter().position(|(of, ..)| *of == group);
        let Some(nth) = owed.filter(|_| self.progress[group].replay().is_none()) else {
            return;
        };
        let (_, first, through) = self.owed[nth];
        let span = Span {
            since: UnixMs(0),
            until: self.now,
        };
        let kept = self.log.bounds(group).oldest;
        self.unreplayed += kept.min(through + 1).saturating_sub(first);
        if self.progress[group]
            .start_replay(span, first.max(kept), through)
            .is_ok()
            || kept > through
        {
            self.owed.remove(nth);
        }
    }

    pub fn replay(&mut self, since: UnixMs) {
        for group in 0..GROUPS {
            if let Some((first, last)) = self.log.since(group, since) {
                let until = self.now;
                let started = self.progress[group].start_replay(Span { since, until }, first, last);
                assert!(started.is_ok() || !started.unwrap_err().to_string().is_empty());
            }
        }
    }

    /// The log loses its first events; what was owed of them by a replay that runs is lost, too.
    pub fn forget(&mut self, kept: u64) {
        self.log.forget(kept);
        for group in 0..GROUPS {
            let oldest = self.log.bounds(group).oldest;
            if let Some(replay) = self.progress[group].replay() {
                let behind = oldest.min(replay.last + 1);
                self.unreplayed += behind.saturating_sub(replay.lane.cursor + 1);
            }
        }
    }

    pub fn crash(&mut self) {
        let lost = std::mem::take(&mut self.in_flight);
        if draw(&mut self.random).is_multiple_of(2) {
            self.late.extend(lost);
        }
        self.places = Concurrency::default();
        for progress in &mut self.progress {
            *progress = codec::decode(&codec::encode(progress)).unwrap();
        }
    }

    pub fn check_bounds(&self) {
        for progress in &self.progress {
            assert!(codec::encode(progress).len() < 16 << 10);
            assert!(progress.records().dead_letters.len() <= DEAD_LETTERS_MAX);
            assert!(progress.records().gaps.len() <= GAPS_MAX);
        }
        assert!(self.in_flight.len() <= 2 * GROUPS && self.places.total() <= 2 * GROUPS);
    }

    /// The receiver is well: all that waits goes out, and whoever was paused is resumed.
    pub fn drain(&mut self) {
        for _ in 0..10_000 {
            self.act();
            self.now = self.now + DurationMs(30 * 60_000);
            self.resume();
            if self.is_done() {
                return;
            }
        }
        panic!("{:?}", self.progress);
    }

    fn resume(&mut self) {
        for progress in &mut self.progress {
            if matches!(progress.state(), State::PausedAfterDeadLetter { .. }) {
                progress.resume(self.now);
            }
        }
    }

    fn is_done(&self) -> bool {
        let bounds = (0..GROUPS).map(|group| self.log.bounds(group));
        let mut all = self.progress.iter().zip(bounds);
        let are_told = all.all(|(progress, log)| {
            progress.main().cursor + 1 == log.next && progress.replay().is_none()
        });
        are_told && self.owed.is_empty() && self.in_flight.is_empty()
    }
}
