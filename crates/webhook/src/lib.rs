//! Events on their way to webhooks, pure: what is signed, what goes into one request, when it is tried again, and what may be
//! connected to. Time and chance are arguments.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod batch;
pub mod concurrency;
pub mod endpoint;
pub mod event;
pub mod guard;
pub mod outcome;
pub mod progress;
pub mod schedule;
pub mod signature;
pub mod url;
