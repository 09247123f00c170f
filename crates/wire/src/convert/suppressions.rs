//! Suppression lists as the public API has them.

use skein_model::UnixMs;
use skein_model::meta::suppressions::{
    Added, Counts, Cursor, ITEMS_MAX, Item, Newest, Removal, Removed, Undo,
};
use skein_model::suppression::{
    BadEntry, BadScope, BadSubject, Entry, Key, NewEntry, Reason, Scope, ScopeFilter, StreamKind,
    Subject, Written,
};

use crate::v1;

/// Entries of a page; a client that wants more asks again.
const PAGE_MAX: usize = 1_000;
const PAGE: usize = 100;

/// What a client asks for and cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSuppression {
    #[error("subject: {0}")]
    Subject(#[from] BadSubject),
    #[error("scope: {0}")]
    Scope(#[from] BadScope),
    #[error("{0}")]
    Entry(#[from] BadEntry),
    #[error("key: it is missing")]
    NoKey,
    #[error("{0}: it is missing")]
    Missing(&'static str),
    #[error("{field}: there is no value {number}")]
    Unknown { field: &'static str, number: i32 },
    #[error("after: it is no place that an answer has named")]
    Place,
}

/// For whose mail a client asks, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub tenant: String,
    pub stream: Option<String>,
    pub kind: StreamKind,
    pub recipient: Subject,
}

/// An entry that is to be added. `now` is when it was created, if it does not say.
///
/// # Errors
/// What is wrong with it.
pub fn new_suppression(told: v1::Suppression, now: UnixMs) -> Result<NewEntry, BadSuppression> {
    let reason = reason(told.reason)?.ok_or(BadSuppression::Missing("reason"))?;
    let (key, spelling) = key(told.key)?;
    let created = match told.created_at_ms {
        0 => now,
        ms => UnixMs(ms),
    };
    let entry = Entry {
        reason,
        source: told.source,
        created,
        expires: told.expires_at_ms.map(UnixMs),
        note: told.note,
    };
    entry.check()?;
    Ok(NewEntry {
        key,
        spelling,
        entry,
    })
}

/// # Errors
/// What is wrong with it.
pub fn suppression_removal(told: v1::SuppressionRemoval) -> Result<Removal, BadSuppression> {
    let (key, _) = key(told.key)?;
    let reason = reason(told.reason)?;
    Ok(Removal { key, reason })
}

/// # Errors
/// What is wrong with it.
pub fn suppression_undo(
    told: v1::UndoSuppressionsRequest,
    by: String,
) -> Result<Undo, BadSuppression> {
    Ok(Undo {
        reason: reason(told.reason)?.ok_or(BadSuppression::Missing("reason"))?,
        from: UnixMs(told.from_ms),
        to: UnixMs(told.to_ms),
        scopes: suppression_scopes(told.scopes)?,
        limit: match told.limit {
            0 => u32::try_from(ITEMS_MAX).unwrap_or(u32::MAX),
            limit => limit,
        },
        after: cursor(&told.after)?,
        may_remove_complaints: told.with_complaints,
        note: told.note,
        by,
    })
}

/// # Errors
/// What is wrong with it.
pub fn suppression_asked(told: v1::CheckSuppressionRequest) -> Result<Asked, BadSuppression> {
    let recipient = Written::parse(&told.recipient)?.subject;
    let kind = match v1::StreamKind::try_from(told.kind) {
        Ok(v1::StreamKind::Transactional) => StreamKind::Transactional,
        Ok(v1::StreamKind::Bulk | v1::StreamKind::Unspecified) => StreamKind::Bulk,
        Err(_) => return Err(unknown("kind", told.kind)),
    };
    let stream = Some(told.stream).filter(|stream| !stream.is_empty());
    let scope = match stream.clone() {
        None => Scope::Tenant(told.tenant.clone()),
        Some(stream) => Scope::Stream {
            tenant: told.tenant.clone(),
            stream,
        },
    };
    scope.check()?;
    Ok(Asked {
        tenant: told.tenant,
        stream,
        kind,
        recipient,
    })
}

/// Which of the newest are asked for, and how many at most.
///
/// # Errors
/// What is wrong with it.
pub fn newest_suppressions(
    told: v1::ListSuppressionsRequest,
) -> Result<(Newest, usize), BadSuppression> {
    let limit = match told.limit {
        0 => PAGE,
        limit => usize::try_from(limit).unwrap_or(PAGE_MAX).min(PAGE_MAX),
    };
    let newest = Newest {
        scopes: suppression_scopes(told.scopes)?,
        reason: reason(told.reason)?,
        prefix: told.prefix.to_lowercase(),
        after: cursor(&told.after)?,
    };
    Ok((newest, limit))
}

/// # Errors
/// A name is none, or a scope is not known.
pub fn suppression_scopes(
    told: Option<v1::SuppressionScopes>,
) -> Result<ScopeFilter, BadSuppression> {
    let told = told.unwrap_or_default();
    let (tenant, stream) = (told.tenant, told.stream);
    let scopes = match v1::SuppressionScope::try_from(told.scope) {
        Ok(v1::SuppressionScope::Unspecified) => ScopeFilter::All,
        Ok(v1::SuppressionScope::Global) => ScopeFilter::Global,
        Ok(v1::SuppressionScope::Tenant) => ScopeFilter::Tenant(tenant),
        Ok(v1::SuppressionScope::Stream) => ScopeFilter::Stream { tenant, stream },
        Err(_) => return Err(unknown("scopes.scope", told.scope)),
    };
    scopes.check()?;
    Ok(scopes)
}

pub fn suppression(item: &Item) -> v1::Suppression {
    let added = Some(item.stored.added);
    told(
        &item.key,
        item.spelling.as_deref(),
        &item.stored.entry,
        added,
    )
}

/// An entry as [`new_suppression`] reads it.
pub fn suppression_told(new: &NewEntry) -> v1::Suppression {
    told(&new.key, new.spelling.as_deref(), &new.entry, None)
}

fn told(
    key: &Key,
    spelling: Option<&str>,
    entry: &Entry,
    added: Option<UnixMs>,
) -> v1::Suppression {
    let scope = match &key.scope {
        Scope::Global => v1::SuppressionScope::Global,
        Scope::Tenant(_) => v1::SuppressionScope::Tenant,
        Scope::Stream { .. } => v1::SuppressionScope::Stream,
    };
    let key = v1::SuppressionKey {
        subject: spelling.unwrap_or(key.subject.as_str()).to_owned(),
        scope: scope.into(),
        tenant: key.scope.tenant().unwrap_or_default().to_owned(),
        stream: key.scope.stream().unwrap_or_default().to_owned(),
    };
    v1::Suppression {
        key: Some(key),
        reason: v1::SuppressionReason::from(entry.reason).into(),
        source: entry.source.clone(),
        created_at_ms: entry.created.0,
        expires_at_ms: entry.expires.map(|expires| expires.0),
        note: entry.note.clone(),
        added_at_ms: added.map_or(0, |added| added.0),
    }
}

pub fn added_suppressions(added: &[Added]) -> v1::AddSuppressionsResponse {
    let result = |added: &Added| v1::AddedSuppression {
        outcome: v1::SuppressionAdded::from(*added).into(),
    };
    v1::AddSuppressionsResponse {
        results: added.iter().map(result).collect(),
    }
}

pub fn removed_suppressions(removed: &[Removed]) -> v1::RemoveSuppressionsResponse {
    let result = |removed: &Removed| v1::RemovedSuppression {
        outcome: v1::SuppressionRemoved::from(*removed).into(),
    };
    v1::RemoveSuppressionsResponse {
        results: removed.iter().map(result).collect(),
    }
}

pub fn suppression_counts(counts: Counts) -> v1::SuppressionCounts {
    v1::SuppressionCounts {
        keys: counts.keys,
        global: counts.global,
        tenants: counts.tenants,
        streams: counts.streams,
    }
}

/// A place as text, for clients that only hand it back; empty for none.
pub fn suppression_place(place: Option<&Cursor>) -> String {
    let bytes = place.map_or(&[][..], |place| &place.0);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cursor(place: &str) -> Result<Option<Cursor>, BadSuppression> {
    let digits = place.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BadSuppression::Place);
    }
    let byte = |pair: &[u8]| {
        let digits = str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let bytes = bytes.ok_or(BadSuppression::Place)?;
    Ok(Some(Cursor(bytes)).filter(|cursor| !cursor.0.is_empty()))
}

fn key(told: Option<v1::SuppressionKey>) -> Result<(Key, Option<String>), BadSuppression> {
    let told = told.ok_or(BadSuppression::NoKey)?;
    let (tenant, stream) = (told.tenant, told.stream);
    let scope = match v1::SuppressionScope::try_from(told.scope) {
        Ok(v1::SuppressionScope::Unspecified) => return Err(BadSuppression::Missing("key.scope")),
        Ok(v1::SuppressionScope::Global) => Scope::Global,
        Ok(v1::SuppressionScope::Tenant) => Scope::Tenant(tenant),
        Ok(v1::SuppressionScope::Stream) => Scope::Stream { tenant, stream },
        Err(_) => return Err(unknown("key.scope", told.scope)),
    };
    scope.check()?;
    let Written { subject, spelling } = Written::parse(&told.subject)?;
    subject.check()?;
    Ok((Key { scope, subject }, spelling))
}

fn reason(number: i32) -> Result<Option<Reason>, BadSuppression> {
    match v1::SuppressionReason::try_from(number) {
        Ok(v1::SuppressionReason::Unspecified) => Ok(None),
        Ok(v1::SuppressionReason::HardBounce) => Ok(Some(Reason::HardBounce)),
        Ok(v1::SuppressionReason::SoftBounce) => Ok(Some(Reason::SoftBounce)),
        Ok(v1::SuppressionReason::Complaint) => Ok(Some(Reason::Complaint)),
        Ok(v1::SuppressionReason::Unsubscribe) => Ok(Some(Reason::Unsubscribe)),
        Ok(v1::SuppressionReason::Manual) => Ok(Some(Reason::Manual)),
        Err(_) => Err(unknown("reason", number)),
    }
}

fn unknown(field: &'static str, number: i32) -> BadSuppression {
    BadSuppression::Unknown { field, number }
}

#[cfg(test)]
#[path = "suppressions_tests.rs"]
mod tests;
