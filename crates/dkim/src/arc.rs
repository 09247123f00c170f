//! A set of ARC fields (RFC 8617), of a message whose header and hashes mail-auth knows.

use std::sync::Arc;

use mail_auth::arc::{ArcSealer, ArcSet};
use mail_auth::common::crypto::{Algorithm, Sha256, SigningKey};
use mail_auth::common::headers::Writable;
use mail_auth::dkim::Done;
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults};

use crate::key::PrivateKey;
use crate::signer::Signer;

/// What a seal covers of a header: what DKIM signatures cover, and these themselves. Those that are not there are sealed as such.
const FIELDS: [&str; 14] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "DKIM-Signature",
];

/// Seals with one key.
pub struct ArcSeal(ArcSealer<Key, Done>);

impl std::fmt::Debug for ArcSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArcSeal")
    }
}

struct Key(Arc<PrivateKey>);

impl SigningKey for Key {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        self.0.inner().sign(input)
    }

    fn algorithm(&self) -> Algorithm {
        self.0.inner().algorithm()
    }
}

impl ArcSeal {
    #[must_use]
    pub fn new(signer: &Signer) -> Self {
        let sealer = ArcSealer::from_key(Key(signer.key()))
            .domain(signer.domain())
            .selector(signer.selector())
            .headers(FIELDS);
        Self(sealer)
    }

    /// The set that follows those that the message has.
    ///
    /// # Errors
    /// The chain is broken, and says so, or the key cannot sign.
    pub fn seal<'x>(
        &self,
        message: &'x AuthenticatedMessage<'x>,
        results: &'x AuthenticationResults<'x>,
        chain: &ArcOutput<'_>,
    ) -> mail_auth::Result<ArcSet<'x>> {
        self.0.seal(message, results, chain)
    }
}
