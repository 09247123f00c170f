//! Secrets that Skein makes, and what is kept of secrets to check them. Pure: random octets are arguments.

mod base62;
mod digest;
mod scram;
mod secret;
mod signing_secret;
mod unreadable;
mod verifier;

pub use digest::KeyedDigest;
pub use scram::{
    Challenge, ClientFirst, ITERATIONS as SCRAM_ITERATIONS, MECHANISM as SCRAM_MECHANISM,
    SALT_BYTES, ScramFault, ScramKeys, salt_of_nobody,
};
pub use secret::{Fault, GeneratedSecret, SecretKind};
pub use signing_secret::SigningSecret;
pub use unreadable::Unreadable;
pub use verifier::{Cost, MEMORY_KIB_MAX, PASSES_MAX, Verifier};
