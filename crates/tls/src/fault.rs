//! Why a certificate does not count.

use rustls::{CertificateError, Error};
use skein_model::tls_report::FailureKind;

/// Why a certificate proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    Expired,
    NotYetValid,
    /// It is for another name.
    OtherName,
    /// Its chain leads to nobody who is trusted.
    UnknownIssuer,
    /// No TLSA record matches it, or its chain.
    NoTlsaMatch,
    Revoked,
    /// It cannot be read, or breaks a rule of X.509.
    Malformed,
}

impl CertificateFault {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(fault) => match fault {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                // An authority of the same name has another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownIssuer
                }
                CertificateError::Revoked => Self::Revoked,
                _ => Self::Malformed,
            },
            _ => Self::Malformed,
        }
    }

    /// In words that end a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Expired => "the host's certificate has expired",
            Self::NotYetValid => "the host's certificate is not valid yet",
            Self::OtherName => "the host's certificate is for another name",
            Self::UnknownIssuer => "nobody we trust has signed the host's certificate",
            Self::NoTlsaMatch => "no TLSA record matches the host's certificate",
            Self::Revoked => "the host's certificate is revoked",
            Self::Malformed => "the host's certificate is not valid",
        }
    }

    /// As reports name it (RFC 8460 4.3).
    pub fn reported(self) -> FailureKind {
        match self {
            Self::Expired | Self::NotYetValid => FailureKind::CertificateExpired,
            Self::OtherName => FailureKind::CertificateHostMismatch,
            Self::UnknownIssuer => FailureKind::CertificateNotTrusted,
            Self::NoTlsaMatch | Self::Revoked | Self::Malformed => FailureKind::ValidationFailure,
        }
    }
}
