//! What may be asked about suppression lists.

use minicbor::{Decode, Encode};

use super::page::Cursor;
use super::{Stored, Suppressed};
use crate::meta::audit::AUDIT_NAME_BYTES_MAX;
use crate::proposal::{self, Invalid};
use crate::suppression::{Entry, Key, NewEntry, Reason, SUBJECT_BYTES_MAX, ScopeFilter};
use crate::time::UnixMs;

/// Entries of one command: applying it takes some tens of milliseconds, and a heartbeat of Raft comes every 250.
pub const ITEMS_MAX: usize = 5_000;
/// Of their texts: a Raft entry has 1 MiB.
pub const ITEMS_BYTES_MAX: usize = 1 << 20;
/// Rows that one command or page passes over at most, in search of those that it is about.
pub const LOOKED_AT_MAX: usize = 10_000;
/// What an entry has beside its texts, encoded.
const ITEM_BYTES: usize = 48;
/// Inverted time, names, subject, reason.
const CURSOR_BYTES_MAX: usize = SUBJECT_BYTES_MAX + 160;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Each is added, or merged with what is there of its key and reason.
    #[n(0)]
    Add {
        #[n(0)]
        items: Vec<NewEntry>,
        /// Empty: it follows from an event.
        #[n(1)]
        by: String,
    },
    #[n(1)]
    Remove {
        #[n(0)]
        items: Vec<Removal>,
        /// Whoever asks may take complaints off the list, and says why in `note`. Else keys with one are left as they are.
        #[n(1)]
        may_remove_complaints: bool,
        #[n(2)]
        note: String,
        #[n(3)]
        by: String,
    },
    /// Takes back what was added within a time, for one reason.
    #[n(2)]
    Undo(#[n(0)] Undo),
    /// Entries are forgotten that ended by then.
    #[n(3)]
    Expire {
        #[n(0)]
        before: UnixMs,
        /// At most so many by this command.
        #[n(1)]
        limit: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Removal {
    #[n(0)]
    pub key: Key,
    /// None: whatever the reason.
    #[n(1)]
    pub reason: Option<Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Undo {
    #[n(0)]
    pub reason: Reason,
    /// When they were added, and not when their reason arose: a wrong file has entries of all times.
    #[n(1)]
    pub from: UnixMs,
    #[n(2)]
    pub to: UnixMs,
    #[n(3)]
    pub scopes: ScopeFilter,
    /// At most so many by this command.
    #[n(4)]
    pub limit: u32,
    /// Where the command before has ended.
    #[n(5)]
    pub after: Option<Cursor>,
    /// As for [`Command::Remove`]; without it, complaints are not taken back.
    #[n(6)]
    pub may_remove_complaints: bool,
    #[n(7)]
    pub note: String,
    #[n(8)]
    pub by: String,
}

/// What came of one that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Added {
    #[n(0)]
    Added,
    /// It was there; it began earlier or ends later now.
    #[n(1)]
    Changed,
    #[n(2)]
    WasThere,
    /// There are as many entries as there may be, of all or of the tenant.
    #[n(3)]
    Full,
}

/// What came of one that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Removed {
    #[n(0)]
    Removed,
    #[n(1)]
    WasNotThere,
    /// There is a complaint among the entries, so none was removed.
    #[n(2)]
    Complaint,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// For each, in order.
    #[n(0)]
    Added(#[n(0)] Vec<Added>),
    #[n(1)]
    Removed(#[n(0)] Vec<Removed>),
    #[n(2)]
    Undone {
        #[n(0)]
        removed: u32,
        /// Where the next command goes on; none: nothing is left.
        #[n(1)]
        next: Option<Cursor>,
    },
    #[n(3)]
    Expired {
        #[n(0)]
        removed: u32,
        #[n(1)]
        is_more: bool,
    },
}

/// Whether a command may be proposed.
pub fn check(command: &Command) -> Result<(), Invalid> {
    match command {
        Command::Add { items, by } => {
            check_by(by)?;
            check_items(items.iter().map(new_entry_bytes))?;
            items.iter().try_for_each(check_new)
        }
        Command::Remove {
            items,
            may_remove_complaints,
            note,
            by,
        } => {
            check_by(by)?;
            check_complaints(*may_remove_complaints, note)?;
            check_items(items.iter().map(|removal| key_bytes(&removal.key)))?;
            items.iter().try_for_each(|removal| key(&removal.key))
        }
        Command::Undo(undo) => check_undo(undo),
        Command::Expire { before, limit } => {
            proposal::time("before", *before)?;
            check_limit(*limit)
        }
    }
}

/// Whether a row of a backup is one that this version could have written.
pub fn check_row(of: &Key, row: &Suppressed) -> Result<(), Invalid> {
    key(of)?;
    spelling(row.spelling.as_deref())?;
    let reasons = || row.entries.iter().map(|stored| stored.entry.reason);
    if row.entries.is_empty() || !reasons().is_sorted_by(|one, next| one < next) {
        return Err(Invalid::field("entries", "are not one for each reason"));
    }
    row.entries
        .iter()
        .try_for_each(|Stored { entry: of, added }| {
            proposal::time("added", *added)?;
            entry(of)
        })
}

fn check_undo(undo: &Undo) -> Result<(), Invalid> {
    check_by(&undo.by)?;
    check_complaints(undo.may_remove_complaints, &undo.note)?;
    if undo.reason == Reason::Complaint && !undo.may_remove_complaints {
        return Err(Invalid::field(
            "reason",
            "complaints are taken back only by who may remove them",
        ));
    }
    proposal::time("from", undo.from)?;
    proposal::time("to", undo.to)?;
    if undo.from >= undo.to {
        return Err(Invalid::field("to", "is not after from"));
    }
    check_limit(undo.limit)?;
    let scopes = undo.scopes.check();
    scopes.map_err(|error| Invalid::field("scopes", error))?;
    match &undo.after {
        Some(after) if after.0.len() > CURSOR_BYTES_MAX => {
            Err(Invalid::field("after", "is longer than any place"))
        }
        _ => Ok(()),
    }
}

fn check_new(new: &NewEntry) -> Result<(), Invalid> {
    key(&new.key)?;
    spelling(new.spelling.as_deref())?;
    entry(&new.entry)
}

fn check_by(by: &str) -> Result<(), Invalid> {
    proposal::text("by", by, ..=AUDIT_NAME_BYTES_MAX)
}

/// Whoever takes complaints off the list says why.
fn check_complaints(may_remove: bool, note: &str) -> Result<(), Invalid> {
    proposal::text("note", note, usize::from(may_remove)..=AUDIT_NAME_BYTES_MAX)
}

fn check_limit(limit: u32) -> Result<(), Invalid> {
    match (1..=ITEMS_MAX).contains(&(limit as usize)) {
        true => Ok(()),
        false => Err(Invalid::field("limit", format!("from 1 to {ITEMS_MAX}"))),
    }
}

fn check_items(bytes: impl ExactSizeIterator<Item = usize>) -> Result<(), Invalid> {
    if bytes.len() > ITEMS_MAX {
        let why = format!("are {}, and one command has up to {ITEMS_MAX}", bytes.len());
        return Err(Invalid::field("items", why));
    }
    match bytes.sum::<usize>() {
        0..=ITEMS_BYTES_MAX => Ok(()),
        sum => {
            let why =
                format!("have {sum} octets, and those of one command up to {ITEMS_BYTES_MAX}");
            Err(Invalid::field("items", why))
        }
    }
}

fn key_bytes(key: &Key) -> usize {
    let (tenant, stream) = (key.scope.tenant(), key.scope.stream());
    let names = tenant.map_or(0, str::len) + stream.map_or(0, str::len);
    ITEM_BYTES + names + key.subject.as_str().len()
}

fn new_entry_bytes(new: &NewEntry) -> usize {
    let spelling = new.spelling.as_ref().map_or(0, String::len);
    key_bytes(&new.key) + spelling + new.entry.source.len() + new.entry.note.len()
}

fn key(key: &Key) -> Result<(), Invalid> {
    let scope = key.scope.check();
    scope.map_err(|error| Invalid::field("scope", error))?;
    let subject = key.subject.check();
    subject.map_err(|error| Invalid::field("subject", error))
}

fn spelling(spelling: Option<&str>) -> Result<(), Invalid> {
    let mut spelling = spelling.iter();
    spelling.try_for_each(|text| proposal::text("spelling", text, 1..=SUBJECT_BYTES_MAX))
}

fn entry(entry: &Entry) -> Result<(), Invalid> {
    let texts = entry.check();
    texts.map_err(|error| Invalid::field("entry", error))?;
    proposal::time("created", entry.created)?;
    let mut expires = entry.expires.iter();
    expires.try_for_each(|expires| proposal::time("expires", *expires))
}
