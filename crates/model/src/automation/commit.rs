//! Automation as the state of a group: its rules, the versions that others compare, and the log of what changed.
//!
//! The rules that count are rows. Two versions of the program have different built-in rules, and must come to the same
//! state; the leader writes those of its policy down before they count.

use minicbor::{Decode, Encode};

use super::apply::{Rules, apply};
use super::command::{Command, Event, Response};
use crate::codec;
use crate::rows::{ReadRows, Rows, load, put_row, read};
use crate::time::UnixMs;

/// A sink that is down for longer misses the oldest. With the longest names each has 2 kB.
pub const EVENTS_MAX: u64 = 2048;

const RULES: &[u8] = b"@R";
const FORCES_VERSION: &[u8] = b"@V";
const EVENT: &[u8] = b"@E";
const NEXT: &[u8] = b"@N";
const TAKEN: &[u8] = b"@C";

/// An event and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Logged {
    #[n(0)]
    pub seq: u64,
    #[n(1)]
    pub event: Event,
}

fn event_key(seq: u64) -> Vec<u8> {
    [EVENT, &seq.to_be_bytes()].concat()
}

/// The rules that count.
pub fn rules(rows: &(impl ReadRows + ?Sized)) -> Rules {
    load(rows, RULES).unwrap_or_default()
}

pub fn set_rules<R: Rows>(rows: &mut R, rules: &Rules) {
    put_row(rows, RULES.to_vec(), rules);
}

/// Grows with every change of what rules or operators have in force.
pub fn actions_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, FORCES_VERSION).unwrap_or(0)
}

/// Applies one command with the rules that count, and logs what changed.
pub fn commit<R: Rows>(rows: &mut R, now: UnixMs, command: &Command) -> Response {
    if let Command::Taken(before) = command {
        let taken = taken(rows).max(*before).min(next_seq(rows));
        put_row(rows, TAKEN.to_vec(), &taken);
        return Response::Done;
    }
    let rules = match command {
        Command::Matches(_) | Command::MatchCount(_) => rules(rows),
        _ => Rules::new(),
    };
    let outcome = apply(rows, now, &rules, command);
    note(rows, outcome.events);
    outcome.response
}

/// Logs what changed, and has everybody hear of it.
pub(super) fn note<R: Rows>(rows: &mut R, events: Vec<Event>) {
    if !events.is_empty() {
        let version = actions_version(rows) + 1;
        put_row(rows, FORCES_VERSION.to_vec(), &version);
    }
    for event in events {
        log(rows, event);
    }
}

fn next_seq(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, NEXT).unwrap_or(0)
}

fn log<R: Rows>(rows: &mut R, event: Event) {
    let seq = next_seq(rows);
    put_row(rows, event_key(seq), &Logged { seq, event });
    put_row(rows, NEXT.to_vec(), &(seq + 1));
    if let Some(oldest) = seq.checked_sub(EVENTS_MAX) {
        rows.delete(event_key(oldest));
    }
}

/// The first event that no sink has taken.
pub fn taken(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, TAKEN).unwrap_or(0)
}

/// Events from a place on, oldest first; those that were taken stay until newer ones need their place.
pub fn events(rows: &(impl ReadRows + ?Sized), from: u64, limit: usize) -> Vec<Logged> {
    let mut found = Vec::new();
    if limit == 0 {
        return found;
    }
    rows.scan(EVENT, &event_key(from), &mut |_, value| {
        found.push(read(value));
        found.len() < limit
    });
    found
}

/// The latest events, oldest first.
pub fn latest_events(rows: &(impl ReadRows + ?Sized), limit: usize) -> Vec<Logged> {
    let from = next_seq(rows).saturating_sub(limit as u64);
    events(rows, from, limit)
}

/// A batch of matches that a session tells: the row says which was its last, so that one that is told again counts once.
fn batch_key(session: u64) -> Vec<u8> {
    [b"@B".as_slice(), &session.to_be_bytes()].concat()
}

