//! Private keys at rest: each is encrypted with a key of its own, and that one with the key-encryption key (KEK) that
//! operators give. AES-256-GCM-SIV (RFC 8452) both times, which a repeated nonce does not break.
//!
//! ```text
//! "SKE1"  1 octet: length of the id  id of the KEK  12: nonce  48: encrypted data key  12: nonce  the encrypted secret
//! ```
//!
//! What a secret is for is authenticated with it: one that is moved to another tenant or domain does not open.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

const MAGIC: &[u8] = b"SKE1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// Random octets that sealing takes: the data key and two nonces.
pub const RANDOM_BYTES: usize = KEY_BYTES + 2 * NONCE_BYTES;

/// What a secret is and whose; it opens only as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// Such as `dkim`.
    pub kind: &'a str,
    pub tenant: &'a str,
    pub domain: &'a str,
    pub selector: &'a str,
    pub version: u64,
}

impl<'a> About<'a> {
    /// A private key that a tenant's domain, or the operator's, is signed with. `tenant`: empty for the operator's. A selector has
    /// one key, so there are no versions.
    #[must_use]
    pub fn dkim_key(tenant: &'a str, domain: &'a str, selector: &'a str) -> Self {
        Self {
            kind: "dkim",
            tenant,
            domain,
            selector,
            version: 0,
        }
    }
}

/// A key-encryption key. Its id is derived from it, so that nobody has to name it.
pub struct Kek {
    id: String,
    key: LessSafeKey,
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kek")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a key-encryption key is none. The text suits an error of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KekError {
    #[error(
        "a key-encryption key is 32 random octets, as they are or in hex or base64; this has {0} bytes. Make one: `openssl rand -base64 32`"
    )]
    OtherLength(usize),
    #[error(
        "a key-encryption key in hex or base64 has another character in it. Make one: `openssl rand -base64 32`"
    )]
    OtherCharacter,
    #[error(
        "the key-encryption key is text or one octet repeated, not 32 random octets. Make one: `openssl rand -base64 32`"
    )]
    NotRandom,
}

/// Why a secret does not open.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    #[error(
        "the secret is encrypted with the key-encryption key {id}, which this node does not have"
    )]
    UnknownKek { id: String },
    #[error(
        "the secret does not open with the key-encryption key {id}: it is damaged, or another tenant's, domain's, selector's or version's"
    )]
    Refused { id: String },
    #[error("this is no encrypted secret")]
    NotSealed,
}

impl Kek {
    /// Reads a key as a file or an environment variable has it: 32 octets, or 64 hex digits, or 44 characters of base64;
    /// white space around them is ignored.
    ///
    /// # Errors
    /// It is no such key.
    pub fn parse(given: &[u8]) -> Result<Self, KekError> {
        let octets = match given.len() {
            KEY_BYTES => Zeroizing::new(given.to_vec()),
            _ => decode(given.trim_ascii())?,
        };
        // Of all random keys, one in 10^13 is text.
        let is_text = octets.iter().all(|octet| (b' '..127).contains(octet));
        if is_text || octets.iter().all(|octet| *octet == octets[0]) {
            return Err(KekError::NotRandom);
        }
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &octets)
            .map_err(|_| KekError::OtherLength(octets.len()))?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &octets), b"skein kek id");
        let id = tag.as_ref()[..8].iter().map(|octet| format!("{octet:02x}"));
        Ok(Self {
            id: id.collect(),
            key: LessSafeKey::new(unbound),
        })
    }

    /// Sixteen hex digits that tell nothing of the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
    let octets = match text.len() {
        64 => {
            let digits = std::str::from_utf8(text).map_err(|_| KekError::OtherCharacter)?;
            let pairs = (0..KEY_BYTES).map(|at| digits.get(2 * at..2 * at + 2));
            let octets = pairs.map(|pair| u8::from_str_radix(pair.unwrap_or_default(), 16).ok());
            octets.collect::<Option<Vec<_>>>()
        }
        43 | 44 => STANDARD.decode(pad(text)).ok(),
        length => return Err(KekError::OtherLength(length)),
    };
    let octets = Zeroizing::new(octets.ok_or(KekError::OtherCharacter)?);
    match octets.len() {
        KEY_BYTES => Ok(octets),
        length => Err(KekError::OtherLength(length)),
    }
}

fn pad(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(44, b'=');
    padded
}

/// The keys that secrets may be encrypted with: one for new secrets, and while keys are changed the one before it.
#[derive(Debug)]
pub struct Keks {
    pub current: Kek,
    pub previous: Option<Kek>,
}

impl Keks {
    fn of(&self, id: &str) -> Result<&Kek, OpenError> {
        let mut all = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten();
        let found = all.find(|kek| kek.id == id);
        found.ok_or_else(|| OpenError::UnknownKek { id: id.to_owned() })
    }

