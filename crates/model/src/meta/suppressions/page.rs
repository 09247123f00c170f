//! Entries page by page: the newest first, or in the order of their keys.

use minicbor::{Decode, Encode};

use super::command::LOOKED_AT_MAX;
use super::query::entries;
use super::row_key::{ENTRY, NEWEST, entry_key, read_entry_key, read_newest_key, scope_prefix};
use super::{Item, Stored, Suppressed};
use crate::rows::{ReadRows, read};
use crate::suppression::{Key, Reason, ScopeFilter};

/// A place among the newest. Entries that come and go do not move it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Cursor(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

impl Cursor {
    pub(super) fn at(row_key: &[u8]) -> Self {
        Self(row_key[NEWEST.len()..].to_vec())
    }

    pub(super) fn row_key(&self) -> Vec<u8> {
        [NEWEST, &self.0].concat()
    }

    pub(super) fn is_at(&self, row_key: &[u8]) -> bool {
        row_key.get(NEWEST.len()..) == Some(&self.0)
    }
}

/// Which of the newest are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest {
    pub scopes: ScopeFilter,
    /// None: whatever the reason.
    pub reason: Option<Reason>,
    /// What the subject begins with, in lower case.
    pub prefix: String,
    /// Where the page before has ended.
    pub after: Option<Cursor>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<I, C> {
    pub items: Vec<I>,
    /// Where the next page goes on; none: this was the last. A page may be empty and not the last: it looks at
    /// [`LOOKED_AT_MAX`] entries and leaves out those that were not asked for.
    pub next: Option<C>,
}

/// Up to `limit` entries, those first that were added last.
pub fn newest(rows: &(impl ReadRows + ?Sized), asked: &Newest, limit: usize) -> Page<Item, Cursor> {
    let (mut items, mut next, mut looked_at) = (Vec::new(), None, 0);
    let from = asked.after.as_ref().map(Cursor::row_key);
    rows.scan(NEWEST, &from.unwrap_or_default(), &mut |row_key, _| {
        let is_passed = asked
            .after
            .as_ref()
            .is_some_and(|after| after.is_at(row_key));
        let Some((_, key, reason)) = read_newest_key(row_key).filter(|_| !is_passed) else {
            return true;
        };
        looked_at += 1;
        next = Some(Cursor::at(row_key));
        let is_asked = asked.scopes.admits(&key.scope)
            && asked.reason.is_none_or(|asked| asked == reason)
            && key.subject.as_str().starts_with(&asked.prefix);
        if is_asked {
            items.extend(item(rows, key, reason));
        }
        items.len() < limit && looked_at < LOOKED_AT_MAX
    });
    let is_last = items.len() < limit && looked_at < LOOKED_AT_MAX;
    let next = next.filter(|_| !is_last);
    Page { items, next }
}

fn item(rows: &(impl ReadRows + ?Sized), key: Key, reason: Reason) -> Option<Item> {
    let Suppressed { spelling, entries } = entries(rows, &key)?;
    let stored = entries
        .into_iter()
        .find(|stored| stored.entry.reason == reason)?;
    Some(Item {
        key,
        spelling,
        stored,
    })
}

/// The entries of up to `limit` keys after one, in the order of keys: global ones, then those of each tenant and its streams.
pub fn by_key(
    rows: &(impl ReadRows + ?Sized),
    scopes: &ScopeFilter,
    after: Option<&Key>,
    limit: usize,
) -> Page<Item, Key> {
    let (mut items, mut next, mut keys) = (Vec::new(), None, 0);
    let after = after.map(entry_key);
    let prefix = scope_prefix(scopes);
    let from = after.clone().unwrap_or_default();
    rows.scan(&prefix, &from, &mut |row_key, value| {
        let Some(key) = read_entry_key(row_key).filter(|_| Some(row_key) != after.as_deref())
        else {
            return true;
        };
        let Suppressed { spelling, entries } = read(value);
        let of_key = entries.into_iter().map(|stored: Stored| Item {
            key: key.clone(),
            spelling: spelling.clone(),
            stored,
        });
        items.extend(of_key);
        keys += 1;
        next = Some(key);
        keys < limit
    });
    let next = next.filter(|_| keys >= limit);
    Page { items, next }
}

/// The hashes of up to `limit` keys after one, for whoever loads all.
pub fn hashes(
    rows: &(impl ReadRows + ?Sized),
    after: Option<&Key>,
    limit: usize,
) -> Page<u64, Key> {
    let (mut items, mut next) = (Vec::new(), None);
    let after = after.map(entry_key);
    let from = after.clone().unwrap_or_default();
    rows.scan(ENTRY, &from, &mut |row_key, _| {
        let Some(key) = read_entry_key(row_key).filter(|_| Some(row_key) != after.as_deref())
        else {
            return true;
        };
        items.push(key.hash());
        next = Some(key);
        items.len() < limit
    });
    let next = next.filter(|_| items.len() >= limit);
    Page { items, next }
}
