//! What is known of a key, and what holds a recipient's mail back.

use super::row_key::{COUNTS, entry_key, tenant_key};
use super::{Counts, Suppressed};
use crate::rows::{ReadRows, load};
use crate::suppression::{Key, StreamKind, Subject, Verdict, decide, lookup_keys};
use crate::time::UnixMs;

/// The entries of a key, with those that have ended and are not forgotten yet.
pub fn entries(rows: &(impl ReadRows + ?Sized), key: &Key) -> Option<Suppressed> {
    load(rows, &entry_key(key))
}

/// All entries that are about mail of a tenant, and of one of its streams, to a recipient; whether or not they hold it back.
pub fn found(
    rows: &(impl ReadRows + ?Sized),
    tenant: &str,
    stream: Option<&str>,
    recipient: &Subject,
) -> Vec<(Key, Suppressed)> {
    let keys = lookup_keys(tenant, stream, recipient).into_iter();
    keys.filter_map(|key| {
        let row = entries(rows, &key)?;
        Some((key, row))
    })
    .collect()
}

/// What holds such mail back; none: nothing does.
pub fn verdict(
    rows: &(impl ReadRows + ?Sized),
    now: UnixMs,
    (tenant, stream, kind): (&str, Option<&str>, StreamKind),
    recipient: &Subject,
) -> Option<Verdict> {
    let found = found(rows, tenant, stream, recipient);
    let entries = found.iter().flat_map(|(key, row)| {
        let entries = row.entries.iter();
        entries.map(move |stored| (key, &stored.entry))
    });
    decide(kind, now, entries)
}

pub fn counts(rows: &(impl ReadRows + ?Sized)) -> Counts {
    load(rows, COUNTS).unwrap_or_default()
}

/// How many entries are of a tenant and its streams.
pub fn of_tenant(rows: &(impl ReadRows + ?Sized), tenant: &str) -> u64 {
    load(rows, &tenant_key(tenant)).unwrap_or(0)
}
