//! What happens to domains and suppression lists, and what people change, in order, until a sink has taken it.
//!
//! Replicas of an older version do not write it, so nothing is written before the first [`take`], which is proposed when every
//! member knows the log: all replicas have the same rows from then on.
//!
//! | key | value |
//! |---|---|
//! | `@LH` | where the log begins and ends |
//! | `@LE` number | [`Fact`] with its time |

use minicbor::{Decode, Encode};

use super::audit::{self, AuditEntry};
use super::domains::DomainEvent;
use super::suppressions::SuppressionEvent;
use crate::codec;
use crate::rows::{ReadRows, Rows, load, put_row, read};
use crate::time::UnixMs;

/// A sink that is down for longer misses the oldest. Most have 100 bytes, those of domains with very many faults have 4 kB.
pub const LOG_MAX: u64 = 4096;

const HEAD: &[u8] = b"@LH";
const ENTRY: &[u8] = b"@LE";

/// What is told of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Fact {
    /// A call of people or tools begins, has ended or was refused: the entry of the audit log of this number.
    #[n(0)]
    Audit {
        #[n(0)]
        number: u64,
        #[n(1)]
        has_ended: bool,
    },
    #[n(1)]
    Domain(#[n(0)] DomainEvent),
    #[n(2)]
    Suppression(#[n(0)] Box<SuppressionEvent>),
}

/// An event and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaEvent {
    pub seq: u64,
    pub at: UnixMs,
    pub kind: MetaEventKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaEventKind {
    /// As the entry is known by now; `ended` is none of a call that only begins.
    Audit {
        number: u64,
        entry: AuditEntry,
    },
    Domain(DomainEvent),
    Suppression(Box<SuppressionEvent>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct Head {
    #[n(0)]
    next: u64,
    #[n(1)]
    oldest: u64,
}

#[derive(Debug, Encode, Decode)]
struct Row {
    #[n(0)]
    at: UnixMs,
    #[n(1)]
    fact: Fact,
}

fn entry_key(seq: u64) -> Vec<u8> {
    [ENTRY, &seq.to_be_bytes()].concat()
}

/// Whether events are written down.
pub fn is_logged(rows: &(impl ReadRows + ?Sized)) -> bool {
    rows.get(HEAD).is_some()
}

/// The first event that no sink has taken.
pub fn first_event(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load::<Head>(rows, HEAD).unwrap_or_default().oldest
}

pub(super) fn note<R: Rows>(rows: &mut R, at: UnixMs, fact: Fact) {
    let Some(mut head) = load::<Head>(rows, HEAD) else {
        return;
    };
    rows.put(entry_key(head.next), codec::encode(&Row { at, fact }));
    head.next += 1;
    let oldest = head.next.saturating_sub(LOG_MAX);
    forget(rows, &mut head, oldest);
    put_row(rows, HEAD.to_vec(), &head);
}

/// A sink has all events before a number. The log begins with the first time.
pub(super) fn take<R: Rows>(rows: &mut R, before: u64) {
    let mut head: Head = load(rows, HEAD).unwrap_or_default();
    forget(rows, &mut head, before);
    put_row(rows, HEAD.to_vec(), &head);
}

fn forget<R: Rows>(rows: &mut R, head: &mut Head, before: u64) {
    let before = before.min(head.next);
    for seq in head.oldest..before {
        rows.delete(entry_key(seq));
    }
    head.oldest = head.oldest.max(before);
}

/// Up to `limit` events from a number on, in order, and the number after the last that was looked at. A call whose entry has given
/// way to later ones in the audit log is passed over.
pub fn meta_events(
    rows: &(impl ReadRows + ?Sized),
    from: u64,
    limit: usize,
) -> (Vec<MetaEvent>, u64) {
    let (mut found, mut next) = (Vec::new(), from);
    if limit == 0 {
        return (found, next);
    }
    let mut looked_at = 0;
    rows.scan(ENTRY, &entry_key(from), &mut |key, value| {
        let Some(seq) = key[ENTRY.len()..].first_chunk() else {
            return true;
        };
        let seq = u64::from_be_bytes(*seq);
        let Row { at, fact } = read(value);
        if let Some(kind) = kind(rows, fact) {
            found.push(MetaEvent { seq, at, kind });
        }
        next = seq + 1;
        looked_at += 1;
        looked_at < limit
    });
    (found, next)
}

fn kind(rows: &(impl ReadRows + ?Sized), fact: Fact) -> Option<MetaEventKind> {
    match fact {
        Fact::Domain(event) => Some(MetaEventKind::Domain(event)),
        Fact::Suppression(event) => Some(MetaEventKind::Suppression(event)),
        Fact::Audit { number, has_ended } => {
            let entry = audit::entry(rows, number)?;
            let ended = entry.ended.filter(|_| has_ended);
            let entry = AuditEntry { ended, ..entry };
            Some(MetaEventKind::Audit { number, entry })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{AuditCommand, AuditEnd, Command, Response, apply, suppressions};
    use crate::rows::MemoryRows;
    use crate::suppression::{Entry, Key, NewEntry, Reason, Scope, Subject};

    fn run(rows: &mut MemoryRows, at: u64, command: &Command) {
        assert_eq!(apply(rows, UnixMs(at), command), Response::Done);
    }

    fn take(before: u64) -> Command {
        Command::TakeEvents(before)
    }

    fn note(id: u64, ended: Option<AuditEnd>) -> Command {
        Command::Audit(Box::new(AuditCommand::Note(AuditEntry {
            id,
            at: UnixMs(0),
            who: "ann".into(),
            from: String::new(),
            call: "Suspend".into(),
            asked: "{}".into(),
            ended,
        })))
    }

    fn ended(code: u32) -> AuditEnd {
        let message = String::new();
        AuditEnd { code, message }
    }

    fn end(id: u64, code: u32) -> Command {
        let end = ended(code);
        Command::Audit(Box::new(AuditCommand::End { id, end }))
    }

    /// Number of the entry and the code that its call ended with.
    fn told(rows: &MemoryRows, from: u64) -> Vec<(u64, Option<u32>)> {
        let (events, _) = meta_events(rows, from, usize::MAX);
        let calls = events.into_iter().map(|event| match event.kind {
            MetaEventKind::Audit { number, entry } => (number, entry.ended.map(|end| end.code)),
            other => panic!("{other:?}"),
        });
        calls.collect()
    }

    #[test]
    fn nothing_is_written_before_every_member_knows_the_log() {
        let mut rows = MemoryRows::default();
        run(&mut rows, 1, &note(1, None));
        assert!(!is_logged(&rows) && told(&rows, 0).is_empty());
        run(&mut rows, 2, &take(0));
        assert!(is_logged(&rows));
        run(&mut rows, 3, &end(1, 0));
        assert_eq!(told(&rows, 0), [(0, Some(0))]);
    }

    #[test]
    fn a_call_is_told_when_it_begins_and_when_it_ends() {
        let mut rows = MemoryRows::default();
        run(&mut rows, 1, &take(0));
        run(&mut rows, 2, &note(7, None));
        run(&mut rows, 3, &note(8, Some(ended(7))));
        run(&mut rows, 4, &end(7, 0));
        // It has ended already, so this is of no entry.
        run(&mut rows, 5, &end(7, 9));
        assert_eq!(told(&rows, 0), [(0, None), (1, Some(7)), (0, Some(0))]);
        let (events, next) = meta_events(&rows, 0, 2);
        let times: Vec<_> = events.iter().map(|event| (event.seq, event.at.0)).collect();
        assert_eq!((times.as_slice(), next), (&[(0, 2), (1, 3)][..], 2));
        assert_eq!(meta_events(&rows, 3, 9), (Vec::new(), 3));
    }

    #[test]
    fn what_is_taken_is_forgotten_and_the_cursor_only_advances() {
        let mut rows = MemoryRows::default();
        run(&mut rows, 1, &take(9));
        assert_eq!(first_event(&rows), 0, "there is none to take yet");
        for n in 0..5 {
            run(&mut rows, n, &note(n, None));
        }
        for (before, first) in [(2, 2), (1, 2), (4, 4), (u64::MAX, 5)] {
            run(&mut rows, 9, &take(before));
            assert_eq!(first_event(&rows), first, "{before}");
            assert_eq!(told(&rows, 0).len() as u64, 5 - first);
        }
        run(&mut rows, 9, &note(9, None));
        assert_eq!(meta_events(&rows, 5, 9).1, 6);
    }

    #[test]
    fn the_oldest_give_way_to_a_sink_that_is_away() {
        let mut rows = MemoryRows::default();
        run(&mut rows, 1, &take(0));
        for n in 0..LOG_MAX + 3 {
            run(&mut rows, n, &note(n, None));
        }
        assert_eq!(first_event(&rows), 3);
        assert_eq!(told(&rows, 0).len() as u64, LOG_MAX);
        let of_log = rows.0.keys().filter(|key| key.starts_with(ENTRY));
        assert_eq!(of_log.count() as u64, LOG_MAX);
    }

    fn suppress(count: u32) -> Command {
        let items = (0..count).map(|n| NewEntry {
            key: Key {
                scope: Scope::Global,
                subject: Subject::Address(format!("a{n}@example.com")),
            },
            spelling: None,
            entry: Entry {
                reason: Reason::Manual,
                source: String::new(),
                created: UnixMs(1),
                expires: None,
                note: String::new(),
            },
        });
        Command::Suppression(Box::new(suppressions::Command::Add {
            items: items.collect(),
            by: "ann".into(),
        }))
    }

    /// For each event, whom it names and how many it is of.
    fn suppressed(rows: &MemoryRows) -> Vec<(Option<String>, u32)> {
        let (events, _) = meta_events(rows, 0, usize::MAX);
        let told = events.into_iter().map(|event| match event.kind {
            MetaEventKind::Suppression(event) => {
                assert_eq!((event.what.name(), event.who.as_str()), ("added", "ann"));
                let key = event.item.map(|(key, _)| key);
                (key.map(|key| key.subject.as_str().to_owned()), event.count)
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn few_that_are_suppressed_have_an_event_each_and_many_have_one_together() {
        let mut rows = MemoryRows::default();
        run(&mut rows, 1, &take(0));
        apply(&mut rows, UnixMs(2), &suppress(2));
        let each = |n: u32| (Some(format!("a{n}@example.com")), 1);
        assert_eq!(suppressed(&rows), [each(0), each(1)]);
        // Those that were there are no news.
        apply(&mut rows, UnixMs(3), &suppress(3));
        assert_eq!(suppressed(&rows), [each(0), each(1), each(2)]);
        run(&mut rows, 4, &take(3));
        apply(&mut rows, UnixMs(5), &suppress(2_000));
        assert_eq!(suppressed(&rows), [(None, 1_997)]);
    }
}
