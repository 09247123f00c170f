//! What is kept of a secret, to check it.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::scram::ScramKeys;
use crate::secret::GeneratedSecret;
use crate::unreadable::Unreadable;

const HMAC_PREFIX: &str = "hmac-sha256:";
/// Between what passwords are checked with and what SCRAM is.
const SCRAM_SEPARATOR: char = ';';
const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Of an Argon2id hash that comes from elsewhere: a check takes so much memory, and OWASP's strongest set has 46 MiB.
pub const MEMORY_KIB_MAX: u32 = 64 << 10;
/// Of an Argon2id hash: with the most memory a check takes half a second.
pub const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 4;
/// A PHC string with a salt and a hash of 64 octets has less.
const TEXT_BYTES_MAX: usize = 400;

/// What a check costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A microsecond.
    Instant,
    /// Tens of milliseconds of a processor, and so much memory meanwhile.
    Slow { memory_bytes: usize },
}

/// What is kept of a secret. As text it gives nothing away: that of one that was made cannot be found by guessing, that of a
/// password only slowly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verifier {
    /// HMAC-SHA-256 of a secret that was made, with a random key of its own.
    Hmac {
        key: [u8; KEY_BYTES],
        tag: [u8; TAG_BYTES],
        /// For clients that do not send the secret itself.
        scram: Option<Box<ScramKeys>>,
    },
    /// Argon2id (RFC 9106) of a password, as a PHC string.
    Argon2id(PasswordHash),
}

impl Verifier {
    /// `key`: uniform, and never used for another.
    pub fn of_secret(secret: &GeneratedSecret, key: [u8; KEY_BYTES]) -> Self {
        let signed = hmac::sign(&hmac_key(&key), secret.expose().as_bytes());
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(signed.as_ref());
        Self::Hmac {
            key,
            tag,
            scram: None,
        }
    }

    /// The same for clients that log in by SCRAM-SHA-256 as well.
    #[must_use]
    pub fn with_scram(self, keys: ScramKeys) -> Self {
        match self {
            Self::Hmac { key, tag, .. } => Self::Hmac {
                key,
                tag,
                scram: Some(Box::new(keys)),
            },
            other => other,
        }
    }

    /// What clients that log in by SCRAM are checked with.
    pub fn scram(&self) -> Option<&ScramKeys> {
        match self {
            Self::Hmac { scram, .. } => scram.as_deref(),
            Self::Argon2id(_) => None,
        }
    }

    /// Octets that nobody outside of the cluster knows, if it has any: whoever has the secret cannot tell them.
    pub fn unknown_key(&self) -> Option<&[u8]> {
        match self {
            Self::Hmac { key, .. } => Some(key),
            Self::Argon2id(_) => None,
        }
    }

    /// For a password that a person chose: 19 MiB, 2 passes, 1 lane. Takes tens of milliseconds.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn of_password(password: &[u8], salt: [u8; 16]) -> Result<Self, Unreadable> {
        let hashed = Argon2::default().hash_password_with_salt(password, &salt);
        let hashed = hashed.map_err(|error| Unreadable(format!("cannot be hashed: {error}")))?;
        Ok(Self::Argon2id(hashed))
    }

    pub fn cost(&self) -> Cost {
        match self {
            Self::Hmac { .. } => Cost::Instant,
            Self::Argon2id(hash) => {
                let memory_kib =
                    Params::try_from(hash).map_or(MEMORY_KIB_MAX, |params| params.m_cost());
                Cost::Slow {
                    memory_bytes: memory_kib as usize * 1024,
                }
            }
        }
    }

    /// In a time that does not depend on how much of `given` is right.
    pub fn lets_in(&self, given: &[u8]) -> bool {
        match self {
            Self::Hmac { key, tag, .. } => hmac::verify(&hmac_key(key), given, tag).is_ok(),
            Self::Argon2id(hash) => Argon2::default().verify_password(given, hash).is_ok(),
        }
    }
}

fn hmac_key(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac { key, tag, scram } => {
                write!(
                    f,
                    "{HMAC_PREFIX}{}:{}",
                    BASE64.encode(key),
                    BASE64.encode(tag)
                )?;
                match scram {
                    Some(keys) => write!(f, "{SCRAM_SEPARATOR}{keys}"),
                    None => Ok(()),
                }
            }
            Self::Argon2id(hash) => write!(f, "{hash}"),
        }
    }
}

impl FromStr for Verifier {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Unreadable(format!("has more than {TEXT_BYTES_MAX} bytes")));
        }
        if let Some(rest) = text.strip_prefix(HMAC_PREFIX) {
            let (rest, scram) = match rest.split_once(SCRAM_SEPARATOR) {
                Some((rest, keys)) => (rest, Some(Box::new(keys.parse()?))),
                None => (rest, None),
            };
            return hmac_of(rest, scram).ok_or_else(|| {
                Unreadable(format!(
                    "must be {HMAC_PREFIX}KEY:TAG with {KEY_BYTES} and {TAG_BYTES} octets in base64, as skeinctl credential create writes it"
                ))
            });
        }
        if text.starts_with("$argon2id$") {
            return argon2id_of(text).map(Self::Argon2id);
        }
        let shown = match text.starts_with("skn_") {
            true => "is the secret itself: only what skeinctl credential create writes may be kept",
            false => {
                "must begin with hmac-sha256: or $argon2id$: a password itself may not be kept"
            }
        };
        Err(Unreadable(shown.into()))
    }
}

