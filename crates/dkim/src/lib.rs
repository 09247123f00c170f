//! DKIM (RFC 6376, 8301, 8463), pure: signatures of messages that stream, keys and their DNS records, and keys at rest.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod arc;
pub mod at_rest;
mod body;
pub mod fields;
pub mod header;
pub mod key;
pub mod record;
pub mod signer;

#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod signer_tests;

pub use arc::ArcSeal;
pub use body::BodyHash;
pub use key::PrivateKey;
pub use record::{KeyKind, PublicKey, PublishedKey};
pub use signer::{CannotSign, MessageSigner, SignError, Signer, sign_whole};
