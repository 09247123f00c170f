use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use skein_client::trace::Sampling;
use skein_smtp::server::Limits;

#[derive(Debug, Clone)]
pub struct Config {
    /// In the greeting and in Received headers.
    pub hostname: String,
    /// Clients from here may send to any domain.
    pub relay_networks: Vec<IpNet>,
    /// Whose mail that is.
    pub relay_tenant: String,
    /// Connections from here begin with a PROXY header.
    pub proxy_networks: Vec<IpNet>,
    pub listeners: Vec<Listener>,
    pub users: Vec<User>,
    /// Recipients of one outgoing transaction.
    pub recipients_per_task: usize,
    /// Bare CR and LF become CRLF; else the message is refused.
    pub fix_bare_newlines: bool,
    /// Of one session.
    pub limits: Limits,
    pub connections_max: usize,
    pub connections_per_client_max: usize,
    /// Messages on their way in take at most this much memory.
    pub memory_bytes: usize,
    /// Bytes of a body in a second, on the whole; a slower client is cut off. 0 waits for all.
    pub body_rate_min: u64,
    /// How long a body that is under way may go on after a drain began.
    pub shutdown_grace: Duration,
    /// Of which messages there are traces.
    pub sampling: Sampling,
}

#[derive(Debug, Clone)]
pub struct Listener {
    pub address: SocketAddr,
    pub kind: ListenerKind,
    pub tls: TlsMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    Relay,
    /// A login is required (RFC 6409).
    Submission,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    None,
    StartTls,
    Implicit,
}

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
    pub tenant: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Config {
    pub fn may_relay(&self, client: IpAddr) -> bool {
        contains(&self.relay_networks, client)
    }

    /// The user that logs in by this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|known| known.name == name)
    }

    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        contains(&self.proxy_networks, peer)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Nobody may send.
    pub fn config() -> Config {
        Config {
            hostname: "mx.skein.test".into(),
            relay_networks: Vec::new(),
            relay_tenant: "default".into(),
            proxy_networks: Vec::new(),
            listeners: Vec::new(),
            users: Vec::new(),
            recipients_per_task: 100,
            fix_bare_newlines: false,
            limits: Limits::default(),
            connections_max: 100,
            connections_per_client_max: 10,
            memory_bytes: 1 << 20,
            body_rate_min: 0,
            shutdown_grace: Duration::ZERO,
            sampling: Sampling::default(),
        }
    }
}
