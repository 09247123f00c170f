//! Mutual TLS between nodes, and to the admin API: the side that connects and the side that listens show a certificate.
//!
//! Certificates may be replaced while connections are open: each new connection takes those of its moment, and is
//! checked in full, because no session is resumed. Open connections go on.

mod certificates;
mod connect;
mod revoked;
mod server;
mod tunnels;

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig};

pub use certificates::{Certificates, TlsError, expires_at, identity, key, own_chain, roots};
pub use connect::{client_config, connect};
pub use revoked::{Revoked, Watched};
pub use tunnels::{Connected, connect as connect_tunnel};

use crate::access::{RoleRule, Serial};
use crate::connection::Line;
use revoked::InUse;

/// What is spoken over a connection; each says so in the handshake, so that no client takes one port for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    /// gRPC of people and tools, who may have a token in place of a certificate.
    Admin,
    /// HTTP/1.1, of which a request becomes a connection that passes bytes of another one on.
    Tunnel,
}

impl Protocol {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Grpc | Self::Admin => b"h2",
            Self::Tunnel => b"http/1.1",
        }
    }
}

/// The certificates that new connections use now; clones share them.
#[derive(Clone)]
pub struct Tls {
    now: Arc<RwLock<Configs>>,
    in_use: InUse,
    rule: RoleRule,
}

struct Configs {
    server: Arc<ServerConfig>,
    admin_server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    tunnel_server: Arc<ServerConfig>,
    tunnel_client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// `rule` is about certificates of others that name no role.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(certificates: &Certificates, rule: RoleRule) -> Result<Self, TlsError> {
        let configs = Configs::new(certificates)?;
        let in_use = InUse::default();
        in_use.revoke(certificates.revoked.clone());
        Ok(Self {
            now: Arc::new(RwLock::new(configs)),
            in_use,
            rule,
        })
    }

    /// From here on new connections use these, and those of revoked certificates end.
    ///
    /// # Errors
    /// They cannot be used; the former ones stay.
    pub fn replace(&self, certificates: &Certificates) -> Result<(), TlsError> {
        let configs = Configs::new(certificates)?;
        *self.now.write() = configs;
        self.in_use.revoke(certificates.revoked.clone());
        Ok(())
    }

    pub(crate) fn server(&self, protocol: Protocol) -> Arc<ServerConfig> {
        let now = self.now.read();
        match protocol {
            Protocol::Grpc => now.server.clone(),
            Protocol::Admin => now.admin_server.clone(),
            Protocol::Tunnel => now.tunnel_server.clone(),
        }
    }

    /// What a client shows and trusts now.
    pub(crate) fn client(&self, protocol: Protocol) -> Arc<ClientConfig> {
        let now = self.now.read();
        match protocol {
            Protocol::Grpc | Protocol::Admin => now.client.clone(),
            Protocol::Tunnel => now.tunnel_client.clone(),
        }
    }

    pub(crate) fn role_rule(&self) -> RoleRule {
        self.rule
    }

    /// Has the line cut when the certificate is revoked; none if it is.
    pub(crate) fn watch(&self, serial: &Serial, line: Arc<Line>) -> Option<Watched> {
        self.in_use.watch(serial, line)
    }
}

impl Configs {
    fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        let client = |protocol| {
            let own = certificates.own.clone();
            connect::config_for(certificates.roots.clone(), Some(own), protocol)
        };
        let server = |protocol| server::server_config(certificates, protocol);
        Ok(Self {
            server: server(Protocol::Grpc)?,
            admin_server: server(Protocol::Admin)?,
            client: client(Protocol::Grpc)?,
            tunnel_server: server(Protocol::Tunnel)?,
            tunnel_client: client(Protocol::Tunnel)?,
        })
    }
}

#[cfg(test)]
mod tests;
