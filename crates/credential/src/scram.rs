//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding: what is kept of a secret, and the two messages
//! that a client sends.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD as UNPADDED};

use crate::secret::GeneratedSecret;
use crate::unreadable::Unreadable;

pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The least that RFC 7677 section 4 allows. More slows down who guesses, which is in vain with 178 random bits.
pub const ITERATIONS: u32 = 4096;
/// Of keys that were made elsewhere. The client does the work.
const ITERATIONS_MAX: u32 = 1_000_000;
pub const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const FORM: &str = "scram-sha-256:4096:SALT:STORED:SERVER";
/// Of a client's nonce: RFC 5802 has no bound, and nobody sends more.
const NONCE_BYTES_MAX: usize = 512;

/// What is kept of a secret, for clients that show by SCRAM that they have it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    iterations: u32,
    salt: [u8; SALT_BYTES],
    stored: [u8; KEY_BYTES],
    server: [u8; KEY_BYTES],
}

impl ScramKeys {
    /// `salt`: uniform. Two secrets of one credential have the same, because the client is told of it before it shows which of
    /// them it has.
    pub fn of_secret(secret: &GeneratedSecret, salt: [u8; SALT_BYTES]) -> Self {
        Self::of_password(secret.expose().as_bytes(), salt)
    }

    fn of_password(password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        let mut salted = [0; KEY_BYTES];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            password,
            &mut salted,
        );
        Self {
            iterations: ITERATIONS,
            salt,
            stored: sha256(&hmac(&salted, b"Client Key")),
            server: hmac(&salted, b"Server Key"),
        }
    }

    pub fn salt(&self) -> [u8; SALT_BYTES] {
        self.salt
    }

    pub fn iterations(&self) -> u32 {
        self.iterations
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt[..], &self.stored, &self.server];
        let [salt, stored, server] = [salt, stored, server].map(|octets| UNPADDED.encode(octets));
        write!(
            f,
            "scram-sha-256:{}:{salt}:{stored}:{server}",
            self.iterations
        )
    }
}

impl FromStr for ScramKeys {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let read = || {
            let mut parts = text.strip_prefix("scram-sha-256:")?.split(':');
            let iterations: u32 = parts.next()?.parse().ok()?;
            let mut octets = || UNPADDED.decode(parts.next()?).ok();
            let (salt, stored, server) = (octets()?, octets()?, octets()?);
            let is_bounded = (ITERATIONS..=ITERATIONS_MAX).contains(&iterations);
            (is_bounded && parts.next().is_none()).then_some(())?;
            Some(Self {
                iterations,
                salt: salt.try_into().ok()?,
                stored: stored.try_into().ok()?,
                server: server.try_into().ok()?,
            })
        };
        let form = || format!("must be {FORM} with 16, 32 and 32 octets in base64");
        read().ok_or_else(|| Unreadable(form()))
    }
}

/// Why a client does not come in by SCRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramFault {
    #[error("that is no SCRAM message")]
    Form,
    #[error("channel binding is not offered")]
    ChannelBinding,
    #[error("nobody may act for another user")]
    OtherUser,
    /// The wrong secret.
    #[error("user or password is wrong")]
    Proof,
}

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    pub user: String,
    /// With its commas, as it is shown again with the proof.
    gs2_header: String,
    bare: String,
    nonce: String,
}

/// What a client was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    first: ClientFirst,
    nonce: String,
    message: String,
}

