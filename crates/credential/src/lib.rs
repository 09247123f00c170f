//! Secrets that Skein makes, and what is kept of secrets to check them. Pure: random octets are arguments.

mod base62;
mod digest;
mod secret;
mod verifier;

pub use digest::KeyedDigest;
pub use secret::{Fault, GeneratedSecret, SecretKind};
pub use verifier::{Cost, MEMORY_KIB_MAX, PASSES_MAX, Unreadable, Verifier};
