//! How we speak TLS to other hosts.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use skein_tls::{BadRoot, Demand, Roots, Verifier, client_config};
use tokio_rustls::TlsConnector;

#[derive(Clone)]
pub struct TlsClient {
    provider: Arc<CryptoProvider>,
    roots: Roots,
}

/// One handshake, and what looks at the certificate that it shows.
pub struct Handshake {
    pub connector: TlsConnector,
    pub verifier: Arc<Verifier>,
}

impl TlsClient {
    /// Trusts these roots beside those of webpki.
    ///
    /// # Errors
    /// A root is not an X.509 certificate.
    pub fn new(more_roots: &[CertificateDer<'static>]) -> Result<Self, BadRoot> {
        Ok(Self {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            roots: Roots::new(more_roots)?,
        })
    }

    /// For a host of this name, which must prove what is demanded.
    pub fn handshake(&self, host: ServerName<'static>, demand: &Demand) -> Handshake {
        let (provider, roots) = (self.provider.clone(), self.roots.clone());
        let verifier = Verifier::new(provider, roots, host, demand.clone());
        let config = client_config(verifier.clone());
        let config = config.expect("the provider supports TLS 1.2 and 1.3");
        Handshake {
            connector: TlsConnector::from(Arc::new(config)),
            verifier,
        }
    }
}
