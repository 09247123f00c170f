//! Refusals and messages that come back, pure: which class a refusal is of, whom a report is about, and what is no report at all.
//!
//! ```
//! use skein_bounce::{Class, Refusal, classify};
//!
//! let refusal = Refusal::read("550 5.1.1 The email account that you tried to reach does not exist.");
//! assert_eq!(classify(&refusal, Some("google")).class, Class::InvalidRecipient);
//! ```
//!
//! Strangers write all of it, so what is read is bounded, and nothing of it panics.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

mod address;
mod classify;
mod code_table;
mod condition;
mod fold;
pub mod inbound;
pub mod mapping;
mod moved;
mod phrases;
mod refusal;
mod retry_after;
mod rules;

pub use classify::{
    BY_ENHANCED_CODE, BY_NOTHING, BY_REPLY_CODE, BY_RETRY_AFTER, Classified, classify,
};
pub use moved::new_address;
pub use refusal::Refusal;
pub use rules::source_of;
pub use skein_model::bounce::{Class, Group, Suppression};

#[cfg(test)]
mod corpus_tests;
