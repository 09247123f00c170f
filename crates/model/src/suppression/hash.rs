//! What stands for a key where ten million of them are in memory.

use sha2::{Digest, Sha256};

use super::key::{Key, Scope};
use super::subject::Subject;

impl Key {
    /// The first eight octets of SHA-256 over the parts of the key, each after its length in two octets: the same on every machine
    /// and in every version. Nobody can make a key whose hash is that of another one, and have that forgotten with his own.
    ///
    /// Of ten million keys, two have the same hash with a chance of 3 in a million.
    pub fn hash(&self) -> u64 {
        let (kind, tenant, stream) = match &self.scope {
            Scope::Global => ("g", "", ""),
            Scope::Tenant(tenant) => ("t", tenant.as_str(), ""),
            Scope::Stream { tenant, stream } => ("s", tenant.as_str(), stream.as_str()),
        };
        let (subject, text) = match &self.subject {
            Subject::Address(text) => ("a", text),
            Subject::Domain(text) => ("d", text),
        };
        let mut hash = Sha256::new();
        for part in [kind, tenant, stream, subject, text] {
            // Checked keys have parts of 640 octets at most.
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            hash.update(length.to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}
