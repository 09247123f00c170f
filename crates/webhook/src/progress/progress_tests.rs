#![expect(clippy::unwrap_used, reason = "tests")]
use skein_model::codec;

use super::*;
use crate::batch::Batch;
use crate::endpoint::{Secret, Settings};
use crate::outcome::TEXT_BYTES_MAX;
use crate::schedule::{GAPS, RETRY_AFTER_MAX, SPAN};

const HOUR: u64 = 3_600_000;
pub const START: UnixMs = UnixMs(1_000_000 * HOUR);

fn endpoint() -> Endpoint {
    Endpoint::new(&Settings {
        name: "crm".into(),
        url: "https://hooks.example.com/skein".into(),
        secrets: vec![Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into())],
        ..Settings::default()
    })
    .unwrap()
}

pub fn cut(through: u64, events: usize) -> Cut {
    let batch = Batch {
        id: "msg_1".into(),
        first: 1,
        last: through,
        events,
        oldest: START,
        body: vec![],
    };
    Cut {
        through,
        batch: Some(batch).filter(|_| events > 0),
    }
}

pub fn answered(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        retry_after: None,
        text: "x".repeat(10_000),
    }
}

fn later(status: u16, seconds: u64) -> Outcome {
    Outcome::Answered {
        status,
        retry_after: Some(DurationMs::from_secs(seconds)),
        text: String::new(),
    }
}

/// With the clock and the endpoint that it is used with.
pub struct Run {
    pub progress: Progress,
    pub after: AfterDeadLetter,
    pub now: UnixMs,
}

impl Run {
    /// Whose first batch is of events 1 to 10.
    pub fn new() -> Self {
        let mut run = Self {
            progress: Progress::new(0),
            after: AfterDeadLetter::Pause,
            now: START,
        };
        run.begin(10);
        run
    }

    pub fn begin(&mut self, through: u64) {
        self.progress
            .begin(LaneId::Main, &cut(through, 10), self.now);
    }

    pub fn next_of(&self, lane: LaneId) -> Next {
        self.progress.next(lane, &endpoint(), self.now)
    }

    pub fn next(&self) -> Next {
        self.next_of(LaneId::Main)
    }

    pub fn id_of(&self, lane: LaneId) -> AttemptId {
        match self.next_of(lane) {
            Next::Attempt { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub fn answer(&mut self, outcome: &Outcome) -> Effect {
        let id = self.id_of(LaneId::Main);
        self.progress
            .on_result(id, outcome, self.after, self.now, 0)
    }

    /// Goes to the time of the next attempt. Returns the wait in seconds.
    pub fn wait(&mut self) -> u64 {
        let Next::Wait(at) = self.next() else {
            panic!("{:?}", self.next())
        };
        let waited = at.since(self.now).0 / 1000;
        self.now = at;
        waited
    }

    /// Fails with this answer until the batch is dead. Returns the waits in seconds.
    pub fn fail_all(&mut self, outcome: &Outcome) -> Vec<u64> {
        let mut waits = Vec::new();
        while !matches!(self.answer(outcome), Effect::Dead(_)) {
            waits.push(self.wait());
        }
        waits
    }

    pub fn alerts(&self) -> Vec<AlertKind> {
        let alerts = self.progress.records().alerts.iter();
        alerts.map(|alert| alert.kind).collect()
    }
}

#[test]
fn a_batch_that_arrives_moves_the_cursor() {
    let mut run = Run::new();
    assert_eq!(run.answer(&answered(204)), Effect::Delivered { events: 10 });
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 11,
            last: None
        }
    );
    run.progress.begin(LaneId::Main, &cut(20, 0), run.now);
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 21,
            last: None
        }
    );
    assert_eq!(run.progress.records().counters.delivered, 10);
}

#[test]
fn a_result_is_taken_once() {
    let mut run = Run::new();
    let first = run.id_of(LaneId::Main);
    assert!(matches!(run.answer(&answered(500)), Effect::Retry { .. }));
    let before = run.progress.clone();
    for outcome in [answered(200), answered(410), answered(500)] {
        let stale = run
            .progress
            .on_result(first, &outcome, run.after, run.now, 0);
        assert_eq!(stale, Effect::Stale);
    }
    run.begin(15);
    run.progress.on_nothing(first);
    assert_eq!(run.progress, before);
}

#[test]
fn a_batch_is_tried_by_the_schedule_and_dies() {
    let mut run = Run::new();
    let waits = run.fail_all(&answered(500));
    let gaps: Vec<u64> = GAPS[1..].iter().map(|gap| gap.0 / 1000).collect();
    assert_eq!(waits, gaps);
    assert_eq!(run.now.since(START), SPAN);
    assert_eq!(run.progress.failing_since(), Some(START));
    let letter = &run.progress.records().dead_letters[0];
    assert_eq!(
        (letter.first, letter.through, letter.events, letter.attempts),
        (1, 10, 10, 10)
    );
    assert!(
        letter.reason.starts_with("HTTP 500 xxx"),
        "{}",
        letter.reason
    );
    assert_eq!(run.alerts(), [AlertKind::DeadLetter]);
    assert!(matches!(
        run.progress.state(),
        State::PausedAfterDeadLetter { .. }
    ));
    assert_eq!(run.next(), Next::Nothing);
    run.progress.resume(run.now);
    run.progress.acknowledge();
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 11,
            last: None
        }
    );
    assert_eq!(run.alerts(), []);
}

