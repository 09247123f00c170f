//! What senders follow: which keys have entries, change by change. A sender that is too far behind loads all anew.

use minicbor::{Decode, Encode};

use crate::rows::{ReadRows, Rows, load, put_row, read};
use crate::suppression::{Change, Key};

/// Changes that are kept. A tenth of the largest list: whoever has missed more loads all as fast. Each is some 20 octets.
pub const LOG_MAX: u64 = 1 << 20;

const HEAD: &[u8] = b"Sh";
const CHANGE: &[u8] = b"Sl";

/// What has changed from a number on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// The next ones, and the number that the one after them has.
    Next { changes: Vec<Change>, next: u64 },
    /// They are not known any more, or never were.
    LoadAll,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct Head {
    #[n(0)]
    next: u64,
    #[n(1)]
    oldest: u64,
}

fn change_key(number: u64) -> Vec<u8> {
    [CHANGE, &number.to_be_bytes()].concat()
}

fn head(rows: &(impl ReadRows + ?Sized)) -> Head {
    load(rows, HEAD).unwrap_or_default()
}

/// The number that the next change gets. Whoever loads all notes it first, and follows from there.
pub fn version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    head(rows).next
}

/// Up to `limit` changes from a number on.
pub fn changes_since(rows: &(impl ReadRows + ?Sized), since: u64, limit: usize) -> Changes {
    let head = head(rows);
    if !(head.oldest..=head.next).contains(&since) {
        return Changes::LoadAll;
    }
    let mut changes = Vec::new();
    if limit > 0 {
        rows.scan(CHANGE, &change_key(since), &mut |_, value| {
            changes.push(read(value));
            changes.len() < limit
        });
    }
    let next = since + changes.len() as u64;
    Changes::Next { changes, next }
}

/// What one command adds to the log.
#[derive(Debug, Default)]
pub(super) struct Noted(Vec<Change>);

impl Noted {
    pub(super) fn note(&mut self, key: &Key, is_added: bool) {
        let hash = key.hash();
        self.0.push(Change { hash, is_added });
    }

    /// Writes them down; of all that are kept then, the oldest give way beyond so many.
    pub(super) fn write<R: Rows>(self, rows: &mut R, log_max: u64) {
        if self.0.is_empty() {
            return;
        }
        let mut head = head(rows);
        for change in self.0 {
            put_row(rows, change_key(head.next), &change);
            head.next += 1;
        }
        let oldest = head.next.saturating_sub(log_max).max(head.oldest);
        for number in head.oldest..oldest {
            rows.delete(change_key(number));
        }
        head.oldest = oldest;
        put_row(rows, HEAD.to_vec(), &head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::MemoryRows;
    use crate::suppression::{Scope, Subject};

    fn write(rows: &mut MemoryRows, names: &[&str], log_max: u64) {
        let mut noted = Noted::default();
        for name in names {
            let (scope, subject) = (Scope::Global, Subject::Domain((*name).to_owned()));
            noted.note(&Key { scope, subject }, true);
        }
        noted.write(rows, log_max);
    }

    fn numbers(rows: &MemoryRows, since: u64, limit: usize) -> Option<(usize, u64)> {
        match changes_since(rows, since, limit) {
            Changes::Next { changes, next } => Some((changes.len(), next)),
            Changes::LoadAll => None,
        }
    }

    #[test]
    fn who_is_too_far_behind_or_ahead_loads_all() {
        let mut rows = MemoryRows::default();
        assert_eq!((numbers(&rows, 0, 9), version(&rows)), (Some((0, 0)), 0));
        assert_eq!(numbers(&rows, 1, 9), None);
        write(&mut rows, &["a", "b", "c"], 4);
        assert_eq!(numbers(&rows, 0, 9), Some((3, 3)));
        assert_eq!(numbers(&rows, 0, 2), Some((2, 2)));
        assert_eq!(numbers(&rows, 0, 0), Some((0, 0)));
        write(&mut rows, &["d", "e"], 4);
        assert_eq!(numbers(&rows, 0, 9), None);
        assert_eq!(numbers(&rows, 1, 9), Some((4, 5)));
        assert_eq!(numbers(&rows, 5, 9), Some((0, 5)));
        assert_eq!(numbers(&rows, 6, 9), None);
        // One command that says more than is kept.
        write(&mut rows, &["f", "g", "h", "i", "j", "k"], 4);
        assert_eq!((numbers(&rows, 7, 9), version(&rows)), (Some((4, 11)), 11));
        let kept = rows.0.keys().filter(|key| key.starts_with(CHANGE));
        assert_eq!(kept.count(), 4);
    }
}
