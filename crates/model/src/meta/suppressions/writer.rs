//! Entries with all that hangs on them: one command's changes, whose counters are written once.

use std::collections::BTreeMap;

use super::change_log::{LOG_MAX, Noted};
use super::command::Added;
use super::event::Told;
use super::query::{counts, of_tenant};
use super::row_key::{COUNTS, entry_key, expiry_key, newest_key, tenant_key};
use super::{Counts, ENTRIES_MAX, Stored, Suppressed, TENANT_ENTRIES_MAX};
use crate::rows::{Rows, load, put_row};
use crate::suppression::{Entry, Key, Merged, NewEntry, Reason, ScopeKind};
use crate::time::UnixMs;

pub(super) struct Writer<'r, R> {
    rows: &'r mut R,
    now: UnixMs,
    counts: Counts,
    of_tenants: BTreeMap<String, u64>,
    noted: Noted,
    told: Told,
}

impl<'r, R: Rows> Writer<'r, R> {
    pub(super) fn new(rows: &'r mut R, now: UnixMs) -> Self {
        Self {
            counts: counts(rows),
            rows,
            now,
            of_tenants: BTreeMap::new(),
            noted: Noted::default(),
            told: Told::default(),
        }
    }

    /// Writes counters and changes, and says what happened to entries.
    pub(super) fn finish(self) -> Told {
        put_row(self.rows, COUNTS.to_vec(), &self.counts);
        for (tenant, count) in self.of_tenants {
            match count {
                0 => self.rows.delete(tenant_key(&tenant)),
                count => put_row(self.rows, tenant_key(&tenant), &count),
            }
        }
        self.noted.write(self.rows, LOG_MAX);
        self.told
    }

    /// `added` is when the cluster took it in.
    pub(super) fn add(&mut self, new: &NewEntry, added: UnixMs) -> Added {
        let key = &new.key;
        let before: Option<Suppressed> = load(self.rows, &entry_key(key));
        let mut row = before.unwrap_or_default();
        let mut entry = new.entry.clone();
        entry.created = entry.created.min(self.now);
        let place = row
            .entries
            .binary_search_by_key(&entry.reason, |stored| stored.entry.reason);
        let outcome = match place {
            Ok(place) => self.merge(key, &mut row.entries[place], entry, added),
            Err(_) if self.is_full(key) => return Added::Full,
            Err(place) => {
                if row.entries.is_empty() {
                    self.counts.keys += 1;
                    self.noted.note(key, true);
                }
                let stored = Stored { entry, added };
                self.count(key, |count| count + 1);
                self.index(key, &stored);
                row.entries.insert(place, stored);
                Added::Added
            }
        };
        if outcome != Added::WasThere {
            row.spelling = row.spelling.or_else(|| new.spelling.clone());
            put_row(self.rows, entry_key(key), &row);
        }
        if outcome == Added::Added {
            self.told.tell(key, &new.entry);
        }
        outcome
    }

    fn merge(&mut self, key: &Key, stored: &mut Stored, entry: Entry, added: UnixMs) -> Added {
        let mut merged = stored.clone();
        let outcome = match merged.entry.merge(entry, self.now) {
            Merged::Same => return Added::WasThere,
            Merged::Changed => Added::Changed,
            Merged::Replaced => {
                merged.added = added;
                Added::Added
            }
        };
        self.unindex(key, stored);
        self.index(key, &merged);
        *stored = merged;
        outcome
    }

    /// Removes those of a key's entries that are named, and says how many they were.
    pub(super) fn remove(&mut self, key: &Key, is_named: impl Fn(Reason) -> bool) -> u32 {
        let Some(mut row) = load::<Suppressed>(self.rows, &entry_key(key)) else {
            return 0;
        };
        let (removed, left): (Vec<_>, Vec<_>) = row
            .entries
            .into_iter()
            .partition(|stored| is_named(stored.entry.reason));
        for stored in &removed {
            self.unindex(key, stored);
            self.count(key, |count| count.saturating_sub(1));
            self.told.tell(key, &stored.entry);
        }
        row.entries = left;
        if row.entries.is_empty() {
            self.rows.delete(entry_key(key));
            self.counts.keys = self.counts.keys.saturating_sub(1);
            self.noted.note(key, false);
        } else if !removed.is_empty() {
            put_row(self.rows, entry_key(key), &row);
        }
        // One for each reason at most.
        u32::try_from(removed.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn has(&self, key: &Key, reason: Reason) -> bool {
        let row: Option<Suppressed> = load(self.rows, &entry_key(key));
        row.is_some_and(|row| {
            let mut entries = row.entries.iter();
            entries.any(|stored| stored.entry.reason == reason)
        })
    }

    fn index(&mut self, key: &Key, stored: &Stored) {
        let Stored { entry, added } = stored;
        self.rows
            .put(newest_key(*added, key, entry.reason), Vec::new());
        if let Some(expires) = entry.expires {
            self.rows
                .put(expiry_key(expires, key, entry.reason), Vec::new());
        }
    }

    fn unindex(&mut self, key: &Key, stored: &Stored) {
        let Stored { entry, added } = stored;
        self.rows.delete(newest_key(*added, key, entry.reason));
        if let Some(expires) = entry.expires {
            self.rows.delete(expiry_key(expires, key, entry.reason));
        }
    }

    fn is_full(&mut self, key: &Key) -> bool {
        let is_tenant_full = key
            .scope
            .tenant()
            .is_some_and(|tenant| *self.of_tenant(tenant) >= TENANT_ENTRIES_MAX);
        is_tenant_full || self.counts.entries() >= ENTRIES_MAX
    }

    fn count(&mut self, key: &Key, change: impl Fn(u64) -> u64) {
        let of_kind = match key.scope.kind() {
            ScopeKind::Global => &mut self.counts.global,
            ScopeKind::Tenant => &mut self.counts.tenants,
            ScopeKind::Stream => &mut self.counts.streams,
        };
        *of_kind = change(*of_kind);
        if let Some(tenant) = key.scope.tenant() {
            let count = self.of_tenant(tenant);
            *count = change(*count);
        }
    }

    fn of_tenant(&mut self, tenant: &str) -> &mut u64 {
        if !self.of_tenants.contains_key(tenant) {
            let count = of_tenant(self.rows, tenant);
            self.of_tenants.insert(tenant.to_owned(), count);
        }
        self.of_tenants.entry(tenant.to_owned()).or_default()
    }
}
