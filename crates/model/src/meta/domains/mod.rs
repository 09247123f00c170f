//! Domains that mail is sent for: whose they are, their keys, and what was found of their records.
//!
//! | key | value |
//! |---|---|
//! | `Dr` name | [`DomainRow`] |
//! | `Dq` time, name | nothing: the domain's next check is due then |
//! | `Dc` version | the domain whose signing changed, and whether all mail is signed with its keys |
//! | `Do` name | nothing: it is the operator's |
//! | `Dv` | how often signing has changed |
//! | `Dn` | how many domains there are |

mod apply;
mod command;
mod event;
mod row;
#[cfg(test)]
mod tests;

pub(super) use apply::restore;
pub use apply::{apply, first_check};
pub use command::{
    Command, FINDINGS_MAX, NewDomain, NewKey, Refusal, Response, Rewrapped, Seen, check,
    check_name, check_row,
};
pub use event::{DomainEvent, DomainEventKind};
pub use row::{Algorithm, Change, DomainRow, KeyRow, KeySet, SignedWith, Waits, What};

use crate::rows::{ReadRows, load, page, read};
use crate::time::UnixMs;

/// Some 10 KB each, of which backups and snapshots hold all.
pub const DOMAINS_MAX: u64 = 100_000;
/// Changes of signing that are told by name; who was away for longer asks anew for all.
const CHANGES_TOLD_MAX: u64 = 1_000;

/// A message has so many signatures of the operator at most.
pub const OPERATORS_MAX: usize = 2;

const VERSION: &[u8] = b"Dv";
const COUNT: &[u8] = b"Dn";

fn row_key(name: &str) -> Vec<u8> {
    [b"Dr", name.as_bytes()].concat()
}

fn due_key(at: UnixMs, name: &str) -> Vec<u8> {
    [b"Dq", &at.0.to_be_bytes()[..], name.as_bytes()].concat()
}

fn operator_key(name: &str) -> Vec<u8> {
    [b"Do", name.as_bytes()].concat()
}

fn change_key(version: u64) -> Vec<u8> {
    [b"Dc", &version.to_be_bytes()[..]].concat()
}

pub fn domain(rows: &(impl ReadRows + ?Sized), name: &str) -> Option<DomainRow> {
    load(rows, &row_key(name))
}

/// The domain that a name is, or the nearest one that it is below of.
pub fn nearest(rows: &(impl ReadRows + ?Sized), name: &str) -> Option<(String, DomainRow)> {
    let mut rest = name;
    loop {
        if let Some(row) = domain(rows, rest) {
            return Some((rest.to_owned(), row));
        }
        (_, rest) = rest.split_once('.')?;
    }
}

/// So many domains after a name, in order.
pub fn domains(
    rows: &(impl ReadRows + ?Sized),
    after: &str,
    limit: usize,
) -> Vec<(String, DomainRow)> {
    page(rows, b"Dr", after, limit)
}

/// How many domains there are.
pub fn count(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, COUNT).unwrap_or(0)
}

/// The operator's domains, whose keys all mail is signed with.
pub fn operators(rows: &(impl ReadRows + ?Sized)) -> Vec<(String, DomainRow)> {
    let mut names = Vec::new();
    rows.scan(b"Do", &[], &mut |key, _| {
        names.push(String::from_utf8_lossy(&key[2..]).into_owned());
        true
    });
    let found = names.into_iter().filter_map(|name| {
        let row = domain(rows, &name)?;
        Some((name, row))
    });
    found.collect()
}

/// Domains whose next check is due, those first that wait for the longest.
pub fn due(rows: &(impl ReadRows + ?Sized), now: UnixMs, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    rows.scan(b"Dq", &[], &mut |key, _| {
        let at = key[2..].first_chunk().map(|at| u64::from_be_bytes(*at));
        if at.is_none_or(|at| at > now.0) {
            return false;
        }
        found.push(String::from_utf8_lossy(&key[10..]).into_owned());
        found.len() < limit
    });
    found
}

/// Grows with each change of what mail is signed with.
pub fn signing_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

/// Domains whose signing has changed since a version; none if more has changed than is known by name, or all mail is signed with
/// the keys of one of them.
pub fn changed_since(rows: &(impl ReadRows + ?Sized), since: u64) -> Option<Vec<String>> {
    let version = signing_version(rows);
    if since > version || version - since > CHANGES_TOLD_MAX {
        return None;
    }
    let (mut found, mut is_of_all, mut count) = (Vec::new(), false, 0);
    rows.scan(
        b"Dc",
        &change_key(since.saturating_add(1)),
        &mut |_, value| {
            let (name, is_operator): (String, bool) = read(value);
            is_of_all |= is_operator;
            count += 1;
            if !found.contains(&name) {
                found.push(name);
            }
            true
        },
    );
    (count == version - since && !is_of_all).then_some(found)
}
