//! Who has changed what, and who has tried: the latest calls of people and tools that manage the cluster.
//!
//! A change is written down before it is made, and what came of it afterwards: one of which nothing came is of a node that
//! died in between. The log is a ring: the oldest entries give way, by number and by size.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::event_log::{self, Fact};
use crate::codec;
use crate::proposal::{self, Invalid};
use crate::rows::{ReadRows, Rows, load, put_row, read};
use crate::time::UnixMs;

/// A year of a cluster that is changed thirty times a day.
pub const AUDIT_ENTRIES_MAX: u64 = 10_000;
/// Of all entries together; they are in each snapshot of the group.
pub const AUDIT_BYTES_MAX: u64 = 8 << 20;
/// Of what was asked for, as text.
pub const ASKED_BYTES_MAX: usize = 2048;
/// Of the other texts of an entry.
pub const AUDIT_NAME_BYTES_MAX: usize = 256;
/// An entry that ends is looked for among so many of the latest.
const OPEN_MAX: u64 = 1000;

const HEAD: &[u8] = b"@AH";
const ENTRY: &[u8] = b"@AE";

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditEntry {
    /// Of the proposer's choice: what ends the entry names it.
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub at: UnixMs,
    /// The name of a certificate, a token or a local user.
    #[n(2)]
    pub who: String,
    /// The address that the call came from; empty for one from within the process.
    #[n(3)]
    pub from: String,
    /// The name of the call.
    #[n(4)]
    pub call: String,
    /// Its request in JSON, without secrets, and cut.
    #[n(5)]
    pub asked: String,
    #[n(6)]
    pub ended: Option<AuditEnd>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditEnd {
    /// A status code of gRPC; 0 is OK.
    #[n(0)]
    pub code: u32,
    /// What the caller was told of an error.
    #[n(1)]
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuditCommand {
    /// A call begins, or was refused. Its time is the command's.
    #[n(0)]
    Note(#[n(0)] AuditEntry),
    #[n(1)]
    End {
        #[n(0)]
        id: u64,
        #[n(1)]
        end: AuditEnd,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct Head {
    #[n(0)]
    next: u64,
    #[n(1)]
    oldest: u64,
    #[n(2)]
    bytes: u64,
}

fn entry_key(seq: u64) -> Vec<u8> {
    [ENTRY, &seq.to_be_bytes()].concat()
}

pub(super) fn check(command: &AuditCommand) -> Result<(), Invalid> {
    let name = |field, text: &str| proposal::text(field, text, 0..=AUDIT_NAME_BYTES_MAX);
    let end = |end: &AuditEnd| name("message", &end.message);
    match command {
        AuditCommand::Note(entry) => {
            name("who", &entry.who)?;
            name("from", &entry.from)?;
            name("call", &entry.call)?;
            proposal::text("asked", &entry.asked, 0..=ASKED_BYTES_MAX)?;
            entry.ended.as_ref().map_or(Ok(()), end)
        }
        AuditCommand::End { end: told, .. } => end(told),
    }
}

pub(super) fn apply<R: Rows>(rows: &mut R, now: UnixMs, command: &AuditCommand) {
    let mut head: Head = load(rows, HEAD).unwrap_or_default();
    match command {
        AuditCommand::Note(entry) => {
            let entry = AuditEntry {
                at: now,
                ..entry.clone()
            };
            let seq = head.next;
            head.next += 1;
            put(rows, &mut head, seq, &entry, 0);
            let has_ended = entry.ended.is_some();
            event_log::note(
                rows,
                now,
                Fact::Audit {
                    number: seq,
                    has_ended,
                },
            );
        }
        AuditCommand::End { id, end } => {
            let first = head.oldest.max(head.next.saturating_sub(OPEN_MAX));
            let entry = (first..head.next).rev().find_map(|seq| {
                let entry: AuditEntry = load(rows, &entry_key(seq))?;
                (entry.id == *id && entry.ended.is_none()).then_some((seq, entry))
            });
            if let Some((seq, mut entry)) = entry {
                let before = codec::encode(&entry).len() as u64;
                entry.ended = Some(end.clone());
                put(rows, &mut head, seq, &entry, before);
                event_log::note(
                    rows,
                    now,
                    Fact::Audit {
                        number: seq,
                        has_ended: true,
                    },
                );
            }
        }
    }
    while head.oldest + 1 < head.next
        && (head.next - head.oldest > AUDIT_ENTRIES_MAX || head.bytes > AUDIT_BYTES_MAX)
    {
        let key = entry_key(head.oldest);
        let bytes = rows.get(&key).map_or(0, |row| row.len() as u64);
        head.bytes = head.bytes.saturating_sub(bytes);
        rows.delete(key);
        head.oldest += 1;
    }
    put_row(rows, HEAD.to_vec(), &head);
}

fn put<R: Rows>(rows: &mut R, head: &mut Head, seq: u64, entry: &AuditEntry, before: u64) {
    let row = codec::encode(entry);
    head.bytes = head.bytes.saturating_sub(before) + row.len() as u64;
    rows.put(entry_key(seq), row);
}

/// The entry of a number, unless it has given way.
pub(super) fn entry(rows: &(impl ReadRows + ?Sized), number: u64) -> Option<AuditEntry> {
    load(rows, &entry_key(number))
}

/// At most `limit` of the latest entries before a number, by number; all before none.
pub fn audit(
    rows: &(impl ReadRows + ?Sized),
    before: Option<u64>,
    limit: usize,
    is_wanted: impl Fn(&AuditEntry) -> bool,
) -> BTreeMap<u64, AuditEntry> {
    let head: Head = load(rows, HEAD).unwrap_or_default();
    let before = before.map_or(head.next, |before| before.min(head.next));
    let all = (head.oldest..before).rev().filter_map(|seq| {
        let row = rows.get(&entry_key(seq))?;
        Some((seq, read::<AuditEntry>(&row)))
    });
    all.filter(|(_, entry)| is_wanted(entry))
        .take(limit)
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::meta::{Command, Response};
    use crate::rows::MemoryRows;

    fn note(id: u64, asked: &str) -> AuditCommand {
        AuditCommand::Note(AuditEntry {
            id,
            at: UnixMs(0),
            who: "ann".into(),
            from: "192.0.2.1:5".into(),
            call: "Suspend".into(),
            asked: asked.into(),
            ended: None,
        })
    }

    fn end(id: u64, code: u32) -> AuditCommand {
        let message = String::new();
        let end = AuditEnd { code, message };
        AuditCommand::End { id, end }
    }

    fn run(rows: &mut MemoryRows, at: u64, command: AuditCommand) {
        let command = Command::Audit(Box::new(command));
        let answer = crate::meta::apply(rows, UnixMs(at), &command);
        assert_eq!(answer, Response::Done);
    }

    #[test]
    fn a_call_is_there_before_its_end_and_ends_once() {
        let mut rows = MemoryRows::default();
        run(&mut rows, 5, note(7, "a"));
        run(&mut rows, 6, note(8, "b"));
        let all = audit(&rows, None, 10, |_| true);
        assert!(all.values().all(|entry| entry.ended.is_none()));
        assert_eq!((all[&0].at, all[&1].at), (UnixMs(5), UnixMs(6)));
        for (id, code) in [(7, 9), (7, 0), (99, 0)] {
            run(&mut rows, 9, end(id, code));
        }
        let all = audit(&rows, None, 10, |_| true);
        let ended = |seq: u64| all[&seq].ended.as_ref().map(|end| end.code);
        assert_eq!((ended(0), ended(1)), (Some(9), None));
        assert_eq!(all[&0].at, UnixMs(5));
        assert_eq!(audit(&rows, Some(1), 10, |_| true).len(), 1);
        assert_eq!(audit(&rows, None, 1, |_| true).keys().next(), Some(&1));
        assert_eq!(audit(&rows, None, 9, |entry| entry.asked == "a").len(), 1);
    }

    /// Keys of rows begin with tags, and those of other modules are read by scans.
    #[test]
    fn nobody_takes_an_entry_for_a_row_of_its_own() {
        let mut rows = MemoryRows::default();
        for command in crate::proposal_tests::samples::meta() {
            let command = crate::meta::read_proposed(&command).unwrap();
            let before = rows.0.len();
            crate::meta::apply(&mut rows, UnixMs(1), &command);
            assert!(rows.0.len() + 3 >= before);
        }
        let known = |rows: &MemoryRows| {
            (
                crate::meta::sessions(rows),
                crate::meta::assignments(rows),
                crate::meta::drained(rows),
                crate::meta::nodes(rows),
                crate::meta::weights(rows),
                crate::meta::spreads(rows),
                crate::meta::kept(rows),
                crate::meta::policy_history(rows),
                crate::meta::ip_checks(rows),
                crate::meta::placements(rows),
            )
        };
        let before = known(&rows);
        run(&mut rows, 5, note(7, "a"));
        assert!(known(&rows) == before);
    }

    #[test]
    fn the_oldest_give_way_by_number_and_by_size() {
        let mut rows = MemoryRows::default();
        for n in 0..AUDIT_ENTRIES_MAX + 5 {
            run(&mut rows, n, note(n, ""));
        }
        let all = audit(&rows, None, usize::MAX, |_| true);
        assert_eq!(all.len() as u64, AUDIT_ENTRIES_MAX);
        assert_eq!(all.keys().next(), Some(&5));
        let long = "x".repeat(ASKED_BYTES_MAX);
        for n in 0..AUDIT_ENTRIES_MAX {
            run(&mut rows, n, note(n, &long));
        }
        let all = audit(&rows, None, usize::MAX, |_| true);
        let bytes: usize = all.values().map(|entry| codec::encode(entry).len()).sum();
        assert!(bytes as u64 <= AUDIT_BYTES_MAX && bytes as u64 > AUDIT_BYTES_MAX - 4096);
    }
}
