//! The server certificate of the SMTP listeners.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Follower, load};
use crate::config::Config;

/// The certificate that handshakes use now.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

/// Reads the certificate and follows its files from here on; none without files.
pub fn server_config(
    config: &Config,
    follower: &Follower,
) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let Some(files) = config.smtp_certificates() else {
        return Ok(None);
    };
    let loaded = load(&files)?;
    let current = Arc::new(Current(RwLock::new(loaded.own.clone())));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    follower.follow(files, loaded, move |loaded| {
        *current.0.write() = loaded.own.clone();
        Ok(())
    });
    Ok(Some(Arc::new(server)))
}