    /// Encrypts a secret. `random` is used for this secret alone.
    #[must_use]
    pub fn seal(&self, about: About<'_>, secret: &[u8], random: &[u8; RANDOM_BYTES]) -> Vec<u8> {
        let (data_key, nonces) = random.split_at(KEY_BYTES);
        let (wrap_nonce, data_nonce) = nonces.split_at(NONCE_BYTES);
        let mut sealed = wrap(&self.current, about, data_key, wrap_nonce);
        sealed.extend_from_slice(data_nonce);
        let data = encrypt(&less_safe(data_key), data_nonce, &aad(about, ""), secret);
        sealed.extend_from_slice(&data);
        sealed
    }

    /// Decrypts a secret.
    ///
    /// # Errors
    /// Its KEK is not here, or it is not this secret.
    pub fn open(&self, about: About<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = Parts::of(sealed)?;
        let data_key = self.data_key(about, &parts)?;
        let key = less_safe(&data_key);
        decrypt(&key, parts.data_nonce, &aad(about, ""), parts.data).ok_or_else(|| parts.refused())
    }

    /// The same secret, its data key encrypted with the current KEK; none if that is so. `nonce` is used once.
    ///
    /// # Errors
    /// As [`Self::open`]; what does not open is not rewrapped.
    pub fn rewrap(
        &self,
        about: About<'_>,
        sealed: &[u8],
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Option<Vec<u8>>, OpenError> {
        self.open(about, sealed)?;
        let parts = Parts::of(sealed)?;
        if parts.kek == self.current.id {
            return Ok(None);
        }
        let data_key = self.data_key(about, &parts)?;
        let mut rewrapped = wrap(&self.current, about, &data_key, nonce);
        rewrapped.extend_from_slice(parts.data_nonce);
        rewrapped.extend_from_slice(parts.data);
        Ok(Some(rewrapped))
    }

    fn data_key(
        &self,
        about: About<'_>,
        parts: &Parts<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let kek = self.of(parts.kek)?;
        let opened = decrypt(
            &kek.key,
            parts.wrap_nonce,
            &aad(about, &kek.id),
            parts.wrapped,
        );
        opened.ok_or_else(|| parts.refused())
    }
}

/// The id of the KEK that a secret is encrypted with.
///
/// # Errors
/// It is no encrypted secret.
pub fn kek_id(sealed: &[u8]) -> Result<&str, OpenError> {
    Parts::of(sealed).map(|parts| parts.kek)
}

struct Parts<'s> {
    kek: &'s str,
    wrap_nonce: &'s [u8],
    wrapped: &'s [u8],
    data_nonce: &'s [u8],
    data: &'s [u8],
}

impl<'s> Parts<'s> {
    fn of(sealed: &'s [u8]) -> Result<Self, OpenError> {
        Self::split(sealed).ok_or(OpenError::NotSealed)
    }

    fn split(sealed: &'s [u8]) -> Option<Self> {
        let rest = sealed.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first()?;
        let (kek, rest) = rest.split_at_checked((*length).into())?;
        let (wrap_nonce, rest) = rest.split_at_checked(NONCE_BYTES)?;
        let (wrapped, rest) = rest.split_at_checked(WRAPPED_BYTES)?;
        let (data_nonce, data) = rest.split_at_checked(NONCE_BYTES)?;
        Some(Self {
            kek: std::str::from_utf8(kek).ok()?,
            wrap_nonce,
            wrapped,
            data_nonce,
            data,
        })
    }

    fn refused(&self) -> OpenError {
        OpenError::Refused {
            id: self.kek.to_owned(),
        }
    }
}

/// The beginning of a sealed secret, up to its encrypted data key.
fn wrap(kek: &Kek, about: About<'_>, data_key: &[u8], nonce: &[u8]) -> Vec<u8> {
    let mut sealed = MAGIC.to_vec();
    sealed.push(u8::try_from(kek.id.len()).expect("an id has sixteen digits"));
    sealed.extend_from_slice(kek.id.as_bytes());
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(&encrypt(&kek.key, nonce, &aad(about, &kek.id), data_key));
    sealed
}

/// Each part with its length before it: no two secrets have the same.
fn aad(about: About<'_>, kek: &str) -> Vec<u8> {
    let mut aad = about.version.to_be_bytes().to_vec();
    for part in [about.kind, about.tenant, about.domain, about.selector, kek] {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad
}

fn less_safe(key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("a data key has 32 octets"))
}

fn nonce(octets: &[u8]) -> Nonce {
    Nonce::try_assume_unique_for_key(octets).expect("a nonce has twelve octets")
}

fn encrypt(key: &LessSafeKey, with: &[u8], aad: &[u8], data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.reserve_exact(TAG_BYTES);
    key.seal_in_place_append_tag(nonce(with), Aad::from(aad), &mut data)
        .expect("a key has less than the 64 GiB that may be encrypted");
    data
}

fn decrypt(key: &LessSafeKey, with: &[u8], aad: &[u8], data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut data = Zeroizing::new(data.to_vec());
    let opened = key
        .open_in_place(nonce(with), Aad::from(aad), &mut data)
        .ok()?;
    Some(Zeroizing::new(opened.to_vec()))
}

#[cfg(test)]
#[path = "at_rest_tests.rs"]
mod tests;
