//! Message bytes, pure: headers, trace, transfer encodings, delivery status notifications and reports on TLS.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod authors;
pub mod content;
pub mod dsn;
pub mod encode;
pub mod field;
pub mod header;
pub mod mime;
pub mod seven_bit;
pub mod tls_report;
pub mod trace;
