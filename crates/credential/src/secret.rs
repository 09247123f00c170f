//! Secrets that Skein makes: `skn_smtp_` with 30 random digits in base 62 and 6 of a checksum.

use std::fmt;

use crate::base62;

const PREFIX: &str = "skn_";
const RANDOM_DIGITS: usize = 30;
const CHECK_DIGITS: usize = 6;
/// What may be shown of a secret, so that people can tell two apart.
const SHOWN_DIGITS: usize = 8;

/// What a secret is for: it says so itself, and is taken nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// To log in at an SMTP port.
    Smtp,
    /// To call an API.
    Api,
}

impl SecretKind {
    pub const ALL: [Self; 2] = [Self::Smtp, Self::Api];

    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Api => "api",
        }
    }
}

/// Why a text is no secret that was made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is a password that somebody chose, or nothing at all.
    #[error("is no secret that Skein made: those begin with skn_")]
    Other,
    #[error("is not whole: a secret has 36 letters and digits after its kind")]
    Length,
    #[error("is mistyped: its last six signs do not fit the others")]
    Checksum,
}

/// A secret with about 178 random bits. `Debug` shows the first digits only, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct GeneratedSecret {
    kind: SecretKind,
    text: String,
}

impl GeneratedSecret {
    /// `random`: uniform, and never used for another.
    pub fn from_random(kind: SecretKind, random: [u8; 32]) -> Self {
        let mut text = format!("{PREFIX}{}_", kind.name());
        let digits = base62::digits::<RANDOM_DIGITS>(random);
        text.extend(digits.iter().map(|digit| char::from(*digit)));
        let check = check(text.as_bytes());
        text.extend(check.iter().map(|digit| char::from(*digit)));
        Self { kind, text }
    }

    /// # Errors
    /// The text is none that [`Self::from_random`] gave.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let rest = text.strip_prefix(PREFIX).ok_or(Fault::Other)?;
        let of_kind = |kind: SecretKind| {
            let digits = rest.strip_prefix(kind.name())?.strip_prefix('_')?;
            Some((kind, digits))
        };
        let found = SecretKind::ALL.into_iter().find_map(of_kind);
        let (kind, digits) = found.ok_or(Fault::Other)?;
        let is_whole = digits.len() == RANDOM_DIGITS + CHECK_DIGITS;
        if !is_whole || !digits.bytes().all(base62::is_digit) {
            return Err(Fault::Length);
        }
        let (checked, given) = text.split_at(text.len() - CHECK_DIGITS);
        if given.as_bytes() != check(checked.as_bytes()) {
            return Err(Fault::Checksum);
        }
        let text = text.to_owned();
        Ok(Self { kind, text })
    }

    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// The secret itself: for who it was made for, once.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// With its kind: enough to tell it from others, and nothing to log in with.
    pub fn shown(&self) -> &str {
        &self.text[..PREFIX.len() + self.kind.name().len() + 1 + SHOWN_DIGITS]
    }
}

impl fmt::Debug for GeneratedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GeneratedSecret({}..)", self.shown())
    }
}

/// CRC-32 (ISO 3309), as GitHub's tokens have it.
fn check(text: &[u8]) -> [u8; CHECK_DIGITS] {
    base62::of_u32(crc32fast::hash(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_kind() -> impl Strategy<Value = SecretKind> {
        prop::sample::select(SecretKind::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn a_secret_is_read_as_it_was_made(kind in any_kind(), random: [u8; 32]) {
            let made = GeneratedSecret::from_random(kind, random);
            let read = GeneratedSecret::parse(made.expose());
            prop_assert_eq!(read.as_ref(), Ok(&made));
            prop_assert!(made.expose().starts_with(made.shown()));
            let debug = format!("{made:?}");
            prop_assert!(!debug.contains(&made.expose()[made.shown().len()..]), "{}", debug);
        }

        /// CRC-32 finds each single wrong sign, and each two that changed places.
        #[test]
        fn a_typing_error_is_found(random: [u8; 32], place in 9..45usize, with in "[0-9A-Za-z]") {
            let made = GeneratedSecret::from_random(SecretKind::Smtp, random);
            let mut wrong = made.expose().to_owned();
            wrong.replace_range(place..=place, &with);
            if wrong != made.expose() {
                prop_assert_eq!(GeneratedSecret::parse(&wrong), Err(Fault::Checksum));
            }
            let mut octets = made.expose().as_bytes().to_vec();
            octets.swap(place, if place == 44 { 43 } else { place + 1 });
            let swapped = String::from_utf8(octets).expect("ASCII");
            if swapped != made.expose() {
                prop_assert_eq!(GeneratedSecret::parse(&swapped), Err(Fault::Checksum));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}", rest in "skn_(smtp|api)_.{0,40}") {
            for text in [text, rest] {
                if let Ok(read) = GeneratedSecret::parse(&text) {
                    prop_assert_eq!(read.expose(), text);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let cases = [
            ("hunter2", Fault::Other),
            ("skn_ssh_0", Fault::Other),
            ("skn_smtp_", Fault::Length),
            (
                "skn_smtp_000000000000000000000000000000!00000",
                Fault::Length,
            ),
            (
                "skn_smtp_000000000000000000000000000000000000",
                Fault::Checksum,
            ),
        ];
        for (text, fault) in cases {
            assert_eq!(GeneratedSecret::parse(text), Err(fault), "{text}");
        }
    }
}
