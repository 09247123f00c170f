//! Signatures of Standard Webhooks 1.0.0, symmetric: HMAC-SHA-256 over `id.timestamp.body`, one for each secret.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_credential::SigningSecret;

pub const ID_FIELD: &str = "webhook-id";
pub const TIMESTAMP_FIELD: &str = "webhook-timestamp";
pub const SIGNATURE_FIELD: &str = "webhook-signature";

/// How far a timestamp may be from the receiver's clock, in seconds: what the reference implementations take.
pub const TOLERANCE_SECONDS: u64 = 300;
/// Signatures of one request that a receiver looks at. A sender has two secrets, and may have as many keys of other kinds.
pub const CANDIDATES_MAX: usize = 8;
/// Octets of an id that a receiver takes; ours have 30.
pub const ID_BYTES_MAX: usize = 256;

const VERSION: &str = "v1";

/// Signatures of a body that comes in pieces, one for each secret.
pub struct Signatures(Vec<Context>);

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signatures({})", self.0.len())
    }
}

impl Signatures {
    /// `id`: without full stops, which would move octets between it and the body; the same at each attempt. `at`: the time of
    /// the attempt, in seconds since 1970.
    #[must_use]
    pub fn begin(secrets: &[SigningSecret], id: &str, at: u64) -> Self {
        debug_assert!(!id.contains('.'), "an id has no full stop");
        let keys = secrets.iter().map(SigningSecret::key);
        Self(keys.map(|key| begin(key, id, &at.to_string())).collect())
    }

    pub fn push(&mut self, piece: &[u8]) {
        for context in &mut self.0 {
            context.update(piece);
        }
    }

    /// The value of the field: `v1,<base64>` for each secret, with blanks between them. None without secrets.
    #[must_use]
    pub fn finish(self) -> Option<String> {
        let all = self.0.into_iter();
        let all = all.map(|context| format!("{VERSION},{}", STANDARD.encode(context.sign())));
        let all: Vec<String> = all.collect();
        (!all.is_empty()).then(|| all.join(" "))
    }
}

/// The value of the field for a whole body; as with [`Signatures`].
#[must_use]
pub fn sign(secrets: &[SigningSecret], id: &str, at: u64, body: &[u8]) -> Option<String> {
    let mut signatures = Signatures::begin(secrets, id, at);
    signatures.push(body);
    signatures.finish()
}

fn begin(key: &[u8], id: &str, at: &str) -> Context {
    let mut context = Context::with_key(&Key::new(HMAC_SHA256, key));
    context.update(format!("{id}.{at}.").as_bytes());
    context
}

/// Values of the three fields of a request, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub id: &'a str,
    pub timestamp: &'a str,
    pub signature: &'a str,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    #[error("{ID_FIELD} is empty, too long, or has a full stop")]
    Id,
    #[error("{TIMESTAMP_FIELD} is no number of seconds")]
    Timestamp,
    #[error("{TIMESTAMP_FIELD} is too far from this machine's clock")]
    Time,
    #[error("{SIGNATURE_FIELD} has no signature by a secret that is known here")]
    Signature,
}

/// Whether one of the secrets has signed a request, within so many seconds of `now`. The time that it takes says nothing about
/// how much of a signature is right.
///
/// # Errors
/// The first of the faults.
pub fn verify(
    secrets: &[SigningSecret],
    received: Received<'_>,
    body: &[u8],
    now: u64,
    tolerance: u64,
) -> Result<(), NotVerified> {
    let Received { id, timestamp, .. } = received;
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains('.') {
        return Err(NotVerified::Id);
    }
    let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let at = timestamp.parse::<u64>().ok().filter(|_| is_number);
    let at = at.ok_or(NotVerified::Timestamp)?;
    if at.abs_diff(now) > tolerance {
        return Err(NotVerified::Time);
    }
    let candidates: Vec<Vec<u8>> = candidates(received.signature).collect();
    let mut is_signed = false;
    for secret in secrets {
        let mut context = begin(secret.key(), id, timestamp);
        context.update(body);
        let expected = context.sign();
        for given in &candidates {
            is_signed |= verify_slices_are_equal(expected.as_ref(), given).is_ok();
        }
    }
    is_signed.then_some(()).ok_or(NotVerified::Signature)
}

fn candidates(field: &str) -> impl Iterator<Item = Vec<u8>> {
    let all = field.split(' ').take(CANDIDATES_MAX);
    let ours = all.filter_map(|one| one.split_once(','));
    let ours = ours.filter(|(version, _)| *version == VERSION);
    ours.filter_map(|(_, text)| STANDARD.decode(text).ok())
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
