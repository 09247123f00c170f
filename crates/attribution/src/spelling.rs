//! The two spellings of a token.
//!
//! Return paths are folded to lower case on their way, so they have 56 characters of base32 (RFC 4648 6, in lower case). Fields and
//! URLs keep their case and have 47 of base64url (RFC 4648 5). Neither has padding, and each token has one form in either: bits
//! that are left over must be zero.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::token::PAYLOAD_BYTES;

/// 88 bits of HMAC-SHA-256: a forger who tries a million times a second needs longer than the world is old. With it a token fills its
/// base32 digits.
pub(crate) const MAC_BYTES: usize = 11;
pub(crate) const TOKEN_BYTES: usize = PAYLOAD_BYTES + MAC_BYTES;

/// Characters of the spelling for return paths.
pub const TOKEN_LOWER_CHARS: usize = TOKEN_BYTES * 8 / 5;
/// Characters of the spelling for fields and URLs.
pub const TOKEN_URL_CHARS: usize = (TOKEN_BYTES * 8).div_ceil(6);
/// What the local part of a return path begins with.
pub const RETURN_PATH_PREFIX: &str = "b-";
/// Characters of the local part of a return path; RFC 5321 4.5.3.1.1 allows 64.
pub const LOCAL_PART_CHARS: usize = RETURN_PATH_PREFIX.len() + TOKEN_LOWER_CHARS;

const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A token with its MAC. It prints as fields and URLs have it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken(pub(crate) [u8; TOKEN_BYTES]);

impl SignedToken {
    /// The whole local part of a return path.
    #[must_use]
    pub fn local_part(&self) -> String {
        let mut text = String::with_capacity(LOCAL_PART_CHARS);
        text.push_str(RETURN_PATH_PREFIX);
        for five in self.0.chunks_exact(5) {
            let bits = five
                .iter()
                .fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
            let digit = |place: u32| DIGITS[(bits >> (35 - 5 * place)) as usize & 31];
            text.extend((0..8).map(|place| char::from(digit(place))));
        }
        text
    }

    /// Reads either spelling, without anything around it. None if it is none.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text.len() {
            TOKEN_LOWER_CHARS => read_base32(text.as_bytes()).map(Self),
            TOKEN_URL_CHARS => {
                // The engine refuses what is left over and not zero.
                let octets = URL_SAFE_NO_PAD.decode(text).ok()?;
                Some(Self(octets.try_into().ok()?))
            }
            _ => None,
        }
    }
}

fn read_base32(text: &[u8]) -> Option<[u8; TOKEN_BYTES]> {
    let mut octets = [0; TOKEN_BYTES];
    for (eight, five) in text.chunks_exact(8).zip(octets.chunks_exact_mut(5)) {
        let mut bits = 0u64;
        for digit in eight {
            bits = bits << 5 | u64::from(digit_value(*digit)?);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(octets)
}

pub(crate) fn digit_value(digit: u8) -> Option<u8> {
    match digit.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => Some(letter - b'a'),
        number @ b'2'..=b'7' => Some(number - b'2' + 26),
        _ => None,
    }
}

impl fmt::Display for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_those_of_every_token() {
        assert_eq!((LOCAL_PART_CHARS, TOKEN_URL_CHARS), (58, 47));
        // RFC 4648 10, in groups of five.
        let mut octets = [0; TOKEN_BYTES];
        octets[..5].copy_from_slice(b"fooba");
        let text = SignedToken(octets).local_part();
        assert!(text.starts_with("b-mzxw6ytbaaaa"), "{text}");
    }

    fn octets() -> impl Strategy<Value = [u8; TOKEN_BYTES]> {
        prop::collection::vec(any::<u8>(), TOKEN_BYTES)
            .prop_map(|octets| octets.try_into().expect("as many"))
    }

    proptest! {
        #[test]
        fn both_spellings_are_read_as_they_are_written(octets in octets()) {
            let token = SignedToken(octets);
            let (lower, url) = (token.local_part(), token.to_string());
            prop_assert_eq!((lower.len(), url.len()), (LOCAL_PART_CHARS, TOKEN_URL_CHARS));
            let lower = lower.strip_prefix(RETURN_PATH_PREFIX).expect("the prefix");
            for text in [lower, &lower.to_uppercase(), &url] {
                prop_assert_eq!(SignedToken::read(text), Some(token.clone()));
            }
        }

        /// No two texts of one spelling and case are the same token.
        #[test]
        fn each_other_character_is_another_token(octets in octets(), place in 0..TOKEN_LOWER_CHARS, with in "[0-9A-Za-z_-]") {
            let token = SignedToken(octets);
            for text in [token.local_part()[2..].to_owned(), token.to_string()] {
                let place = place % text.len();
                let mut other = text.clone();
                other.replace_range(place..=place, &with);
                let is_same = other == text || (text.len() == TOKEN_LOWER_CHARS && other.to_lowercase() == text);
                prop_assert_eq!(SignedToken::read(&other) == Some(token.clone()), is_same);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}", sized in "[ -~]{56}|[ -~]{47}") {
            for text in [text, sized] {
                if let Some(read) = SignedToken::read(&text) {
                    prop_assert!(read.to_string() == text || read.local_part()[2..] == text.to_lowercase());
                }
            }
        }
    }
}
