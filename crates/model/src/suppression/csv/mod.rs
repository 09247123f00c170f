//! Suppression lists as files (RFC 4180), line by line: what [`write()`] writes, [`Reader`] reads as the same.
//!
//! ```text
//! address,scope,tenant,stream,reason,created,expires,source,note
//! ann@example.com,tenant,acme,,hard_bounce,2026-01-31T12:00:00.000Z,,01KG0000000000000000000000,
//! ```
//!
//! A field never holds the end of a line, since no text of an entry has one. Columns may come in any order and be left out, but for
//! `address`, which holds an address or a domain. A file with nothing but these needs no header either.

mod fields;
mod read;
mod write;

pub use read::{Defaults, Fault, LINE_BYTES_MAX, Reader};
pub use write::{HEADER, write};

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Address,
    Scope,
    Tenant,
    Stream,
    Reason,
    Created,
    Expires,
    Source,
    Note,
}

impl Column {
    /// In the order in which they are written.
    const ALL: [Self; 9] = [
        Self::Address,
        Self::Scope,
        Self::Tenant,
        Self::Stream,
        Self::Reason,
        Self::Created,
        Self::Expires,
        Self::Source,
        Self::Note,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Scope => "scope",
            Self::Tenant => "tenant",
            Self::Stream => "stream",
            Self::Reason => "reason",
            Self::Created => "created",
            Self::Expires => "expires",
            Self::Source => "source",
            Self::Note => "note",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    fn example(self) -> &'static str {
        match self {
            Self::Address => "ann@example.com, or example.com",
            Self::Scope => "global, tenant or stream",
            Self::Tenant => "acme",
            Self::Stream => "newsletter",
            Self::Reason => "hard_bounce, soft_bounce, complaint, unsubscribe or manual",
            Self::Created | Self::Expires => "2026-01-31T12:00:00Z",
            Self::Source => "export of 2026",
            Self::Note => "\"asked by phone, twice\"",
        }
    }
}

#[cfg(test)]
mod tests;
