//! Suppression lists: addresses and domains that are not mailed, why, and for whose mail that counts. Pure.
//!
//! An entry is of a [`Key`], a [`Scope`] and a [`Subject`], and has a [`Reason`]. A key has at most one entry of each reason: a hard
//! bounce beside an unsubscribe hides nothing, so that taking the bounce back, or its end, leaves the unsubscribe in force.

mod bounce_counts;
pub mod csv;
mod entry;
mod filter;
mod follower;
mod hash;
mod key;
mod subject;
mod verdict;

pub use bounce_counts::{BounceCounts, Counted, Outcome, Rule, TIMES_MAX};
pub use entry::{BadEntry, Entry, Merged, NOTE_BYTES_MAX, NewEntry, Reason, SOURCE_BYTES_MAX};
pub use filter::Filter;
pub use follower::{Change, FeedPart, Follower, Gap};
pub use key::{BadScope, Key, Scope, ScopeFilter, ScopeKind};
pub use subject::{BadSubject, SUBJECT_BYTES_MAX, Subject, Written};
pub use verdict::{KEYS_MAX, StreamKind, Verdict, decide, lookup_keys};

#[cfg(test)]
mod bounce_counts_tests;
#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod hash_tests;
#[cfg(test)]
mod subject_tests;
#[cfg(test)]
mod verdict_tests;
