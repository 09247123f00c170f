//! Suppression lists as rows: entries by what they are found by, in the order in which they were added, and what has changed.
//!
//! | key | value |
//! |---|---|
//! | `Se` key | [`Suppressed`]: its entries |
//! | `Sn` time, key, reason | nothing: an entry was added then; the time is inverted, so that the newest come first |
//! | `Sx` time, key, reason | nothing: an entry ends then |
//! | `Sc` tenant | how many entries are of the tenant and its streams |
//! | `Sk` | [`Counts`] of all |
//! | `Sl` number | [`Change`](crate::suppression::Change) of which keys have entries |
//! | `Sh` | where the log of changes begins and ends |
//!
//! An entry of a reason that the key has one of already is merged into it ([`Entry::merge`]) and keeps its place among the newest; one
//! of another reason stands beside it. So undoing hard bounces that were none leaves the unsubscribes that were there before.

mod apply;
mod change_log;
mod command;
mod event;
mod page;
mod query;
mod row_key;
mod writer;

pub use apply::apply;
pub(super) use apply::restore;
pub use change_log::{Changes, LOG_MAX, changes_since, version};
pub use command::{
    Added, Command, ITEMS_BYTES_MAX, ITEMS_MAX, LOOKED_AT_MAX, Removal, Removed, Response, Undo,
};
pub(super) use command::{check, check_row};
pub use event::{SuppressionEvent, SuppressionEventKind};
pub use page::{Cursor, Newest, Page, by_key, hashes, newest};
pub use query::{counts, entries, found, of_tenant, verdict};
pub(super) use row_key::read_entry_key;

use minicbor::{Decode, Encode};

use crate::suppression::{Entry, Key};
use crate::time::UnixMs;

/// Of the whole cluster. Each is some 250 octets on each replica, and 8 of each sender's memory at most.
pub const ENTRIES_MAX: u64 = 20_000_000;
/// Of a tenant and its streams, so that none takes up the room of all.
pub const TENANT_ENTRIES_MAX: u64 = 10_000_000;

/// The entries of a key: at most one of each reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Suppressed {
    /// How the subject was first written, if that says more than the key.
    #[n(0)]
    pub spelling: Option<String>,
    /// By reason.
    #[n(1)]
    pub entries: Vec<Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Stored {
    #[n(0)]
    pub entry: Entry,
    /// When the cluster took it in: later than `created` of one that was imported.
    #[n(1)]
    pub added: UnixMs,
}

/// One entry with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub key: Key,
    pub spelling: Option<String>,
    pub stored: Stored,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counts {
    /// Keys that have entries.
    #[n(0)]
    pub keys: u64,
    /// Entries for everybody's mail.
    #[n(1)]
    pub global: u64,
    /// Of tenants.
    #[n(2)]
    pub tenants: u64,
    /// Of streams.
    #[n(3)]
    pub streams: u64,
}

impl Counts {
    pub fn entries(&self) -> u64 {
        self.global + self.tenants + self.streams
    }
}

#[cfg(test)]
mod tests;
