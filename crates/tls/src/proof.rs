//! What a connection has proved.

use std::sync::Arc;

use crate::dane::DaneRecords;
use crate::fault::CertificateFault;

/// The most that a connection has proved, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Clear,
    /// Nobody listens, but for whoever holds the certificate.
    Tls,
    /// It is the host of this name, as authorities say.
    Pkix,
    /// It is the host of this name, as its zone says.
    Dane,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Tls => "tls",
            Self::Pkix => "pkix",
            Self::Dane => "dane",
        }
    }
}

/// What a connection has proved. All of it is tried, whatever was demanded, so that other mail may use the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof(Option<Certificate>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// By the authorities that are trusted, for the name of the host.
    pub(crate) pkix: Result<(), CertificateFault>,
    /// By the TLSA records that were known when the connection was made.
    pub(crate) dane: Option<(Arc<DaneRecords>, Result<(), CertificateFault>)>,
}

impl Proof {
    pub fn clear() -> Self {
        Self(None)
    }

    /// A handshake whose certificate came to nothing.
    pub(crate) fn of(certificate: Certificate) -> Self {
        Self(Some(certificate))
    }

    pub fn level(&self) -> Level {
        match &self.0 {
            None => Level::Clear,
            Some(Certificate {
                dane: Some((_, Ok(()))),
                ..
            }) => Level::Dane,
            Some(Certificate { pkix: Ok(()), .. }) => Level::Pkix,
            Some(_) => Level::Tls,
        }
    }

    pub fn is_encrypted(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the certificate is valid for the host's name by public authorities.
    pub fn is_valid_for_host(&self) -> bool {
        self.0.as_ref().is_some_and(|found| found.pkix.is_ok())
    }

    /// Whether the certificate is one that these records speak of.
    pub fn matches(&self, records: &DaneRecords) -> bool {
        let dane = self.0.as_ref().and_then(|found| found.dane.as_ref());
        dane.is_some_and(|(known, found)| **known == *records && found.is_ok())
    }

    /// What public authorities hold against the certificate.
    pub fn pkix_fault(&self) -> Option<CertificateFault> {
        self.0.as_ref()?.pkix.err()
    }

    /// What the TLSA records hold against the certificate.
    pub fn dane_fault(&self) -> Option<CertificateFault> {
        self.0.as_ref()?.dane.as_ref()?.1.err()
    }
}
