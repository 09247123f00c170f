//! Reports that come in, pure: complaints (RFC 5965), DMARC aggregates (RFC 7489, RFC 9990) and TLS reports (RFC 8460).
//!
//! Strangers write them, so all that is read is bounded, and nothing of it is true before a token of ours verifies.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

mod aggregate;
mod attachments;
mod complaint;
mod key;
mod tls_report;
mod tokens;

pub use aggregate::{
    Aggregate, AggregateRow, Generation, PublishedPolicy, Signature, read_aggregate,
};
pub use attachments::{MESSAGE_BYTES_MAX, NoReport, UNPACKED_BYTES_MAX};
pub use complaint::{Complaint, Kind, read};
pub use key::ReportKey;
pub use tls_report::{TlsFailure, TlsPolicy, TlsReport, read_tls_report};
pub use tokens::{Place, TOKENS_MAX, TokenText};