/// Whether this batch of a session is new; from now on it is not.
pub(crate) fn is_new_batch<R: Rows>(rows: &mut R, session: u64, batch: u64) -> bool {
    let last: Option<u64> = load(rows, &batch_key(session));
    if last.is_some_and(|last| batch <= last) {
        return false;
    }
    rows.put(batch_key(session), codec::encode(&batch));
    true
}

/// Forgets the batches of sessions that are gone.
pub(crate) fn keep_batches<R: Rows>(rows: &mut R, lives: impl Fn(u64) -> bool) {
    let mut gone = Vec::new();
    Rows::scan(rows, b"@B", &[], &mut |key, _| {
        let id = key[2..].try_into().map(u64::from_be_bytes);
        let id = id.expect("keys are written by this module");
        if !lives(id) {
            gone.push(key.to_vec());
        }
        true
    });
    for key in gone {
        rows.delete(key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{START, order, reply, rule};
    use super::super::{Action, MatchCount, What, active_action, active_actions};
    use super::*;
    use crate::rows::MemoryRows;
    use crate::time::DurationMs;

    fn told(count: u32) -> Command {
        let matched = reply(0);
        Command::MatchCount(vec![MatchCount { matched, count }])
    }

    #[test]
    fn the_rules_that_count_are_those_that_were_written_down() {
        let mut rows = MemoryRows::default();
        commit(&mut rows, UnixMs(START), &told(9));
        assert!(active_action::all(&rows).is_empty(), "no rules are known");
        let rules = Rules::from([("yahoo".to_owned(), vec![rule(3, Action::Suspend)])]);
        set_rules(&mut rows, &rules);
        assert_eq!(super::rules(&rows), rules);
        commit(&mut rows, UnixMs(START), &told(2));
        assert_eq!((actions_version(&rows), events(&rows, 0, 9)), (0, vec![]));
        commit(&mut rows, UnixMs(START), &told(100));
        assert_eq!(active_action::all(&rows).len(), 1);
        assert_eq!(actions_version(&rows), 1);
        let logged = events(&rows, 0, 9);
        assert_eq!((logged.len(), logged[0].event.what), (1, What::Began));
        assert_ne!(active_actions(&rows), Default::default());
    }

    #[test]
    fn the_log_is_bounded_and_its_cursor_only_advances() {
        let mut rows = MemoryRows::default();
        let selector = super::super::Selector {
            tenant: Some("shop".to_owned()),
            ..Default::default()
        };
        let suspend = Command::Suspend {
            selector,
            lasts: DurationMs::from_secs(60),
            order: order(),
            gives_up: false,
        };
        for n in 0..EVENTS_MAX + 10 {
            commit(&mut rows, UnixMs(START + n), &suspend);
        }
        let kept = events(&rows, 0, usize::MAX);
        assert_eq!((kept.len() as u64, kept[0].seq), (EVENTS_MAX, 10));
        assert_eq!(latest_events(&rows, 2)[1].seq, EVENTS_MAX + 9);
        assert_eq!(actions_version(&rows), EVENTS_MAX + 10);
        for (told, known) in [(5, 5), (3, 5), (u64::MAX, EVENTS_MAX + 10)] {
            commit(&mut rows, UnixMs(START), &Command::Taken(told));
            assert_eq!(taken(&rows), known);
        }
        assert_eq!(events(&rows, 0, 1).len(), 1, "they are kept to look back");
    }

    #[test]
    fn a_batch_counts_once() {
        let mut rows = MemoryRows::default();
        assert!(is_new_batch(&mut rows, 7, 1));
        assert!(!is_new_batch(&mut rows, 7, 1));
        assert!(is_new_batch(&mut rows, 8, 1));
        assert!(is_new_batch(&mut rows, 7, 2));
        keep_batches(&mut rows, |session| session == 8);
        assert!(is_new_batch(&mut rows, 7, 1), "the session is another one");
        assert!(!is_new_batch(&mut rows, 8, 1));
    }
}
