//! The DNS records of a domain that Skein sends for, pure: which there are to be, and what is wrong with those that were found.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod check;
pub mod dns;
pub mod finding;
mod observe;
pub mod records;
pub mod render;

pub use check::{Checked, check};
pub use dns::{Answer, Answers, Question, RecordType, Source};
pub use finding::{Finding, Id, Severity};
pub use observe::{is_owned, observation};
pub use records::{Domain, Operator, Record, Slot, ownership_token, records};
