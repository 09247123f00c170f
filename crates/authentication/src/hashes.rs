//! What is kept of a message while it arrives: its header, and hashes of its body.

use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{Algorithm, HashAlgorithm, HashContext, HashImpl, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;
use skein_dkim::BodyHash;

type Context = <Sha256 as HashImpl>::Context;

/// The header of a message, and the hashes of its body that signatures in it may be about. All of them are of SHA-256: signatures of
/// SHA-1 count as none (RFC 8301 3.1), and those of a part of the body (l=) prove nothing of the rest.
///
/// Memory is that of the header, whatever the body.
pub struct MessageHashes {
    header: Vec<u8>,
    relaxed: Option<BodyHash>,
    simple: Option<BodyHasher<Context>>,
}

/// The same when all was seen.
pub(crate) struct Seen {
    pub header: Vec<u8>,
    relaxed: Option<Vec<u8>>,
    simple: Option<Vec<u8>>,
}

impl std::fmt::Debug for MessageHashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut hashes = f.debug_struct("MessageHashes");
        hashes.field("header_bytes", &self.header.len());
        hashes.finish_non_exhaustive()
    }
}

impl MessageHashes {
    /// Begins with a header as it came, with its empty line. `is_sealed`: a seal is to be made, which needs a hash of its own.
    pub fn new(header: &[u8], is_sealed: bool) -> Self {
        let parsed = AuthenticatedMessage::parse(header);
        let hashes = parsed.iter().flat_map(|parsed| &parsed.body_hashes);
        let (mut relaxed, mut simple) = (is_sealed, false);
        for (canonicalization, algorithm, ..) in hashes {
            let is_known = *algorithm == HashAlgorithm::Sha256;
            match canonicalization {
                Canonicalization::Relaxed => relaxed |= is_known,
                Canonicalization::Simple => simple |= is_known,
            }
        }
        Self {
            header: header.to_vec(),
            relaxed: relaxed.then(BodyHash::default),
            simple: simple.then(|| BodyHasher::new(Sha256::hasher(), Canonicalization::Simple, 0)),
        }
    }

    /// The next octets after the empty line.
    pub fn body(&mut self, piece: &[u8]) {
        if let Some(hash) = &mut self.relaxed {
            hash.push(piece);
        }
        if let Some(hash) = &mut self.simple {
            hash.write(piece);
        }
    }

    pub(crate) fn finish(self) -> Seen {
        let simple = self.simple.map(|hasher| {
            let (hasher, _) = hasher.finish();
            hasher.complete().as_ref().to_vec()
        });
        Seen {
            header: self.header,
            relaxed: self.relaxed.map(BodyHash::finish),
            simple,
        }
    }
}

impl Seen {
    /// The message as mail-auth knows it, with the hashes of the body that it does not have. Returns also how many signatures count
    /// as none.
    pub fn message(&self, signatures_max: usize) -> Option<(AuthenticatedMessage<'_>, usize)> {
        let mut message = AuthenticatedMessage::parse(&self.header)?;
        let before = message.dkim_headers.len();
        message
            .dkim_headers
            .retain(|signature| signature.header.a != Algorithm::RsaSha1);
        message
            .ams_headers
            .retain(|signature| signature.header.a != Algorithm::RsaSha1);
        let weak = before - message.dkim_headers.len();
        message.dkim_headers.truncate(signatures_max);
        message.errors.truncate(signatures_max);
        message.body_hashes.clear();
        let both = [
            (Canonicalization::Relaxed, &self.relaxed),
            (Canonicalization::Simple, &self.simple),
        ];
        for (canonicalization, hash) in both {
            let hash = hash.clone().unwrap_or_default();
            let entry = (canonicalization, HashAlgorithm::Sha256, 0, hash);
            message.body_hashes.push(entry);
        }
        Some((message, weak))
    }
}
