//! What public authorities say of a certificate.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

/// The authorities that are trusted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

/// A certificate that cannot be a root.
#[derive(Debug)]
pub struct BadRoot(pub rustls::Error);

impl std::fmt::Display for BadRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a root certificate cannot be used")
    }
}

impl std::error::Error for BadRoot {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl Roots {
    /// Those that browsers trust, and more.
    ///
    /// # Errors
    /// One of these is not an X.509 certificate.
    pub fn new(more: &[CertificateDer<'static>]) -> Result<Self, BadRoot> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for root in more {
            roots.add(root.clone()).map_err(BadRoot)?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Whether a chain leads to a root, and its first certificate is for the name.
    ///
    /// # Errors
    /// Why not, as rustls tells it.
    pub(crate) fn verify(
        &self,
        host: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(host)?;
        let all = algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.0, issuers, now, all)?;
        verify_server_name(&parsed, name)
    }
}
