//! Private keys: made, imported, kept as PKCS#8.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::record::{KeyKind, PublicKey};

/// RFC 8301 3.2 says that verifiers take up to this much; longer ones do not fit into a DNS answer over UDP either.
pub const RSA_BITS_MAX: usize = 4096;
/// RFC 8301 3.2 says that signers should use this much. Shorter keys are refused by the library that signs.
pub const RSA_BITS_MIN: usize = 2048;

/// A file with a key is at most this long; one of RSA-4096 has 3.3 KB.
const PEM_BYTES_MAX: usize = 64 << 10;

/// A private key. It shows itself to nobody but through [`Self::to_pkcs8`].
pub struct PrivateKey {
    inner: DkimKey,
    public: PublicKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// Why a key cannot be used. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error(
        "no private key is in it; give a PEM file that has a line `-----BEGIN PRIVATE KEY-----`"
    )]
    NoKey,
    #[error("more than one private key is in it; give a file with one")]
    SeveralKeys,
    #[error(
        "the key is encrypted with a passphrase; give it without: `openssl pkey -in KEY -out PLAIN`"
    )]
    Encrypted,
    #[error("it is a public key or a certificate; the private key is needed")]
    Public,
    #[error(
        "keys of elliptic curves are no DKIM keys; give an RSA or Ed25519 key (RFC 8301, RFC 8463)"
    )]
    OtherAlgorithm,
    #[error(
        "the RSA key has fewer than {RSA_BITS_MIN} bits; have a new key made and publish it, such a short one is forged for little money"
    )]
    TooShort,
    #[error("the RSA key has {0} bits, and receivers verify up to {RSA_BITS_MAX} (RFC 8301)")]
    TooLong(usize),
    #[error("the PEM file is damaged: {0}")]
    Pem(String),
    #[error("the key is damaged: {0}")]
    Damaged(String),
    #[error("no key could be made: the system gives no random numbers")]
    NoRandom,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = f.debug_struct("PrivateKey");
        key.field("public", &self.public).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// A new RSA-2048 key. Where its random numbers come from is decided by AWS-LC, which takes no seed.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn generate_rsa() -> Result<Self, KeyError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::NoRandom)?;
        Self::from_rsa(&pair)
    }

    /// The Ed25519 key of 32 random octets.
    ///
    /// # Errors
    /// The library does not take them.
    pub fn ed25519_of(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(damaged)?;
        Self::from_ed25519(&pair)
    }

    /// Reads what [`Self::to_pkcs8`] gave.
    ///
    /// # Errors
    /// It is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        match key_algorithm(der) {
            Some(KeyKind::Ed25519) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                Self::from_ed25519(&pair.map_err(damaged)?)
            }
            Some(KeyKind::Rsa) => Self::from_rsa(&RsaKeyPair::from_pkcs8(der).map_err(rejected)?),
            None => Err(KeyError::OtherAlgorithm),
        }
    }

    /// Reads a PEM file with an RSA key (PKCS#1 or PKCS#8) or an Ed25519 key (PKCS#8).
    ///
    /// # Errors
    /// It has no such key, or another size.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > PEM_BYTES_MAX {
            return Err(KeyError::NoKey);
        }
        if contains(text, b"ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let (mut found, mut others) = (None, None);
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|error| KeyError::Pem(error.to_string()))?;
            let der = Zeroizing::new(der);
            match kind {
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey if found.is_some() => {
                    return Err(KeyError::SeveralKeys);
                }
                SectionKind::PrivateKey => found = Some(Self::from_pkcs8(&der)?),
                SectionKind::RsaPrivateKey => {
                    found = Some(Self::from_rsa(
                        &RsaKeyPair::from_der(&der).map_err(rejected)?,
                    )?);
                }
                SectionKind::EcPrivateKey => others = Some(KeyError::OtherAlgorithm),
                _ => others = Some(KeyError::Public),
            }
        }
        found.ok_or(others.unwrap_or(KeyError::NoKey))
    }

    fn from_rsa(pair: &RsaKeyPair) -> Result<Self, KeyError> {
        let bits = pair.public_modulus_len() * 8;
        if bits > RSA_BITS_MAX {
            return Err(KeyError::TooLong(bits));
        }
        let spki = pair.public_key().as_der().map_err(damaged)?;
        let pkcs8 = pair.as_der().map_err(damaged)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let inner = RsaKey::<Sha256>::from_key_der(der).map_err(damaged)?;
        Ok(Self {
            inner: DkimKey::Rsa(inner),
            public: PublicKey::new(KeyKind::Rsa, spki.as_ref().to_vec()),
            pkcs8,
        })
    }

    fn from_ed25519(pair: &Ed25519KeyPair) -> Result<Self, KeyError> {
        let pkcs8 = pair.to_pkcs8().map_err(damaged)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let inner = Ed25519Key::from_pkcs8_der(&pkcs8).map_err(damaged)?;
        Ok(Self {
            inner: DkimKey::Ed25519(inner),
            public: PublicKey::new(KeyKind::Ed25519, pair.public_key().as_ref().to_vec()),
            pkcs8,
        })
    }

    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// PKCS#8 DER, to be encrypted by [`crate::at_rest`].
    #[must_use]
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn inner(&self) -> &DkimKey {
        &self.inner
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn damaged(error: impl std::fmt::Display) -> KeyError {
    KeyError::Damaged(error.to_string())
}

fn rejected(error: impl std::fmt::Display) -> KeyError {
    match error.to_string().as_str() {
        "TooSmall" => KeyError::TooShort,
        other => KeyError::Damaged(other.to_owned()),
    }
}

/// By the object identifiers of PKCS#8: 1.2.840.113549.1.1.1 and 1.3.101.112, which stand in its first octets.
fn key_algorithm(der: &[u8]) -> Option<KeyKind> {
    const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
    let head = &der[..der.len().min(32)];
    match (contains(head, RSA), contains(head, ED25519)) {
        (true, _) => Some(KeyKind::Rsa),
        (_, true) => Some(KeyKind::Ed25519),
        _ => None,
    }
}
