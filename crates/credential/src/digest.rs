//! Digests that mean nothing outside of the process that makes them.

use std::fmt;

use aws_lc_rs::hmac;

/// HMAC-SHA-256 of some parts, under a key.
#[derive(Clone)]
pub struct KeyedDigest(hmac::Key);

impl KeyedDigest {
    /// `key`: uniform.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Other parts have another digest, also those that are the same when they are put together.
    pub fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl fmt::Debug for KeyedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_keys_are_told_apart() {
        let digest = KeyedDigest::new(&[1; 32]);
        let all = [
            digest.of(&[b"ab", b"c"]),
            digest.of(&[b"a", b"bc"]),
            digest.of(&[b"abc"]),
            digest.of(&[b"ab", b"c", b""]),
            KeyedDigest::new(&[2; 32]).of(&[b"ab", b"c"]),
        ];
        for (nth, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(nth));
        }
        assert_eq!(digest.of(&[b"ab", b"c"]), all[0]);
    }
}
