//! What signs requests to programs (Standard Webhooks 1.0, symmetric).

use std::fmt;

use crate::ip::MASK;

const PREFIX: &str = "whsec_";
/// Octets of a secret, by the specification.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// The secret in use and the one that comes after it.
pub(crate) const SECRETS_MAX: usize = 2;

/// `whsec_` with base64 of 24 to 64 octets.
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
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == MASK {
            let message = "is what stands for a secret in what was printed: give the secret itself";
            return Err(message.into());
        }
        let key = text.strip_prefix(PREFIX).and_then(decode);
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
            1..=SECRETS_MAX => {
                let secrets: Result<Vec<Self>, String> =
                    lines.into_iter().map(Self::parse).collect();
                secrets.map_err(|message| format!("each line {message}"))
            }
            count => Err(format!(
                "has {count} lines: it may have {SECRETS_MAX} secrets"
            )),
        }
    }

    /// Stands for one that is not told.
    pub(crate) fn masked() -> Self {
        Self {
            text: MASK.into(),
            key: Vec::new(),
        }
    }

    /// The key of the HMAC.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Base64 (RFC 4648 4) with its padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let value = |byte: u8| -> Option<u32> {
        Some(match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let bare = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - bare.len() > 2 {
        return None;
    }
    let mut out = Vec::new();
    for group in bare.as_bytes().chunks(4) {
        let mut bits = 0;
        for byte in group {
            bits = bits << 6 | value(*byte)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, a, b, c] = bits.to_be_bytes();
        let octets = [a, b, c];
        out.extend_from_slice(octets.get(..group.len().checked_sub(1)?)?);
    }
    Some(out)
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
        assert_eq!(decode("Zm9v").as_deref(), Some(&b"foo"[..]));
        assert_eq!(decode("Zm8=").as_deref(), Some(&b"fo"[..]));
        assert_eq!(decode("Zg==").as_deref(), Some(&b"f"[..]));
    }
}
