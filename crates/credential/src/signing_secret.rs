//! What signs requests to programs (Standard Webhooks 1.0, symmetric).

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const PREFIX: &str = "whsec_";
/// Octets of a secret, by the specification.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// Base64 (RFC 4648 4) with its padding. Bits that are left over may be anything: some generators cut random letters.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// `whsec_` with base64 of 24 to 64 octets. `Debug` shows none of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret {
    text: String,
    key: Vec<u8>,
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl SigningSecret {
    /// That one request is signed with: the secret in use and the one that comes after it.
    pub const MAX: usize = 2;

    /// # Errors
    /// What it must be, without any of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = text.strip_prefix(PREFIX);
        let key = key.and_then(|rest| BASE64.decode(rest).ok());
        let key = key.filter(|key| (BYTES_MIN..=BYTES_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| {
            format!(
                "must be {PREFIX} and base64 of {BYTES_MIN} to {BYTES_MAX} random bytes, as of: \
                 echo {PREFIX}$(openssl rand -base64 32)"
            )
        })?;
        let text = text.to_owned();
        Ok(Self { text, key })
    }

    /// The secrets that a file holds, one in each line: the one in use and the one that comes after it.
    ///
    /// # Errors
    /// What is wrong with the text, without any of it.
    pub fn of_lines(text: &str) -> Result<Vec<Self>, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        match lines.len() {
            0 => Err("is empty".to_owned()),
            count if count > Self::MAX => Err(format!(
                "has {count} lines: it may have {} secrets",
                Self::MAX
            )),
            _ => {
                let secrets: Result<Vec<Self>, String> =
                    lines.into_iter().map(Self::parse).collect();
                secrets.map_err(|message| format!("each line {message}"))
            }
        }
    }

    /// Stands for one that is not told, where settings are shown. Its key is empty.
    #[must_use]
    pub fn masked(mask: &str) -> Self {
        Self {
            text: mask.to_owned(),
            key: Vec::new(),
        }
    }

    /// The key of the HMAC.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The secret itself, as it was given.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_base64_of_24_to_64_octets() {
        for (text, octets) in [
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Some(24)),
            (
                "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                Some(32),
            ),
            (
                "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
                Some(32),
            ),
            ("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", None),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", None),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", None),
            ("whsec_c2hvcnQ=", None),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None),
            ("whsec_", None),
            ("***", None),
        ] {
            let parsed = SigningSecret::parse(text).ok();
            assert_eq!(parsed.map(|secret| secret.key.len()), octets, "{text}");
        }
    }

    #[test]
    fn a_file_has_one_secret_or_two() {
        for (text, secrets) in [
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", Ok(1)),
            (
                "\r\n whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw \r\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                Ok(2),
            ),
            ("a\nb\nc\n", Err("has 3 lines")),
            ("hunter2\n", Err("each line must be whsec_")),
            ("\n \n", Err("is empty")),
        ] {
            match (SigningSecret::of_lines(text), secrets) {
                (Ok(found), Ok(count)) => assert_eq!(found.len(), count),
                (Err(told), Err(part)) => {
                    assert!(told.contains(part) && !told.contains("hunter2"), "{told}");
                }
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
    }
}