impl ClientFirst {
    /// # Errors
    /// It is none, or asks for what is not offered.
    pub fn read(message: &[u8]) -> Result<Self, ScramFault> {
        let message = std::str::from_utf8(message).map_err(|_| ScramFault::Form)?;
        let mut parts = message.splitn(3, ',');
        let parts = (parts.next(), parts.next(), parts.next());
        let (Some(binding), Some(identity), Some(bare)) = parts else {
            return Err(ScramFault::Form);
        };
        match binding {
            // It would bind if we did.
            "n" | "y" => {}
            binding if binding.starts_with("p=") => return Err(ScramFault::ChannelBinding),
            _ => return Err(ScramFault::Form),
        }
        // Extensions that must be understood begin with m=, and there are none.
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|part| part.strip_prefix("n="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let (Some(user), Some(nonce)) = (user, nonce) else {
            return Err(ScramFault::Form);
        };
        let is_nonce = nonce.bytes().all(|b| b.is_ascii_graphic());
        if !is_nonce || !(1..=NONCE_BYTES_MAX).contains(&nonce.len()) {
            return Err(ScramFault::Form);
        }
        let name = saslname(user).ok_or(ScramFault::Form)?;
        match identity.strip_prefix("a=") {
            None if identity.is_empty() => {}
            // Some clients name nobody (RFC 5802 7 has a name there).
            Some("") => {}
            Some(other) if other == user => {}
            Some(_) => return Err(ScramFault::OtherUser),
            None => return Err(ScramFault::Form),
        }
        Ok(Self {
            user: name,
            gs2_header: format!("{binding},{identity},"),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// `random`: uniform.
    pub fn challenge(self, salt: [u8; SALT_BYTES], iterations: u32, random: [u8; 18]) -> Challenge {
        self.challenge_with(salt, &STANDARD.encode(random), iterations)
    }

    fn challenge_with(self, salt: [u8; SALT_BYTES], nonce: &str, iterations: u32) -> Challenge {
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = STANDARD.encode(salt);
        Challenge {
            message: format!("r={nonce},s={salt},i={iterations}"),
            nonce,
            first: self,
        }
    }
}

impl Challenge {
    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn user(&self) -> &str {
        &self.first.user
    }

    /// Whether what the client says last shows that it has a secret that one of these is kept of. Gives what shows the client that
    /// this server knows it, too.
    ///
    /// # Errors
    /// It does not.
    pub fn verify<'k>(
        &self,
        message: &[u8],
        keys: impl IntoIterator<Item = &'k ScramKeys>,
    ) -> Result<(&'k ScramKeys, String), ScramFault> {
        let message = std::str::from_utf8(message).map_err(|_| ScramFault::Form)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramFault::Form)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|part| part.strip_prefix("c="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(ScramFault::Form);
        };
        if STANDARD.encode(&self.first.gs2_header) != binding || nonce != self.nonce {
            return Err(ScramFault::Form);
        }
        let proof = STANDARD.decode(proof).map_err(|_| ScramFault::Form)?;
        let proof: [u8; KEY_BYTES] = proof.try_into().map_err(|_| ScramFault::Form)?;
        let signed = format!("{},{},{without_proof}", self.first.bare, self.message);
        for keys in keys {
            let signature = hmac(&keys.stored, signed.as_bytes());
            let mut client_key = proof;
            for (octet, of_signature) in client_key.iter_mut().zip(signature) {
                *octet ^= of_signature;
            }
            let shown = sha256(&client_key);
            if constant_time::verify_slices_are_equal(&shown, &keys.stored).is_ok() {
                let server = hmac(&keys.server, signed.as_bytes());
                return Ok((keys, format!("v={}", STANDARD.encode(server))));
            }
        }
        Err(ScramFault::Proof)
    }
}

/// The salt that a user is told who has none, the same each time: else it shows who is there. `key`: known to nobody outside of the
/// cluster, and the same on all nodes.
pub fn salt_of_nobody(key: &[u8], user: &str) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    let digest = hmac(key, format!("salt of nobody\0{user}").as_bytes());
    salt.copy_from_slice(&digest[..SALT_BYTES]);
    salt
}

/// A name in which commas and equals signs are written as `=2C` and `=3D`.
fn saslname(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        let (code, after) = after.split_at_checked(2)?;
        name.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = after;
    }
    name.push_str(rest);
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; KEY_BYTES] {
    let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut tag = [0; KEY_BYTES];
    tag.copy_from_slice(signed.as_ref());
    tag
}

