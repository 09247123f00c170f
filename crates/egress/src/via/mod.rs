//! The ways of a sender to a target.

mod error;
mod haproxy;
mod node;
mod proxy;
mod socks;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use error::{RouteFault, ViaError};
pub use socks::Login;

pub use crate::dial::TargetFault;

use crate::Stream;
use crate::dial::{canonical, dial};

/// How a connection leaves.
pub enum EgressRoute {
    /// From this machine, and from this address of it.
    Direct { bind: Option<IpAddr> },
    /// From another node of the cluster.
    Node {
        /// To that node, authenticated and encrypted.
        stream: Stream,
        /// The name of the IP resource.
        ip: String,
        epoch: u64,
    },
    Socks5 {
        /// `host:port` or `address:port`.
        proxy: String,
        login: Option<Login>,
    },
    /// HAProxy, or any other that reads version 2 of the PROXY protocol.
    HaProxy {
        /// `host:port` or `address:port`.
        proxy: String,
        /// What the connection is to appear as. The port is 0 if any will do.
        source: SocketAddr,
    },
}

impl EgressRoute {
    /// Whether a failure to reach the target looks like a connection that ends before its first byte: HAProxy takes a
    /// connection before it makes its own, and has no means to say what became of that. Such an end counts against no host.
    pub fn hides_failures(&self) -> bool {
        matches!(self, Self::HaProxy { .. })
    }
}

impl fmt::Debug for EgressRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { bind: None } => write!(f, "direct"),
            Self::Direct { bind: Some(bind) } => write!(f, "direct from {bind}"),
            Self::Node { ip, epoch, .. } => write!(f, "egress node of {ip}, epoch {epoch}"),
            Self::Socks5 { proxy, .. } => write!(f, "SOCKS5 {proxy}"),
            Self::HaProxy { proxy, source } => write!(f, "HAProxy {proxy} as {source}"),
        }
    }
}

/// Connects to a target within `limit`, and names the source address that it sees, as far as the way tells.
///
/// # Errors
/// See [`ViaError`]: only some say anything about the target.
pub async fn connect(
    way: EgressRoute,
    target: SocketAddr,
    limit: Duration,
) -> Result<(Stream, String), ViaError> {
    let target = canonical(target);
    match way {
        EgressRoute::Direct { bind } => direct(bind, target, limit).await,
        EgressRoute::Node { stream, ip, epoch } => {
            node::connect(stream, &ip, epoch, target, limit).await
        }
        EgressRoute::Socks5 { proxy, login } => {
            socks::connect(&proxy, login.as_ref(), target, limit).await
        }
        EgressRoute::HaProxy { proxy, source } => {
            haproxy::connect(&proxy, source, target, limit).await
        }
    }
}

async fn direct(
    bind: Option<IpAddr>,
    target: SocketAddr,
    limit: Duration,
) -> Result<(Stream, String), ViaError> {
    if let Some(bind) = bind
        && bind.is_ipv4() != target.is_ipv4()
    {
        return Err(ViaError::family(bind, target));
    }
    let stream = dial(bind, target, limit).await?;
    let source = stream.local_addr().map(|address| address.ip().to_string());
    Ok((Box::new(stream), source.unwrap_or_default()))
}
