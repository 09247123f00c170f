//! Tokens of links, which hold the target themselves: no table of links is kept, and nobody but who has the keys can make one.
//!
//! ```text
//! 1: version and purpose  1: key id  12: nonce  encrypted: 8: first half of the message id  4: tenant  4: expires  target  16: tag
//! ```
//!
//! The nonce is the random half of the message's id with the numbers of recipient and link: it is another one for each link, and
//! the same one for each retry, so that retries are byte-identical. AES-256-GCM-SIV (RFC 8452) stands even if two met.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skein_attribution::{Keys, Purpose, TenantHash, Token};
use skein_model::{MessageId, UnixMs};
use thiserror::Error;

use crate::target::{self, TARGET_BYTES_MAX};

const CLEAR_BYTES: usize = 2;
const NONCE_BYTES: usize = 12;
const FIXED_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES_MIN: usize = CLEAR_BYTES + NONCE_BYTES + FIXED_BYTES + TAG_BYTES;
const TOKEN_BYTES_MAX: usize = TOKEN_BYTES_MIN + TARGET_BYTES_MAX;
const LABEL: &str = "click";

/// There is no such link. Nobody is told why, or where it would have led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no such link")]
pub struct NotFound;

/// What a link's token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    pub about: Token,
    /// Of the links of the message, from 0.
    pub link: u16,
    /// To the second.
    pub expires: UnixMs,
    /// An absolute URL of http or https, in ASCII, as a Location field takes it.
    pub target: String,
}

/// Makes the tokens of one message and recipient.
pub struct ClickSealer {
    key: LessSafeKey,
    key_id: u8,
    about: Token,
    expires_s: u32,
}

impl fmt::Debug for ClickSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickSealer")
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

impl ClickSealer {
    /// `now` decides on the key: a retry gives the time of the first attempt.
    #[must_use]
    pub fn new(keys: &Keys, about: Token, expires: UnixMs, now: UnixMs) -> Self {
        let key_id = keys.signing_id(now);
        let key = cipher(keys, key_id, now).expect("the key that signs counts");
        Self {
            key,
            key_id,
            about,
            expires_s: u32::try_from(expires.0 / 1000).unwrap_or(u32::MAX),
        }
    }

    /// None if the target is longer than [`TARGET_BYTES_MAX`] or is no absolute URL of http or https.
    #[must_use]
    pub fn seal(&self, link: u16, target: &str) -> Option<String> {
        if target.len() > TARGET_BYTES_MAX || !target::is_location(target) {
            return None;
        }
        let clear = [Purpose::Click.octet(), self.key_id];
        let (time, random) = self.about.message.0.split_at(8);
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(random);
        nonce[8..10].copy_from_slice(&self.about.recipient.to_be_bytes());
        nonce[10..].copy_from_slice(&link.to_be_bytes());
        let mut content = Vec::with_capacity(FIXED_BYTES + target.len() + TAG_BYTES);
        content.extend_from_slice(time);
        content.extend_from_slice(&self.about.tenant.0.to_be_bytes());
        content.extend_from_slice(&self.expires_s.to_be_bytes());
        content.extend_from_slice(target.as_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(unique, Aad::from(clear), &mut content)
            .ok()?;
        let mut token = Vec::with_capacity(CLEAR_BYTES + NONCE_BYTES + content.len());
        token.extend_from_slice(&clear);
        token.extend_from_slice(&nonce);
        token.extend_from_slice(&content);
        Some(URL_SAFE_NO_PAD.encode(token))
    }
}

fn cipher(keys: &Keys, id: u8, now: UnixMs) -> Option<LessSafeKey> {
    let secret = keys.derived(id, LABEL, now)?;
    let unbound = UnboundKey::new(&AES_256_GCM_SIV, secret.as_slice()).ok()?;
    Some(LessSafeKey::new(unbound))
}

/// Reads a link's token.
///
/// # Errors
/// It was not made here, was changed, or has expired.
pub fn open_click(keys: &Keys, token: &str, now: UnixMs) -> Result<Click, NotFound> {
    opened(keys, token, now).ok_or(NotFound)
}

fn opened(keys: &Keys, token: &str, now: UnixMs) -> Option<Click> {
    if token.len() > TOKEN_BYTES_MAX.div_ceil(3) * 4 {
        return None;
    }
    // The engine refuses bits that are left over and not zero: a token has one spelling.
    let mut octets = URL_SAFE_NO_PAD.decode(token).ok()?;
    if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&octets.len()) {
        return None;
    }
    let clear = [octets[0], octets[1]];
    if clear[0] != Purpose::Click.octet() {
        return None;
    }
    let key = cipher(keys, clear[1], now)?;
    let (head, content) = octets.split_at_mut(CLEAR_BYTES + NONCE_BYTES);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&head[CLEAR_BYTES..]);
    let unique = Nonce::assume_unique_for_key(nonce);
    let content = key.open_in_place(unique, Aad::from(clear), content).ok()?;
    let (time, rest) = content.split_first_chunk::<8>()?;
    let (tenant, rest) = rest.split_first_chunk::<4>()?;
    let (expires_s, target) = rest.split_first_chunk::<4>()?;
    let expires = UnixMs(u64::from(u32::from_be_bytes(*expires_s)) * 1000);
    let target = std::str::from_utf8(target).ok()?;
    let mut id = [0; 16];
    id[..8].copy_from_slice(time);
    id[8..].copy_from_slice(&nonce[..8]);
    // What was made here is one; should it ever not have been, nobody is sent there.
    (expires > now && target::is_location(target)).then(|| Click {
        about: Token {
            tenant: TenantHash(u32::from_be_bytes(*tenant)),
            message: MessageId(id),
            recipient: u16::from_be_bytes([nonce[8], nonce[9]]),
        },
        link: u16::from_be_bytes([nonce[10], nonce[11]]),
        expires,
        target: target.to_owned(),
    })
}

#[cfg(test)]
#[path = "click_tests.rs"]
mod tests;
