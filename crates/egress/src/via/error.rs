//! Whose fault it is that a connection did not come about.

use crate::dial::{DialError, TargetFault};
use crate::refused::Refused;

/// Only [`ViaError::Target`] says something about the destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViaError {
    /// The way to the target is broken. Nothing of it counts against the destination: another way, or this one later.
    #[error("{text}")]
    Route { fault: RouteFault, text: String },
    /// The way is good, and the target does not answer.
    #[error("{text}")]
    Target { fault: TargetFault, text: String },
    /// The proxy knows why and does not say: counts against neither.
    #[error("{text}")]
    Unclear { text: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteFault {
    /// The proxy or egress node is not there, or ended the connection.
    Unreachable,
    /// The proxy wants a login, or another one.
    Login,
    /// The rules of the proxy or egress node forbid it.
    Forbidden,
    /// The other side speaks another protocol, or says so of us.
    Protocol,
    /// The IP has moved or is about to: look up where it is.
    Stale,
    /// The egress node has not heard yet that the IP is there: ask again.
    Ahead,
    /// The egress node knows no such IP.
    NotHeld,
    Suspended,
    /// The IP has as many connections as it may have: ask again after a second.
    Cap,
    /// The egress node, or this one, has no more sockets.
    Full,
    /// The address is on no interface of the node that should have it: the IP is as good as suspended.
    Bind,
    /// An IPv4 source and an IPv6 target, or the reverse.
    Family,
}

impl ViaError {
    pub fn route(fault: RouteFault, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Route { fault, text }
    }

    pub(super) fn family(source: impl std::fmt::Display, target: std::net::SocketAddr) -> Self {
        let text = format!("{target} cannot be reached from {source}: the address families differ");
        Self::route(RouteFault::Family, text)
    }
}

impl From<DialError> for ViaError {
    fn from(error: DialError) -> Self {
        let text = error.to_string();
        match error {
            DialError::Bind { .. } => Self::route(RouteFault::Bind, text),
            DialError::Exhausted(_) => Self::route(RouteFault::Full, text),
            DialError::Target { fault, .. } => Self::Target { fault, text },
        }
    }
}

/// Of this node, by what it holds itself.
impl From<Refused> for ViaError {
    fn from(refused: Refused) -> Self {
        let fault = match &refused {
            Refused::Method | Refused::Malformed(_) => RouteFault::Protocol,
            Refused::NotHeld { .. } => RouteFault::NotHeld,
            Refused::Stale { .. } | Refused::Leaving { .. } => RouteFault::Stale,
            Refused::Ahead { .. } => RouteFault::Ahead,
            Refused::Suspended { .. } => RouteFault::Suspended,
            Refused::Family { .. } => RouteFault::Family,
            Refused::Target { .. } | Refused::Caller(_) => RouteFault::Forbidden,
            Refused::Cap { .. } => RouteFault::Cap,
            Refused::Full(_) => RouteFault::Full,
        };
        Self::route(fault, refused.to_string())
    }
}
