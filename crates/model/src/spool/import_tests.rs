//! A restored group holds what the lost one held, however often its steps come.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::tests::{accept, open_all, report};
use super::*;
use crate::rows::{MemoryRows, ReadRows};
use crate::{Epoch, GroupId, MessageId, SessionId, TaskId, UnixMs};

const BACKUP: u64 = 7;

fn import(rows: &mut MemoryRows, backup: u64, step: ImportStep) -> Response {
    let import = Import { backup, step };
    let command = Command::Import(Box::new(import));
    apply(rows, UnixMs(5_000), &command).response
}

/// The group that is lost: one message delivered, one deferred, one new.
fn lost() -> MemoryRows {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    for n in 0..3 {
        let command = Command::Accept(Box::new(accept(n, 1)));
        apply(&mut rows, UnixMs(1_000), &command);
    }
    for (n, verdict) in [(0, Verdict::Delivered), (1, Verdict::Deferred)] {
        let task = TaskId {
            message: accept(n, 1).id,
            number: 0,
        };
        let report = report(&rows, task, SessionId(1), &[verdict]).unwrap();
        let command = Command::Report(Box::new(report));
        apply(&mut rows, UnixMs(2_000), &command);
    }
    rows
}

fn steps(rows: &MemoryRows) -> Vec<ImportStep> {
    let messages = (0..3).map(|n| {
        let id = accept(n, 1).id;
        let tasks = query::tasks_of(rows, id).into_iter();
        ImportedMessage {
            id,
            row: query::message(rows, id).unwrap(),
            tasks: tasks.map(|(task, row)| (task.number, row)).collect(),
            history: query::history(rows, id),
        }
    });
    let state = query::state(rows);
    vec![
        ImportStep::Begin {
            state,
            slots: query::epochs(rows),
        },
        ImportStep::Events(query::event_places(rows, state.first_seq, 100)),
        ImportStep::Messages(messages.collect()),
    ]
}

/// All rows but those that differ with reason: slots, which nobody holds, and the note of the backup.
fn content(rows: &MemoryRows) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    ReadRows::scan(rows, &[], &[], &mut |key, value| {
        if !key.starts_with(key::SLOTS) && key != key::IMPORT && key != key::STATE {
            found.push((key.to_vec(), value.to_vec()));
        }
        true
    });
    found
}

#[test]
fn every_row_comes_back_and_epochs_do_too() {
    let before = lost();
    let mut rows = MemoryRows::default();
    for step in steps(&before) {
        import(&mut rows, BACKUP, step.clone());
        // The answer was lost.
        import(&mut rows, BACKUP, step);
    }
    assert_eq!(import(&mut rows, BACKUP, ImportStep::End), Response::Done);
    assert_eq!(content(&rows), content(&before));
    let state = query::state(&rows);
    assert_eq!(
        StateRow {
            now: UnixMs(5_000),
            ..query::state(&before)
        },
        state
    );
    assert_eq!(query::epochs(&rows), query::epochs(&before));
    assert!(
        query::epochs(&rows).iter().all(|(slot, epoch)| {
            *epoch == Epoch(1) && query::slot(&rows, *slot).unwrap().session == SessionId::NONE
        }),
        "nobody holds a slot"
    );
}

#[test]
fn only_an_empty_group_takes_a_backup_and_only_one_once() {
    let before = lost();
    let steps = steps(&before);
    let refused = |refusal| Response::Refused(refusal);
    let mut used = before.clone();
    let mut rows = MemoryRows::default();
    for step in &steps {
        let answer = import(&mut used, BACKUP, step.clone());
        assert_eq!(answer, refused(Refusal::NotEmpty));
        import(&mut rows, BACKUP, step.clone());
        let answer = import(&mut rows, BACKUP + 1, step.clone());
        assert_eq!(answer, refused(Refusal::NotEmpty));
    }
    assert_eq!(content(&used), content(&before));
    import(&mut rows, BACKUP, ImportStep::End);
    for step in steps {
        let answer = import(&mut rows, BACKUP, step);
        assert_eq!(answer, refused(Refusal::Restored));
    }
}

#[test]
fn what_is_finished_is_not_forgotten_before_the_restore_is() {
    let mut rows = MemoryRows::default();
    for step in steps(&lost()) {
        import(&mut rows, BACKUP, step);
    }
    let trim = Command::Trim {
        events_before: u64::MAX,
        finished_before: UnixMs(u64::MAX),
        limit: 100,
    };
    let is_known = |rows: &MemoryRows| query::message(rows, accept(0, 1).id).is_some();
    apply(&mut rows, UnixMs(5_000), &trim);
    assert!(is_known(&rows));
    import(&mut rows, BACKUP, ImportStep::End);
    apply(&mut rows, UnixMs(5_000), &trim);
    assert!(!is_known(&rows));
}

/// The same as of another group.
fn of_group(step: ImportStep, group: GroupId) -> ImportStep {
    let other =
        |id: MessageId| MessageId::new(id.at(), group, id.entropy() + 100 * u64::from(group.0));
    match step {
        ImportStep::Events(events) => ImportStep::Events(
            events
                .into_iter()
                .map(|(seq, id)| (seq, other(id)))
                .collect(),
        ),
        ImportStep::Messages(mut messages) => {
            for message in &mut messages {
                message.id = other(message.id);
                let history = message.history.iter_mut();
                history.for_each(|event| event.message = message.id);
            }
            ImportStep::Messages(messages)
        }
        step => step,
    }
}

#[test]
fn groups_of_a_backup_that_go_into_one_are_all_there() {
    let before = lost();
    let state = query::state(&before);
    let span = EventSpan {
        first_seq: state.first_seq,
        next_seq: state.next_seq,
    };
    let from = [GroupId(1), GroupId(2)];
    let places = places(&from.map(|group| (group, span)).into(), 1);
    let mut rows = MemoryRows::default();
    for group in from {
        let place = places[&group];
        for step in steps(&before) {
            let step = match of_group(step, group) {
                ImportStep::Begin { state, slots } => {
                    let EventSpan {
                        first_seq,
                        next_seq,
                    } = place.events;
                    let state = StateRow {
                        first_seq,
                        next_seq,
                        ..state
                    };
                    ImportStep::Begin { state, slots }
                }
                ImportStep::Events(events) => {
                    let events = events.into_iter();
                    let here = events.map(|(seq, id)| (seq + place.shift, id.among(1)));
                    ImportStep::Events(here.collect())
                }
                ImportStep::Messages(messages) => {
                    let messages = messages.into_iter().map(|message| place.take(message));
                    ImportStep::Messages(messages.collect())
                }
                step => step,
            };
            import(&mut rows, BACKUP, step);
        }
    }
    assert_eq!(import(&mut rows, BACKUP, ImportStep::End), Response::Done);
    let state = query::state(&rows);
    assert_eq!(state.open_messages, 2 * query::state(&before).open_messages);
    let events = query::event_places(&rows, state.first_seq, 1_000);
    let numbers = events.iter().map(|(seq, _)| *seq);
    assert!(numbers.eq(state.first_seq..state.next_seq));
    assert_eq!(events.len() as u64, 2 * (span.next_seq - span.first_seq));
    for (seq, id) in events {
        assert_eq!(id.group(), GroupId(1));
        let history = query::history(&rows, id);
        let has_it = history
            .iter()
            .any(|event| event.seq == seq && event.message == id);
        assert!(has_it, "{seq} of {id}: {history:?}");
    }
}
