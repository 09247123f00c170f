//! Logs that forget or were restored, and replays.
#![expect(clippy::unwrap_used, reason = "tests")]
use super::progress_tests::{Run, START, answered, cut};
use super::*;

#[test]
fn what_the_log_lost_is_counted_and_told() {
    let mut run = Run::new();
    run.answer(&answered(500));
    let log = |oldest, next| LogBounds { oldest, next };
    run.progress.on_log(log(1, 100), run.now);
    assert_eq!(run.alerts(), []);
    // A part of the batch is left.
    run.progress.on_log(log(5, 100), run.now);
    assert_eq!(run.progress.main().trying.as_ref().unwrap().first, 5);
    run.progress.on_log(log(8, 100), run.now);
    run.progress.on_log(log(8, 100), run.now);
    assert_eq!(run.progress.records().gaps.len(), 1);
    // Nothing is left of it.
    run.progress.on_log(log(31, 100), run.now);
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 31,
            last: None
        }
    );
    let gap = &run.progress.records().gaps[0];
    assert_eq!((gap.first, gap.last, gap.events()), (1, 30, 30));
    assert_eq!(run.progress.records().counters.lost, 30);
    assert_eq!(run.alerts(), [AlertKind::EventsLost]);
    for nth in 4..40 {
        run.begin(10 * nth);
        run.answer(&answered(200));
        run.progress
            .on_log(log(10 * nth + 5, 10 * nth + 5), run.now);
    }
    assert_eq!(run.progress.records().gaps.len(), GAPS_MAX);
    assert_eq!(
        run.progress.records().counters.forgotten,
        37 - GAPS_MAX as u64
    );
}

#[test]
fn a_log_that_was_restored_is_told_of_from_its_end_on() {
    let mut run = Run::new();
    let log = |next| LogBounds { oldest: 1, next };
    let before = run.id_of(LaneId::Main);
    run.progress.on_log(log(6), run.now);
    assert_eq!(run.alerts(), [AlertKind::LogRewound]);
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 1,
            last: None
        }
    );
    run.begin(10);
    // A result of the log that was, of events with the same numbers.
    let late = run
        .progress
        .on_result(before, &answered(200), run.after, run.now, 0);
    assert_eq!(late, Effect::Stale);
    run.answer(&answered(200));
    run.progress.on_log(log(8), run.now);
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 8,
            last: None
        }
    );
    assert_eq!(run.alerts(), [AlertKind::LogRewound]);
    run.progress.on_log(log(1), run.now);
    assert_eq!(
        run.next(),
        Next::Cut {
            first: 1,
            last: None
        }
    );
}

#[test]
fn a_replay_has_a_cursor_of_its_own() {
    let span = Span {
        since: START,
        until: START,
    };
    let mut run = Run::new();
    assert_eq!(
        run.progress.start_replay(span, 1, 10),
        Err(NoReplay::Nothing)
    );
    run.answer(&answered(200));
    run.begin(20);
    run.answer(&answered(500));
    // What waits is left to the main cursor.
    let lane = run.progress.start_replay(span, 3, 15).unwrap();
    assert_eq!(
        run.progress.start_replay(span, 3, 15),
        Err(NoReplay::Running)
    );
    assert_eq!(run.progress.lanes(), [LaneId::Main, lane]);
    assert_eq!(
        run.next_of(lane),
        Next::Cut {
            first: 3,
            last: Some(10)
        }
    );
    let main = run.progress.main().clone();
    run.progress.begin(lane, &cut(6, 4), run.now);
    let id = run.id_of(lane);
    run.progress
        .on_result(id, &answered(200), run.after, run.now, 0);
    assert_eq!(
        run.next_of(lane),
        Next::Cut {
            first: 7,
            last: Some(10)
        }
    );
    run.progress.begin(lane, &cut(10, 0), run.now);
    assert_eq!(
        (run.next_of(lane), run.progress.replay()),
        (Next::Nothing, None)
    );
    assert_eq!(run.progress.main(), &main);
    let counters = run.progress.records().counters;
    assert_eq!((counters.delivered, counters.replayed), (10, 4));
    // Results of one are not taken for another.
    let second = run.progress.start_replay(span, 3, 6).unwrap();
    run.progress.begin(second, &cut(6, 4), run.now);
    assert_eq!(
        run.progress
            .on_result(id, &answered(200), run.after, run.now, 0),
        Effect::Stale
    );
    run.progress.cancel_replay();
    assert_eq!(run.progress.main(), &main);
}

#[test]
fn a_replay_that_dies_ends_and_leaves_the_main_cursor() {
    let span = Span {
        since: START,
        until: START,
    };
    let mut run = Run::new();
    run.answer(&answered(200));
    let lane = run.progress.start_replay(span, 1, 10).unwrap();
    run.progress.begin(lane, &cut(5, 5), run.now);
    while let Next::Attempt { id, .. } = run.next_of(lane) {
        run.progress
            .on_result(id, &answered(400), run.after, run.now, 0);
        if let Next::Wait(at) = run.next_of(lane) {
            run.now = at;
        }
    }
    assert_eq!(run.progress.replay(), None);
    assert_eq!(run.progress.state(), State::Active);
    assert!(run.progress.records().dead_letters[0].is_replay);
}
