//! How commands change suppression lists.

use super::Suppressed;
use super::command::{Command, LOOKED_AT_MAX, Removal, Removed, Response, Undo};
use super::event::{SuppressionEventKind, Told};
use super::page::Cursor;
use super::row_key::{EXPIRY, NEWEST, newest_before, read_expiry_key, read_newest_key};
use super::writer::Writer;
use crate::meta::event_log::{self, Fact};
use crate::rows::Rows;
use crate::suppression::{Key, NewEntry, Reason};
use crate::time::UnixMs;

pub fn apply<R: Rows>(rows: &mut R, now: UnixMs, command: &Command) -> Response {
    match command {
        Command::Add { items, by } => {
            let mut writer = Writer::new(rows, now);
            let added = items.iter().map(|new| writer.add(new, now)).collect();
            let told = writer.finish();
            tell(rows, now, told, SuppressionEventKind::Added, (by, ""));
            Response::Added(added)
        }
        Command::Remove {
            items,
            may_remove_complaints,
            note,
            by,
        } => {
            let removed = remove(rows, now, items, *may_remove_complaints, (by, note));
            Response::Removed(removed)
        }
        Command::Undo(undo) => self::undo(rows, now, undo),
        Command::Expire { before, limit } => expire(rows, now, *before, *limit as usize),
    }
}

/// Takes over what a backup holds: it is merged with what is there, and a second time changes nothing.
pub fn restore<R: Rows>(rows: &mut R, now: UnixMs, restored: &[(Key, Suppressed)]) {
    if restored.is_empty() {
        return;
    }
    let mut writer = Writer::new(rows, now);
    for (key, row) in restored {
        for stored in &row.entries {
            let new = NewEntry {
                key: key.clone(),
                spelling: row.spelling.clone(),
                entry: stored.entry.clone(),
            };
            if new.entry.counts_at(now) {
                writer.add(&new, stored.added.min(now));
            }
        }
    }
    writer.finish();
}

fn tell<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    told: Told,
    what: SuppressionEventKind,
    (by, note): (&str, &str),
) {
    for event in told.into_events(what, by, note) {
        event_log::note(rows, now, Fact::Suppression(Box::new(event)));
    }
}

fn remove<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    items: &[Removal],
    may_remove_complaints: bool,
    said: (&str, &str),
) -> Vec<Removed> {
    let mut removed = Vec::with_capacity(items.len());
    let mut writer = Writer::new(rows, now);
    for Removal { key, reason } in items {
        let is_named = |of: Reason| reason.is_none_or(|reason| reason == of);
        let is_refused = !may_remove_complaints
            && is_named(Reason::Complaint)
            && writer.has(key, Reason::Complaint);
        removed.push(match is_refused {
            true => Removed::Complaint,
            false if writer.remove(key, is_named) == 0 => Removed::WasNotThere,
            false => Removed::Removed,
        });
    }
    let told = writer.finish();
    tell(rows, now, told, SuppressionEventKind::Removed, said);
    removed
}

fn undo<R: Rows>(rows: &mut R, now: UnixMs, undo: &Undo) -> Response {
    let (found, next) = find_undone(rows, undo);
    let removed = remove_all(rows, now, &found, |told, rows| {
        let said = (undo.by.as_str(), undo.note.as_str());
        tell(rows, now, told, SuppressionEventKind::Undone, said);
    });
    Response::Undone { removed, next }
}

/// Entries that are to be taken back, and where to go on if there may be more.
fn find_undone<R: Rows>(rows: &R, undo: &Undo) -> (Vec<(Key, Reason)>, Option<Cursor>) {
    let (mut found, mut next, mut looked_at) = (Vec::new(), None, 0);
    let first = newest_before(undo.to);
    let from = match &undo.after {
        Some(after) => after.row_key().max(first),
        None => first,
    };
    Rows::scan(rows, NEWEST, &from, &mut |row_key, _| {
        let is_passed = undo
            .after
            .as_ref()
            .is_some_and(|after| after.is_at(row_key));
        let Some((added, key, reason)) = read_newest_key(row_key).filter(|_| !is_passed) else {
            return true;
        };
        if added < undo.from {
            next = None;
            return false;
        }
        // There is one more, so that whoever asked has to go on behind the last.
        if found.len() == undo.limit as usize || looked_at == LOOKED_AT_MAX {
            return false;
        }
        looked_at += 1;
        next = Some(Cursor::at(row_key));
        if reason == undo.reason && undo.scopes.admits(&key.scope) {
            found.push((key, reason));
        }
        true
    });
    let is_whole = found.len() < undo.limit as usize && looked_at < LOOKED_AT_MAX;
    (found, next.filter(|_| !is_whole))
}

fn expire<R: Rows>(rows: &mut R, now: UnixMs, before: UnixMs, limit: usize) -> Response {
    let (mut found, mut is_more) = (Vec::new(), false);
    // One that has not ended yet stays, whatever the proposer's clock says.
    let before = before.min(now);
    Rows::scan(rows, EXPIRY, &[], &mut |row_key, _| {
        let Some((expires, key, reason)) = read_expiry_key(row_key) else {
            return true;
        };
        if expires > before {
            return false;
        }
        is_more = found.len() == limit;
        if !is_more {
            found.push((key, reason));
        }
        !is_more
    });
    let removed = remove_all(rows, now, &found, |told, rows| {
        tell(rows, now, told, SuppressionEventKind::Expired, ("", ""));
    });
    Response::Expired { removed, is_more }
}

fn remove_all<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    found: &[(Key, Reason)],
    tell: impl FnOnce(Told, &mut R),
) -> u32 {
    if found.is_empty() {
        return 0;
    }
    let mut writer = Writer::new(rows, now);
    let each = found.iter();
    let removed = each.map(|(key, reason)| writer.remove(key, |of| of == *reason));
    let removed = removed.sum();
    let told = writer.finish();
    tell(told, rows);
    removed
}
