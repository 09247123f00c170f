//! What listeners speak TLS with, and what client certificates are worth.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use crate::config::ListenerKind;

/// Says whose certificate a client has shown, its own first, as policy names holders; or why it does not count at this moment.
pub type CertificateCheck =
    Arc<dyn Fn(&[CertificateDer<'static>]) -> Result<Vec<String>, String> + Send + Sync>;

/// Made by whoever has the files.
#[derive(Clone)]
pub struct Tls {
    pub relay: Arc<ServerConfig>,
    /// Asks for a certificate where there is a check of it.
    pub submission: Arc<ServerConfig>,
    pub check: Option<CertificateCheck>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("asks_for_certificates", &self.check.is_some())
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub fn acceptor(&self, kind: ListenerKind) -> TlsAcceptor {
        let config = match kind {
            ListenerKind::Relay => &self.relay,
            ListenerKind::Submission => &self.submission,
        };
        TlsAcceptor::from(config.clone())
    }
}
