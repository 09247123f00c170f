//! The DNS record of a public key (RFC 6376 3.6.1): as it is to be published, and what was found.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A character string of a TXT record has at most this many octets (RFC 1035 3.3).
pub const PIECE_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    Rsa,
    /// RFC 8463. Large receivers do not verify it, so it is a second signature at most.
    Ed25519,
}

impl KeyKind {
    /// As k= says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A public key as p= has it: the SubjectPublicKeyInfo of an RSA key, the 32 octets of an Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    kind: KeyKind,
    octets: Vec<u8>,
}

impl PublicKey {
    pub(crate) fn new(kind: KeyKind, octets: Vec<u8>) -> Self {
        Self { kind, octets }
    }

    /// The key that [`Self::text`] wrote, or another record has; none of one that is no key.
    #[must_use]
    pub fn of_record(text: &str) -> Option<Self> {
        let record = PublishedKey::parse(text).ok()?;
        let kinds = [KeyKind::Rsa, KeyKind::Ed25519];
        let kind = kinds.into_iter().find(|kind| kind.name() == record.kind)?;
        let octets = STANDARD.decode(&record.text).ok()?;
        (!octets.is_empty()).then(|| Self::new(kind, octets))
    }

    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The record's text in one line, for forms that divide it themselves.
    #[must_use]
    pub fn text(&self) -> String {
        let key = STANDARD.encode(&self.octets);
        format!("v=DKIM1; k={}; p={key}", self.kind.name())
    }

    /// The record's text as a zone file has it: `"…" "…"`.
    #[must_use]
    pub fn quoted(&self) -> String {
        quoted(&self.text())
    }

    /// The record of a key that is revoked: its p= is empty.
    #[must_use]
    pub fn revoked(kind: KeyKind) -> String {
        format!("v=DKIM1; k={}; p=", kind.name())
    }

    /// How a record that was found relates to this key.
    #[must_use]
    pub fn compare(&self, found: &str) -> Comparison {
        let record = match PublishedKey::parse(found) {
            Ok(record) => record,
            Err(fault) => return Comparison::Unreadable(fault),
        };
        if record.text.is_empty() {
            return Comparison::Revoked;
        }
        let own = STANDARD.encode(&self.octets);
        let is_same = record.text == own && record.kind == self.kind.name();
        let is_start = record.text.len() < own.len() && own.starts_with(&record.text);
        match (is_same, record.is_testing) {
            (true, false) => Comparison::Same,
            (true, true) => Comparison::Testing,
            _ if is_start => Comparison::Truncated {
                found: record.text.len(),
                expected: own.len(),
            },
            _ => Comparison::Other,
        }
    }
}

/// Divides a record's text into character strings, which follow one another without a space.
#[must_use]
pub fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while rest.len() > PIECE_BYTES_MAX {
        let mut end = PIECE_BYTES_MAX;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, left) = rest.split_at(end);
        pieces.push(piece);
        rest = left;
    }
    pieces.push(rest);
    pieces
}

/// A record's text as a zone file has it (RFC 1035 5.1).
#[must_use]
pub fn quoted(text: &str) -> String {
    let pieces = pieces(text);
    let quoted = pieces.iter().map(|piece| {
        let escaped = piece.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// What a record that was found means for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    Same,
    /// The same key, but t=y tells receivers to disregard it.
    Testing,
    Revoked,
    /// The key's text ends too early: a form of 255 octets cut it off, or only its first piece was pasted.
    Truncated {
        found: usize,
        expected: usize,
    },
    /// Another key.
    Other,
    Unreadable(RecordFault),
}

/// Why a TXT record is none of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("it has no p=")]
    NoKey,
    #[error("its v= is not DKIM1")]
    OtherVersion,
    #[error("its h= does not allow sha256")]
    OtherHash,
    #[error("its s= does not allow mail")]
    OtherService,
}

/// The tags of a record that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// k=
    pub kind: String,
    /// p= without white space
    pub text: String,
    /// t=y
    pub is_testing: bool,
}

impl PublishedKey {
    /// Reads a record whose character strings are joined.
    ///
    /// # Errors
    /// It is no key that signs mail with SHA-256.
    pub fn parse(text: &str) -> Result<Self, RecordFault> {
        let (mut kind, mut key, mut is_testing) = ("rsa".to_owned(), None, false);
        for tag in text.split(';') {
            let Some((name, value)) = tag.split_once('=') else {
                continue;
            };
            let value: String = value.split_ascii_whitespace().collect();
            let mut values = value.split(':');
            match name.trim() {
                "v" if value != "DKIM1" => return Err(RecordFault::OtherVersion),
                "k" => kind = value,
                "p" => key = Some(value),
                "t" => is_testing = values.any(|flag| flag == "y"),
                "h" if !values.any(|hash| hash == "sha256") => return Err(RecordFault::OtherHash),
                "s" if !values.any(|service| matches!(service, "*" | "email")) => {
                    return Err(RecordFault::OtherService);
                }
                _ => {}
            }
        }
        Ok(Self {
            kind,
            text: key.ok_or(RecordFault::NoKey)?,
            is_testing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_fit() {
        for bytes in [0, 1, 254, 255, 256, 510, 511, 1000] {
            let text = "é\"\\a".chars().cycle().take(bytes).collect::<String>();
            let pieces = pieces(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
        }
        let key = PublicKey::new(KeyKind::Rsa, vec![7; 294]);
        assert_eq!(key.text().len(), "v=DKIM1; k=rsa; p=".len() + 392);
        assert_eq!(key.quoted().matches("\" \"").count(), 1);
        assert_eq!(PublicKey::of_record(&key.text()), Some(key));
        assert_eq!(
            PublicKey::of_record(&PublicKey::revoked(KeyKind::Rsa)),
            None
        );
        assert_eq!(quoted(r#"a"\"#), r#""a\"\\""#);
    }

    #[test]
    fn what_is_found_is_compared() {
        let key = PublicKey::new(KeyKind::Rsa, vec![7; 294]);
        let (text, base64) = (key.text(), STANDARD.encode(vec![7; 294]));
        let (start, end) = base64.split_at(200);
        for (found, expected) in [
            (text.clone(), Comparison::Same),
            (format!("p={start} {end}"), Comparison::Same),
            (
                format!(" v = DKIM1 ; p = {base64} ; n=x=y;"),
                Comparison::Same,
            ),
            (format!("{text}; t=s:y"), Comparison::Testing),
            (format!("{text}; t=s"), Comparison::Same),
            (
                format!("{text}; h=sha1"),
                Comparison::Unreadable(RecordFault::OtherHash),
            ),
            (
                format!("{text}; s=tlsrpt"),
                Comparison::Unreadable(RecordFault::OtherService),
            ),
            (
                text.replace("DKIM1", "DKIM2"),
                Comparison::Unreadable(RecordFault::OtherVersion),
            ),
            (text.replace("k=rsa", "k=ed25519"), Comparison::Other),
            (PublicKey::revoked(KeyKind::Rsa), Comparison::Revoked),
            (
                text[..255].to_owned(),
                Comparison::Truncated {
                    found: 237,
                    expected: 392,
                },
            ),
            ("v=DKIM1; p=AAAA".into(), Comparison::Other),
            (
                "v=spf1 -all".into(),
                Comparison::Unreadable(RecordFault::OtherVersion),
            ),
            ("hello".into(), Comparison::Unreadable(RecordFault::NoKey)),
        ] {
            assert_eq!(key.compare(&found), expected, "{found}");
        }
    }
}
