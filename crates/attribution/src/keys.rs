//! The keys that sign tokens, and for how long each counts.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use skein_model::{DurationMs, UnixMs};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::find::{Candidate, find};
use crate::spelling::{MAC_BYTES, RETURN_PATH_PREFIX, SignedToken};
use crate::token::{PAYLOAD_BYTES, Purpose, Token};

/// For how long what a key signed is taken after another one signs: mail is opened, and complained about, months later.
pub const OVERLAP: DurationMs = DurationMs(366 * 24 * 60 * 60 * 1000);

/// Keys in one ring: with a year of overlap, more than one a month. Each costs some hundred octets.
pub const KEYS_MAX: usize = 16;

/// Begins what a MAC is over, so that a key that is used for something else says nothing about tokens.
const DOMAIN: &[u8] = b"skein token\0";

/// One key. Its id is never another's while that one still counts.
#[derive(Clone)]
pub struct Key {
    id: u8,
    signs_from: UnixMs,
    hmac: hmac::Key,
}

impl Key {
    /// `secret`: uniform. `signs_from`: when all nodes have it; they take what it has signed from the first moment.
    #[must_use]
    pub fn new(id: u8, signs_from: UnixMs, secret: &[u8; 32]) -> Self {
        Self {
            id,
            signs_from,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    fn mac(&self, payload: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.hmac);
        context.update(DOMAIN);
        context.update(payload);
        context.sign()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("signs_from", &self.signs_from)
            .finish_non_exhaustive()
    }
}

/// Why keys are no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeysError {
    #[error("there is no key to sign tokens with; make one")]
    None,
    #[error(
        "there are {0} keys for tokens, {KEYS_MAX} at most; take out those that were replaced more than a year ago"
    )]
    TooMany(usize),
    #[error("two keys for tokens have the id {0}; give the newer one another")]
    SameId(u8),
}

/// Why a text is not taken as a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// It has not the form of one, or is of a version that this node does not know.
    #[error("this is no token")]
    Malformed,
    /// Its key was never here, or was replaced more than a year ago.
    #[error("the token was signed with the key {0}, which is unknown here or no longer counts")]
    UnknownKey(u8),
    /// Somebody else made it or changed it, or it was made for another purpose.
    #[error("the token was not signed here for this purpose")]
    Forged,
}

/// A token that verifies, with what it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributed {
    pub purpose: Purpose,
    pub token: Token,
}

/// A ring of keys: one signs, and all that still count verify.
#[derive(Debug, Clone)]
pub struct Keys(
    /// By the time they sign from; never empty.
    Vec<Key>,
);

