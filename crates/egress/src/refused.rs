//! Why a request is not admitted.

use std::net::{IpAddr, SocketAddr};

/// Why a sender is not connected; nothing was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("only CONNECT is spoken here")]
    Method,
    #[error("bad request: {0}")]
    Malformed(String),
    #[error("{ip} is not on this node")]
    NotHeld { ip: String },
    #[error("{ip} has moved: epoch {asked} is over, it is {held} now")]
    Stale { ip: String, asked: u64, held: u64 },
    #[error("this node has not heard of epoch {asked} of {ip} yet, it knows {held}; try again")]
    Ahead { ip: String, asked: u64, held: u64 },
    #[error("{ip} is suspended")]
    Suspended { ip: String },
    #[error("{ip} is about to leave this node")]
    Leaving { ip: String },
    #[error("{target} cannot be reached from {bind}: the address families differ")]
    Family { bind: IpAddr, target: IpAddr },
    #[error("{ip} has {cap} connections, and may have no more")]
    Cap { ip: String, cap: u32 },
    /// What only this node can reach, or the cluster itself.
    #[error("{target} {why}: nobody connects to it through this node")]
    Target {
        target: SocketAddr,
        why: &'static str,
    },
    /// The caller is no sender of the cluster.
    #[error("{0}")]
    Caller(String),
    /// So many tunnels, or no sockets left.
    #[error("this node is full: {0}")]
    Full(String),
}
