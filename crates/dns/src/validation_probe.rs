//! Names that tell whether a resolver validates.

/// The names that tell a server that validates from one that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationProbe {
    /// Its SOA record is signed.
    pub signed: String,
    /// The signatures of its zone are broken.
    pub broken: String,
}

impl Default for ValidationProbe {
    /// A top-level domain that was signed in 2009, and a name that is kept broken for such tests.
    fn default() -> Self {
        Self {
            signed: "org".to_owned(),
            broken: "dnssec-failed.org".to_owned(),
        }
    }
}
