use hickory_resolver::net::NetError;

/// The resolver could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `/etc/resolv.conf` is absent or cannot be parsed.
    #[error("reading the system's resolver configuration")]
    SystemConfig(#[source] NetError),
    /// The resolver's parts do not fit together.
    #[error("building the resolver")]
    Build(#[source] NetError),
}

/// Why there is no plan for a domain, with the enhanced status code (RFC 3463) to report.
///
/// | condition | code |
/// |---|---|
/// | null MX (RFC 7505) | 5.1.10 |
/// | no such domain, malformed domain | 5.1.2 |
/// | no host with a usable address | 5.4.4 |
/// | the MX list leads back to us | 5.4.6 |
/// | SERVFAIL, timeout | 4.4.3 |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Trying again will not help.
    #[error("{text}")]
    Permanent {
        enhanced: (u8, u16, u16),
        text: String,
    },
    /// The name servers did not answer, or not usefully; trying later may help.
    #[error("{text}")]
    Temporary {
        enhanced: (u8, u16, u16),
        text: String,
    },
}

impl ResolveError {
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent { .. })
    }

    pub fn enhanced(&self) -> (u8, u16, u16) {
        match self {
            Self::Permanent { enhanced, .. } | Self::Temporary { enhanced, .. } => *enhanced,
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Permanent { text, .. } | Self::Temporary { text, .. } => text,
        }
    }

    pub(crate) fn null_mx(domain: &str) -> Self {
        Self::permanent(
            (5, 1, 10),
            format!("domain {domain} does not accept mail (null MX)"),
        )
    }

    pub(crate) fn no_domain(domain: &str) -> Self {
        Self::permanent((5, 1, 2), format!("domain {domain} does not exist"))
    }

    pub(crate) fn malformed(domain: &str) -> Self {
        Self::permanent(
            (5, 1, 2),
            format!("domain {domain:?} is not a valid domain name"),
        )
    }

    pub(crate) fn no_address(domain: &str, why: &str) -> Self {
        Self::permanent(
            (5, 4, 4),
            format!("no usable mail host for {domain}: {why}"),
        )
    }

    /// `host` is the mail host that is ourselves.
    pub(crate) fn looping(domain: &str, host: &str) -> Self {
        Self::permanent(
            (5, 4, 6),
            format!("mail for {domain} loops back to this host, which is its mail host {host}"),
        )
    }

    pub(crate) fn unanswered(name: &str, why: &str) -> Self {
        let text = format!("DNS lookup of {name} failed: {why}");
        Self::Temporary {
            enhanced: (4, 4, 3),
            text,
        }
    }

    fn permanent(enhanced: (u8, u16, u16), text: String) -> Self {
        Self::Permanent { enhanced, text }
    }
}
