//! Signed tokens, pure: which message and recipient something is about that comes back without an address.
//!
//! Complaints are redacted, bounces name aliases, and who opens an image says nothing. One opaque token, in the return path and
//! in fields and URLs of a message, says which tenant, message and recipient it was made for, and nobody else can make one.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

mod find;
mod keys;
mod spelling;
mod token;

pub use find::{CANDIDATES_MAX, Candidate, SCAN_BYTES_MAX, find};
pub use keys::{Attributed, KEYS_MAX, Key, Keys, KeysError, OVERLAP, Refused};
pub use spelling::{
    LOCAL_PART_CHARS, RETURN_PATH_PREFIX, SignedToken, TOKEN_LOWER_CHARS, TOKEN_URL_CHARS,
};
pub use token::{Purpose, TenantHash, Token};
