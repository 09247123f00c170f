//! Signatures of one message.

use std::sync::Arc;

use mail_auth::common::crypto::SigningKey;
use mail_auth::common::headers::{HeaderWriter, Writable, Writer};
use mail_auth::dkim::{Canonicalization, Signature};
use skein_model::{BodyRef, UnixMs};
use thiserror::Error;

use crate::body::BodyHash;
use crate::fields::Required;
use crate::header::{HeaderError, SignedFields};
use crate::key::PrivateKey;

/// All signatures of one message take up at most this much, as what goes out in front of a stored message may.
pub const SIGNATURES_BYTES_MAX: usize = BodyRef::PREFIX_BYTES_MAX as usize;

/// Signs for one domain with one key (d=, s=).
#[derive(Debug, Clone)]
pub struct Signer {
    domain: String,
    selector: String,
    key: Arc<PrivateKey>,
}

/// Why a message has no signature. It does not go out without one.
#[derive(Debug, Error)]
pub enum SignError {
    #[error("signing as {selector}._domainkey.{domain} failed: {reason}")]
    Crypto {
        domain: String,
        selector: String,
        reason: String,
    },
    #[error("the DKIM signatures have {bytes} bytes, more than {SIGNATURES_BYTES_MAX}")]
    TooLong { bytes: usize },
}

impl Signer {
    /// `domain` and `selector` in ASCII, as in the DNS, without a dot at the end.
    #[must_use]
    pub fn new(domain: &str, selector: &str, key: Arc<PrivateKey>) -> Self {
        Self {
            domain: domain.to_ascii_lowercase(),
            selector: selector.to_ascii_lowercase(),
            key,
        }
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub(crate) fn key(&self) -> Arc<PrivateKey> {
        self.key.clone()
    }

    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }
}

/// A message on its way through: its header at once, its body in pieces.
///
/// Memory is bounded by [`crate::header::SIGNED_BYTES_MAX`], whatever the body.
pub struct MessageSigner {
    fields: SignedFields,
    body: BodyHash,
}

impl std::fmt::Debug for MessageSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut signer = f.debug_struct("MessageSigner");
        signer.field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl MessageSigner {
    /// Begins with the complete header, as it will go out. Fields that hosts add in front, such as Received, may be
    /// there or not.
    ///
    /// # Errors
    /// The header cannot be signed.
    pub fn new(header: &[u8]) -> Result<Self, HeaderError> {
        Ok(Self {
            fields: SignedFields::of(header)?,
            body: BodyHash::default(),
        })
    }

    /// Fields that the caller must add before it signs; a message is better not signed without them.
    #[must_use]
    pub fn missing(&self) -> &[Required] {
        self.fields.missing()
    }

    /// The next octets after the empty line, without bare CR or LF, and without dot-stuffing.
    pub fn body(&mut self, piece: &[u8]) {
        self.body.push(piece);
    }

    /// The DKIM-Signature fields, each with its line end, in the order of `signers`. The body is hashed once for all of
    /// them, and none covers another. `at` is what t= says, in whole seconds.
    ///
    /// # Errors
    /// There are not as many signatures as signers.
    pub fn finish<'s>(
        self,
        signers: impl IntoIterator<Item = &'s Signer>,
        at: UnixMs,
    ) -> Result<Vec<u8>, SignError> {
        let body_hash = self.body.finish();
        let mut written = Vec::new();
        for signer in signers {
            let mut signature = Signature {
                v: 1,
                a: signer.key.inner().algorithm(),
                d: signer.domain.clone(),
                s: signer.selector.clone(),
                bh: body_hash.clone(),
                h: self.fields.names().collect(),
                t: at.0 / 1000,
                ch: Canonicalization::Relaxed,
                cb: Canonicalization::Relaxed,
                ..Signature::default()
            };
            let signed = Signed {
                fields: &self.fields,
                signature: &signature,
            };
            let octets = signer.key.inner().sign(signed);
            signature.b = octets.map_err(|error| SignError::Crypto {
                domain: signer.domain.clone(),
                selector: signer.selector.clone(),
                reason: error.to_string(),
            })?;
            signature.write_header(&mut written);
        }
        match written.len() {
            bytes if bytes > SIGNATURES_BYTES_MAX => Err(SignError::TooLong { bytes }),
            _ => Ok(written),
        }
    }
}

/// A message that is there as a whole, with its signatures in front; as it is if there are no signers.
///
/// # Errors
/// The header cannot be signed, or a signature cannot be made.
pub fn sign_whole(signers: &[Signer], message: Vec<u8>, at: UnixMs) -> Result<Vec<u8>, CannotSign> {
    if signers.is_empty() {
        return Ok(message);
    }
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n");
    let header = end.map_or(message.len(), |end| end + 2);
    let mut signing = MessageSigner::new(&message[..header])?;
    let body = message.get(header + 2..).unwrap_or_default();
    signing.body(body);
    let mut signed = signing.finish(signers, at)?;
    signed.extend_from_slice(&message);
    Ok(signed)
}

/// Why a whole message has no signature.
#[derive(Debug, thiserror::Error)]
pub enum CannotSign {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What the signature covers (RFC 6376 3.7): the fields, then its own without b=.
struct Signed<'m> {
    fields: &'m SignedFields,
    signature: &'m Signature,
}

impl Writable for Signed<'_> {
    fn write(self, writer: &mut impl Writer) {
        Canonicalization::Relaxed.canonicalize_headers(self.fields.fields(), writer);
        self.signature.write(writer, false);
    }
}
