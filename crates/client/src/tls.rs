//! Mutual TLS between nodes, and to the admin API: whoever connects and whoever listens show a certificate.
//!
//! Certificates may be replaced while connections are open: each new connection takes those of its moment, and is
//! checked in full, because no session is resumed. Open connections go on.

mod accept;
mod certificates;
mod connect;
mod seldom;
mod tunnels;

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig};

pub use accept::accept;
pub use certificates::{Certificates, TlsError, expires_at, identity, key, own_chain, roots};
pub use connect::{client_config, connect};
pub use tunnels::{Accepted, Connected, accept as accept_tunnels, connect as connect_tunnel};

/// What HTTP/2 is called in the handshake.
const ALPN: &[u8] = b"h2";

/// The certificates that new connections use now; clones share them.
#[derive(Clone)]
pub struct Tls {
    now: Arc<RwLock<Configs>>,
}

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Those of connections that pass somebody's bytes on.
    tunnel_server: Arc<ServerConfig>,
    tunnel_client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        let configs = Configs::new(certificates)?;
        Ok(Self {
            now: Arc::new(RwLock::new(configs)),
        })
    }

    /// From here on new connections use these.
    ///
    /// # Errors
    /// They cannot be used; the former ones stay.
    pub fn replace(&self, certificates: &Certificates) -> Result<(), TlsError> {
        let configs = Configs::new(certificates)?;
        *self.now.write() = configs;
        Ok(())
    }

    fn server(&self) -> Arc<ServerConfig> {
        self.now.read().server.clone()
    }

    /// What a client shows and trusts now.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.now.read().client.clone()
    }
}

impl Configs {
    fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        let client = client_config(certificates.roots.clone(), Some(certificates.own.clone()))?;
        let server = accept::server_config(certificates)?;
        Ok(Self {
            tunnel_server: tunnels::server_config(&server),
            tunnel_client: tunnels::client_config(&client),
            server,
            client,
        })
    }
}

#[cfg(test)]
mod tests;