fn hmac_of(rest: &str, scram: Option<Box<ScramKeys>>) -> Option<Verifier> {
    let (key, tag) = rest.split_once(':')?;
    Some(Verifier::Hmac {
        key: BASE64.decode(key).ok()?.try_into().ok()?,
        tag: BASE64.decode(tag).ok()?.try_into().ok()?,
        scram,
    })
}

fn argon2id_of(text: &str) -> Result<PasswordHash, Unreadable> {
    let form = |error: &dyn fmt::Display| {
        let form = "$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH";
        Unreadable(format!("is no Argon2id hash such as {form}: {error}"))
    };
    let hash = PasswordHash::new(text).map_err(|error| form(&error))?;
    let params = Params::try_from(&hash).map_err(|error| form(&error))?;
    if hash.version.is_some_and(|version| version != 0x13) {
        return Err(form(&"there is no other version than 19"));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(form(&"salt or hash is missing"));
    }
    let bounds = [
        ("m", params.m_cost(), MEMORY_KIB_MAX),
        ("t", params.t_cost(), PASSES_MAX),
        ("p", params.p_cost(), LANES_MAX),
    ];
    match bounds.into_iter().find(|(_, given, most)| given > most) {
        Some((name, given, most)) => Err(Unreadable(format!("has {name}={given}: {most} at most"))),
        None => Ok(hash),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::SecretKind;

    fn secret(random: [u8; 32]) -> GeneratedSecret {
        GeneratedSecret::from_random(SecretKind::Smtp, random)
    }

    fn read(text: &str) -> Result<Verifier, String> {
        text.parse().map_err(|error: Unreadable| error.to_string())
    }

    proptest! {
        #[test]
        fn a_verifier_lets_in_its_own_secret_only(own: [u8; 32], other: [u8; 32], key: [u8; 16]) {
            let verifier = Verifier::of_secret(&secret(own), key);
            prop_assert_eq!(verifier.cost(), Cost::Instant);
            prop_assert!(verifier.lets_in(secret(own).expose().as_bytes()));
            prop_assert_eq!(verifier.lets_in(secret(other).expose().as_bytes()), own == other);
            prop_assert!(!verifier.lets_in(b""));
            let text = verifier.to_string();
            prop_assert_eq!(text.parse(), Ok(verifier));
            prop_assert!(!text.contains(&secret(own).expose()[9..]));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}", rest in r"(hmac-sha256:|\$argon2id\$)[v=0-9mtp,$:A-Za-z+/]{0,120}") {
            for text in [text, rest] {
                if let Ok(read) = text.parse::<Verifier>() {
                    prop_assert_eq!(read.to_string().parse(), Ok(read));
                }
            }
        }
    }

    #[test]
    fn what_scram_needs_stands_beside_the_rest() {
        let made = secret([3; 32]);
        let plain = Verifier::of_secret(&made, [4; 16]);
        let verifier = plain
            .clone()
            .with_scram(ScramKeys::of_secret(&made, [5; 16]));
        let text = verifier.to_string();
        assert!(text.starts_with(&plain.to_string()), "{text}");
        assert_eq!(read(&text), Ok(verifier.clone()));
        assert!(verifier.lets_in(made.expose().as_bytes()));
        assert!(verifier.scram().is_some() && plain.scram().is_none());
        for wrong in [format!("{plain};"), format!("{plain};scram-sha-256:1")] {
            let refused = read(&wrong).expect_err(&wrong);
            assert!(refused.contains("scram-sha-256:4096"), "{refused}");
        }
    }

    #[test]
    fn passwords_are_hashed_with_argon2id() {
        let verifier = Verifier::of_password(b"correct horse", [7; 16]).expect("there is memory");
        assert_eq!(
            verifier.cost(),
            Cost::Slow {
                memory_bytes: 19 << 20
            }
        );
        let text = verifier.to_string();
        assert!(
            text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{text}"
        );
        let verifier = read(&text).expect("its own text");
        assert!(verifier.lets_in(b"correct horse") && !verifier.lets_in(b"correct horsf"));
    }

    /// From the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -e` and others.
    #[test]
    fn hashes_of_others_are_read() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let verifier = read(text).expect("a hash");
        assert!(verifier.lets_in(b"password") && !verifier.lets_in(b"Password"));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_what_to_do() {
        let long = "$argon2id$".to_owned() + &"a".repeat(500);
        let cases = [
            ("hunter2", "a password itself may not be kept"),
            ("skn_smtp_0", "is the secret itself"),
            ("hmac-sha256:AAAA:AAAA", "KEY:TAG"),
            ("hmac-sha256:", "KEY:TAG"),
            (
                "$argon2id$v=19$m=65537,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "m=65537",
            ),
            (
                "$argon2id$v=19$m=16,t=11,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "t=11",
            ),
            (
                "$argon2id$v=16$m=16,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "version",
            ),
            ("$argon2id$v=19$m=16,t=1,p=1$c29tZXNhbHQ", "missing"),
            ("$argon2i$v=19$m=16,t=1,p=1$c29tZXNhbHQ$AAAA", "$argon2id$"),
            (&long, "bytes"),
        ];
        for (text, part) in cases {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