#[test]
fn settings_say_whether_the_next_batch_is_tried() {
    let mut run = Run::new();
    run.after = AfterDeadLetter::Continue;
    for nth in 1..=DEAD_LETTERS_MAX as u64 + 3 {
        run.fail_all(&answered(302));
        assert_eq!(run.progress.main().cursor, 10 * nth);
        run.begin(10 * (nth + 1));
    }
    let records = run.progress.records();
    assert_eq!(records.dead_letters.len(), DEAD_LETTERS_MAX);
    assert_eq!(
        (records.counters.forgotten, records.counters.dead),
        (3, 350)
    );
    assert_eq!(run.progress.failing_since(), Some(START));
    run.answer(&answered(200));
    assert_eq!(run.progress.failing_since(), None);
}

#[test]
fn who_is_gone_is_told_nothing_more_until_somebody_resumes() {
    let mut run = Run::new();
    run.answer(&answered(500));
    run.wait();
    assert_eq!(run.answer(&answered(410)), Effect::Disabled);
    assert_eq!(
        (run.next(), run.alerts()),
        (Next::Nothing, vec![AlertKind::Disabled])
    );
    run.progress.pause(run.now);
    assert_eq!(run.progress.state(), State::Disabled { since: run.now });
    run.progress.resume(run.now);
    assert_eq!(run.id_of(LaneId::Main).number, 3);
    assert_eq!(run.answer(&answered(200)), Effect::Delivered { events: 10 });
}

#[test]
fn a_receiver_under_load_says_when_it_is_asked_again() {
    for status in [429, 502, 503, 504] {
        let mut run = Run::new();
        let until = run.now + DurationMs::from_secs(90);
        assert_eq!(run.answer(&later(status, 90)), Effect::Throttled { until });
        assert_eq!(run.progress.state(), State::Throttled { until });
        assert_eq!(run.wait(), 90);
        run.answer(&answered(200));
        assert_eq!(run.progress.state(), State::Active);
        run.begin(20);
        run.answer(&answered(status));
        assert_eq!(run.wait(), 5);
    }
    // It may ask for a day, and for as long as the schedule goes.
    let mut run = Run::new();
    run.answer(&later(503, u64::MAX / 1000));
    assert_eq!(run.wait(), RETRY_AFTER_MAX.0 / 1000);
    let waits = run.fail_all(&later(429, 60));
    assert_eq!(waits[..3], [60, 60, 60]);
    assert!(waits.len() > 100 && run.now.since(START) >= SPAN);
    // A failure with Retry-After waits for the longer of the two.
    let mut run = Run::new();
    run.answer(&later(500, 60));
    assert_eq!(run.wait(), 60);
    run.answer(&later(500, 60));
    assert_eq!(run.wait(), 300);
}

#[test]
fn an_operator_pauses_and_resumes() {
    let mut run = Run::new();
    let id = run.id_of(LaneId::Main);
    run.progress.pause(run.now);
    assert_eq!(run.next(), Next::Nothing);
    // What is in flight ends as it does.
    run.progress
        .on_result(id, &later(429, 90), run.after, run.now, 0);
    assert_eq!(run.progress.state(), State::Paused { since: run.now });
    run.progress.resume(run.now);
    assert_eq!(run.id_of(LaneId::Main).number, 2);
    let paused = Endpoint {
        is_paused: true,
        ..endpoint()
    };
    assert_eq!(
        run.progress.next(LaneId::Main, &paused, run.now),
        Next::Nothing
    );
    // A resumed batch has the whole schedule before it.
    assert_eq!(run.fail_all(&answered(500)).len(), 9);
}

#[test]
fn lag_is_the_age_of_the_oldest_event_that_waits() {
    let mut run = Run::new();
    run.now = START + DurationMs(7000);
    assert_eq!(run.progress.lag(Some(run.now), run.now), DurationMs(7000));
    run.answer(&answered(200));
    assert_eq!(
        run.progress.lag(Some(START + DurationMs(5000)), run.now),
        DurationMs(2000)
    );
    assert_eq!(run.progress.lag(None, run.now), DurationMs(0));
}

#[test]
fn a_clock_that_was_far_ahead_holds_nothing_back() {
    let mut run = Run::new();
    run.now = START + DurationMs(10_000 * HOUR);
    run.answer(&answered(429));
    run.now = START;
    assert!(matches!(run.next(), Next::Attempt { .. }));
}

/// What is kept of an endpoint and group, with all lists full of the longest texts.
#[test]
fn progress_is_bounded_and_read_as_it_was_written() {
    let mut run = Run::new();
    run.after = AfterDeadLetter::Continue;
    for nth in 2..=DEAD_LETTERS_MAX as u64 + 2 {
        run.fail_all(&answered(500));
        let oldest = 10 * nth - 3;
        run.progress.on_log(
            LogBounds {
                oldest,
                next: u64::MAX,
            },
            run.now,
        );
        run.begin(10 * nth);
    }
    let octets = codec::encode(&run.progress);
    let bound = DEAD_LETTERS_MAX * (TEXT_BYTES_MAX + 64) + GAPS_MAX * 40 + 1024;
    assert!(
        octets.len() <= bound && bound < 16 << 10,
        "{}",
        octets.len()
    );
    assert_eq!(codec::decode::<Progress>(&octets).unwrap(), run.progress);
}