impl Keys {
    /// # Errors
    /// There is none, there are more than [`KEYS_MAX`], or two have the same id.
    pub fn new(mut keys: Vec<Key>) -> Result<Self, KeysError> {
        if keys.is_empty() {
            return Err(KeysError::None);
        }
        if keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany(keys.len()));
        }
        keys.sort_by_key(|key| (key.signs_from, key.id));
        for (nth, key) in keys.iter().enumerate() {
            if keys[..nth].iter().any(|other| other.id == key.id) {
                return Err(KeysError::SameId(key.id));
            }
        }
        Ok(Self(keys))
    }

    /// Signs with the newest key whose time has come; a clock that is behind all of them signs with the oldest.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, token: &Token, now: UnixMs) -> SignedToken {
        let key = self.signing(now);
        let payload = token.payload(purpose, key.id);
        let mut octets = [0; PAYLOAD_BYTES + MAC_BYTES];
        octets[..PAYLOAD_BYTES].copy_from_slice(&payload);
        octets[PAYLOAD_BYTES..].copy_from_slice(&key.mac(&payload).as_ref()[..MAC_BYTES]);
        SignedToken(octets)
    }

    /// Reads either spelling of a token, also with the prefix of a return path and nothing else around it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn read(&self, purpose: Purpose, text: &str, now: UnixMs) -> Result<Token, Refused> {
        let prefix = text.get(..RETURN_PATH_PREFIX.len());
        let has_prefix = prefix.is_some_and(|it| it.eq_ignore_ascii_case(RETURN_PATH_PREFIX));
        let spelled = match (SignedToken::read(text), has_prefix) {
            (None, true) => SignedToken::read(&text[RETURN_PATH_PREFIX.len()..]),
            (read, _) => read,
        };
        self.verify(purpose, &spelled.ok_or(Refused::Malformed)?, now)
    }

    /// What is said by the first token in a text that verifies and is for one of these purposes. The text is a field of a returned
    /// header, or an address, with whatever others have put around the token.
    ///
    /// # Errors
    /// None verifies: why the last one does not, or [`Refused::Malformed`] if there is none.
    pub fn attribute(
        &self,
        text: &str,
        purposes: &[Purpose],
        now: UnixMs,
    ) -> Result<Attributed, Refused> {
        let mut refused = Refused::Malformed;
        let of_purpose = |candidate: &Candidate<'_>| purposes.contains(&candidate.purpose);
        for Candidate {
            purpose, signed, ..
        } in find(text).filter(of_purpose)
        {
            match self.verify(purpose, &signed, now) {
                Ok(token) => return Ok(Attributed { purpose, token }),
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// The key that signs, by its id.
    #[must_use]
    pub fn signing_id(&self, now: UnixMs) -> u8 {
        self.signing(now).id
    }

    /// A secret for something else, which says nothing about the key itself. None if the key does not count.
    #[must_use]
    pub fn derived(&self, id: u8, label: &str, now: UnixMs) -> Option<Zeroizing<[u8; 32]>> {
        let key = self.counting(id, now)?;
        let mut context = hmac::Context::with_key(&key.hmac);
        context.update(b"skein derived key\0");
        context.update(label.as_bytes());
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(context.sign().as_ref());
        Some(secret)
    }

    /// An id for the next key: the first after the newest that no key has.
    #[must_use]
    pub fn next_id(&self) -> u8 {
        let newest = self.0.last().map_or(0, |key| key.id);
        let free = |id: &u8| self.0.iter().all(|key| key.id != *id);
        let next = (1..=u8::MAX)
            .map(|step| newest.wrapping_add(step))
            .find(free);
        next.expect("a ring has fewer keys than there are ids")
    }

    fn signing(&self, now: UnixMs) -> &Key {
        let has_come = |key: &&Key| key.signs_from <= now;
        self.0.iter().rfind(has_come).unwrap_or(&self.0[0])
    }

    /// The key of this id, unless it was replaced more than [`OVERLAP`] ago.
    fn counting(&self, id: u8, now: UnixMs) -> Option<&Key> {
        let nth = self.0.iter().position(|key| key.id == id)?;
        let replaced = self.0.get(nth + 1).map(|next| next.signs_from);
        let is_over = |at: UnixMs| now.0 > at.0.saturating_add(OVERLAP.0);
        (!replaced.is_some_and(is_over)).then(|| &self.0[nth])
    }

    fn verify(
        &self,
        purpose: Purpose,
        signed: &SignedToken,
        now: UnixMs,
    ) -> Result<Token, Refused> {
        let (payload, mac) = signed.0.split_at(PAYLOAD_BYTES);
        let payload: &[u8; PAYLOAD_BYTES] = payload.try_into().expect("split there");
        Purpose::of_octet(payload[0]).ok_or(Refused::Malformed)?;
        let id = payload[1];
        let key = self.counting(id, now).ok_or(Refused::UnknownKey(id))?;
        let is_ours = {
            let own = key.mac(payload);
            constant_time::verify_slices_are_equal(&own.as_ref()[..MAC_BYTES], mac).is_ok()
        };
        match is_ours && payload[0] == purpose.octet() {
            true => Ok(Token::of_payload(payload)),
            false => Err(Refused::Forged),
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