fn sha256(octets: &[u8]) -> [u8; KEY_BYTES] {
    let mut hash = [0; KEY_BYTES];
    hash.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::SecretKind;

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn salt() -> [u8; SALT_BYTES] {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==");
        salt.expect("base64").try_into().expect("16 octets")
    }

    fn challenge() -> Challenge {
        let first = ClientFirst::read(FIRST).expect("it is one");
        first.challenge_with(salt(), SERVER_NONCE, ITERATIONS)
    }

    /// RFC 7677 section 3.
    #[test]
    fn the_exchange_of_the_rfc() {
        let challenge = challenge();
        assert_eq!(challenge.user(), "user");
        assert_eq!(
            challenge.message(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let keys = ScramKeys::of_password(b"pencil", salt());
        let other = ScramKeys::of_password(b"pencils", salt());
        for all in [vec![&keys], vec![&other, &keys]] {
            let verified = challenge.verify(LAST.as_bytes(), all);
            let (which, shown) = verified.expect("it is right");
            assert_eq!(which, &keys);
            assert_eq!(shown, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        }
        for all in [vec![], vec![&other]] {
            let refused = challenge.verify(LAST.as_bytes(), all);
            assert_eq!(refused, Err(ScramFault::Proof));
        }
        assert_eq!(keys.to_string().parse(), Ok(keys));
    }

    #[test]
    fn messages_are_read_as_they_are_meant() {
        let read = |text: &str| ClientFirst::read(text.as_bytes()).map(|first| first.user);
        for (text, expected) in [
            ("n,,n=ann,r=x", Ok("ann")),
            ("y,,n=ann,r=x", Ok("ann")),
            ("n,,n=a=2Cb=3Dc,r=x", Ok("a,b=c")),
            ("n,,n=j\u{f6}rg,r=x,e=extension", Ok("j\u{f6}rg")),
            ("n,a=ann,n=ann,r=x", Ok("ann")),
            ("n,a=,n=ann,r=x", Ok("ann")),
            ("n,a=root,n=ann,r=x", Err(ScramFault::OtherUser)),
            ("p=tls-exporter,,n=ann,r=x", Err(ScramFault::ChannelBinding)),
            ("n,,m=x,n=ann,r=x", Err(ScramFault::Form)),
            ("n,,n=ann", Err(ScramFault::Form)),
            ("n,,r=x,n=ann", Err(ScramFault::Form)),
            ("n,,n=,r=x", Err(ScramFault::Form)),
            ("n,,n=a=2c,r=x", Err(ScramFault::Form)),
            ("n,,n=a=,r=x", Err(ScramFault::Form)),
            ("n,,n=ann,r=", Err(ScramFault::Form)),
            ("n,,n=ann,r=a b", Err(ScramFault::Form)),
            ("n,ann,n=ann,r=x", Err(ScramFault::Form)),
            ("x,,n=ann,r=x", Err(ScramFault::Form)),
            ("n=ann,r=x", Err(ScramFault::Form)),
            ("", Err(ScramFault::Form)),
        ] {
            assert_eq!(read(text), expected.map(str::to_owned), "{text}");
        }
        let keys = ScramKeys::of_password(b"pencil", salt());
        for (from, to) in [
            ("biws", "eSws"),
            ("k0,p=", "k1,p="),
            (",p=", ",q="),
            ("AndVQ=", "AndV="),
            ("c=biws,", ""),
        ] {
            let wrong = LAST.replace(from, to);
            let refused = challenge().verify(wrong.as_bytes(), [&keys]);
            assert_eq!(refused, Err(ScramFault::Form), "{wrong}");
        }
    }

    #[test]
    fn users_that_are_not_there_have_a_salt_that_stays() {
        let salt = |key: &[u8], user| salt_of_nobody(key, user);
        assert_eq!(salt(b"k", "ann"), salt(b"k", "ann"));
        assert_ne!(salt(b"k", "ann"), salt(b"k", "bob"));
        assert_ne!(salt(b"k", "ann"), salt(b"l", "ann"));
    }

    #[test]
    fn keys_that_cannot_be_kept_are_refused() {
        let secret = GeneratedSecret::from_random(SecretKind::Smtp, [1; 32]);
        let keys = ScramKeys::of_secret(&secret, [2; 16]).to_string();
        for (from, to) in [
            ("4096", "4095"),
            ("4096", "1000001"),
            ("scram-sha-256", "scram-sha-1"),
            (":4096:", ":4096:AA:"),
        ] {
            let text = keys.replace(from, to);
            assert!(text.parse::<ScramKeys>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(first: Vec<u8>, last: Vec<u8>, text in "[nyp],(a=)?[a-z]{0,3},n=[a-z=,2CD]{0,9},r=[!-~]{0,9}") {
            let _ = ClientFirst::read(&first);
            if let Ok(first) = ClientFirst::read(text.as_bytes()) {
                let keys = ScramKeys { iterations: ITERATIONS, salt: [0; 16], stored: [0; 32], server: [0; 32] };
                let challenge = first.challenge([0; 16], ITERATIONS, [0; 18]);
                prop_assert!(challenge.verify(&last, [&keys]).is_err());
            }
        }
    }
}
