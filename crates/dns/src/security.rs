//! What DNSSEC says of answers, and the TLSA records of hosts (RFC 7672).

/// Whether a validating resolver that is trusted vouches for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Security {
    Secure,
    /// The zone is not signed, or nobody who is trusted has looked.
    #[default]
    Insecure,
}

impl Security {
    pub fn is_secure(self) -> bool {
        self == Self::Secure
    }

    pub(crate) fn of(is_secure: bool) -> Self {
        match is_secure {
            true => Self::Secure,
            false => Self::Insecure,
        }
    }
}

/// One TLSA record (RFC 6698 2.1) as it is published, of use or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tlsa {
    pub usage: u8,
    pub selector: u8,
    pub matching: u8,
    pub data: Vec<u8>,
}

impl std::fmt::Display for Tlsa {
    /// As it stands in a zone file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What was told of the TLSA records of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TlsaAnswer {
    /// Not asked: the MX records or the addresses of the host are not validated (RFC 7672 2.2). Servers that do not know the type
    /// answer it with errors, and must not be asked in vain.
    #[default]
    NotAsked,
    /// There are none, or none that are validated.
    None,
    /// Validated.
    Records {
        /// The TLSA base domain: the host, or the end of its CNAMEs. It is the name that TLS asks for.
        base: String,
        /// At least one.
        records: Vec<Tlsa>,
    },
    /// SERVFAIL, bogus or no answer: whether there are records is not known, and what is not known is not taken for none.
    Failed(String),
}
