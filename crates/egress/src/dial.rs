//! A TCP connection from a chosen address, and what its failure says about whom.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::io_fault;

/// What is wrong with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetFault {
    /// Nobody listens there.
    Refused,
    /// Nothing came back.
    Timeout,
    /// No route, or a router or firewall said so.
    Unreachable,
}

impl TargetFault {
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is on no interface of this machine: says nothing about the target.
    #[error("{bind} cannot be used as a source: {}", io_fault::of_io(.source))]
    Bind { bind: IpAddr, source: io::Error },
    /// No file descriptors, memory or ports are left: says nothing about the target.
    #[error("no socket for a connection: {}", io_fault::of_io(.0))]
    Exhausted(#[source] io::Error),
    #[error("{}", target_words(target, *.fault, .source))]
    Target {
        target: SocketAddr,
        fault: TargetFault,
        source: io::Error,
    },
}

/// Connects from `bind`, which is of the family of `target`, or from where the routing table says.
pub async fn dial(
    bind: Option<IpAddr>,
    target: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    let socket = socket(bind, target)?;
    let connected = timeout(limit, socket.connect(target)).await;
    let connected = connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    let stream = connected.map_err(|source| connect_error(target, source))?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%target, %error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

fn target_words(target: &SocketAddr, fault: TargetFault, source: &io::Error) -> String {
    match fault {
        TargetFault::Refused => format!("connection refused by {target}"),
        TargetFault::Timeout => format!("no answer from {target}"),
        TargetFault::Unreachable => {
            format!("{target} cannot be reached: {}", io_fault::of_io(source))
        }
    }
}

fn socket(bind: Option<IpAddr>, target: SocketAddr) -> Result<TcpSocket, DialError> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(DialError::Exhausted)?;
    if let Some(bind) = bind {
        defer_port(&socket);
        let bound = socket.bind(SocketAddr::new(bind, 0));
        bound.map_err(|source| bind_error(bind, source))?;
    }
    Ok(socket)
}

/// Lets the kernel choose the port when it knows the target: an address has 28,000 ports for each target then, and not
/// for all of them.
fn defer_port(socket: &TcpSocket) {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::socket::setsockopt(
        socket,
        nix::sys::socket::sockopt::IpBindAddressNoPort,
        &true,
    ) {
        tracing::debug!(%error, "IP_BIND_ADDRESS_NO_PORT could not be set");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

fn bind_error(bind: IpAddr, source: io::Error) -> DialError {
    match source.kind() {
        // Without IP_BIND_ADDRESS_NO_PORT: all ports of the address are taken.
        ErrorKind::AddrInUse | ErrorKind::OutOfMemory => DialError::Exhausted(source),
        _ => DialError::Bind { bind, source },
    }
}

fn connect_error(target: SocketAddr, source: io::Error) -> DialError {
    let fault = match source.kind() {
        // No port is left for this target.
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::OutOfMemory => {
            return DialError::Exhausted(source);
        }
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => TargetFault::Refused,
        ErrorKind::TimedOut => TargetFault::Timeout,
        _ => TargetFault::Unreachable,
    };
    DialError::Target {
        target,
        fault,
        source,
    }
}

/// An IPv4 address that is written as IPv6 needs an IPv4 source.
pub fn canonical(target: SocketAddr) -> SocketAddr {
    match target.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), target.port()),
        IpAddr::V6(_) => target,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_failure_is_blamed_on_whom_it_is_about() {
        let target = "192.0.2.1:25".parse().unwrap();
        for (kind, word) in [
            (ErrorKind::ConnectionRefused, "refused"),
            (ErrorKind::ConnectionReset, "refused"),
            (ErrorKind::TimedOut, "timeout"),
            (ErrorKind::NetworkUnreachable, "unreachable"),
            (ErrorKind::HostUnreachable, "unreachable"),
            (ErrorKind::PermissionDenied, "unreachable"),
            (ErrorKind::AddrNotAvailable, "full"),
        ] {
            assert_eq!(connect_error(target, kind.into()).word(), word, "{kind:?}");
        }
        for (kind, word) in [
            (ErrorKind::AddrNotAvailable, "bind"),
            (ErrorKind::AddrInUse, "full"),
        ] {
            assert_eq!(
                bind_error(target.ip(), kind.into()).word(),
                word,
                "{kind:?}"
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_port_is_not_chosen_before_the_target_is_known() {
        let target = "127.0.0.1:1".parse().unwrap();
        let bound = socket(Some("127.0.0.5".parse().unwrap()), target).unwrap();
        let expected = "127.0.0.5:0".parse().unwrap();
        assert_eq!(bound.local_addr().unwrap(), expected);
    }

    #[tokio::test]
    async fn an_address_that_is_not_on_this_machine_is_told_from_a_closed_port() {
        let limit = Duration::from_secs(5);
        let target = "127.0.0.1:1".parse().unwrap();
        // TEST-NET-1, RFC 5737.
        let elsewhere = dial(Some("192.0.2.77".parse().unwrap()), target, limit).await;
        assert_eq!(elsewhere.unwrap_err().word(), "bind");
        let closed = dial(Some("127.0.0.5".parse().unwrap()), target, limit).await;
        assert_eq!(closed.unwrap_err().word(), "refused");
    }
}
