//! What mail demands of a connection.

use std::sync::Arc;

use crate::dane::DaneRecords;
use crate::proof::Proof;

/// What an operator says of connections (RFC 3207).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    /// STARTTLS when it is offered, with any certificate; in the clear when it fails (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS with any certificate, or no delivery.
    Encrypt,
    /// STARTTLS with a certificate that is valid for the host, or no delivery.
    Require,
    Disable,
}

/// What a host must prove before it is told anything of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// TLS is not even tried.
    Clear,
    /// Nothing: TLS where it works.
    Opportunistic,
    /// TLS, with any certificate.
    Tls,
    /// A certificate for the name of the host whose chain leads to an authority that is trusted.
    Pkix,
    /// A certificate that its TLSA records speak of.
    Dane(Arc<DaneRecords>),
}

impl From<skein_policy::Tls> for TlsPolicy {
    fn from(tls: skein_policy::Tls) -> Self {
        match tls {
            skein_policy::Tls::Opportunistic => Self::Opportunistic,
            skein_policy::Tls::Encrypt => Self::Encrypt,
            skein_policy::Tls::Require => Self::Require,
            skein_policy::Tls::Disable => Self::Disable,
        }
    }
}

impl From<TlsPolicy> for Demand {
    fn from(policy: TlsPolicy) -> Self {
        match policy {
            TlsPolicy::Opportunistic => Self::Opportunistic,
            TlsPolicy::Encrypt => Self::Tls,
            TlsPolicy::Require => Self::Pkix,
            TlsPolicy::Disable => Self::Clear,
        }
    }
}

impl Demand {
    /// Whether a connection that has proved this may carry the mail. DANE does not stand in for PKIX: whoever relies on MTA-STS has
    /// not looked at DNSSEC.
    pub fn is_met_by(&self, proof: &Proof) -> bool {
        match self {
            Self::Clear | Self::Opportunistic => true,
            Self::Tls => proof.is_encrypted(),
            Self::Pkix => proof.is_valid_for_host(),
            Self::Dane(records) => proof.matches(records),
        }
    }

    /// Whether mail waits rather than go in the clear.
    pub fn needs_tls(&self) -> bool {
        !matches!(self, Self::Clear | Self::Opportunistic)
    }

    /// The name that TLS asks for in place of the host's.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Dane(records) => Some(&records.base),
            _ => None,
        }
    }

    /// For keys and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Opportunistic => "opportunistic",
            Self::Tls => "tls",
            Self::Pkix => "pkix",
            Self::Dane(_) => "dane",
        }
    }
}
