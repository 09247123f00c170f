//! Through a SOCKS5 proxy (RFC 1928), with a login if it wants one (RFC 1929).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error, TargetAddr};

use super::error::{RouteFault, ViaError};
use super::proxy::reach;
use crate::Stream;
use crate::dial::TargetFault;
use crate::io_fault;

/// Each 1 to 255 bytes. RFC 1929 sends them in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

pub(super) async fn connect(
    proxy: &str,
    login: Option<&Login>,
    target: SocketAddr,
    limit: Duration,
) -> Result<(Stream, String), ViaError> {
    let deadline = Instant::now() + limit;
    let stream = reach(proxy, limit).await?;
    let Ok(asked) = timeout_at(deadline, ask(stream, login, target)).await else {
        let text = format!("the proxy {proxy} did not say in time what became of {target}");
        return Err(ViaError::Unclear { text });
    };
    let stream = asked.map_err(|error| judge(proxy, target, &error))?;
    let source = source(proxy, &stream.target_addr());
    Ok((Box::new(stream.into_inner()), source))
}

async fn ask(
    stream: TcpStream,
    login: Option<&Login>,
    target: SocketAddr,
) -> Result<Socks5Stream<TcpStream>, Error> {
    match login {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some(Login { user, password }) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
        }
    }
}

/// The proxy's BND.ADDR, or the proxy itself where it does not tell.
fn source(proxy: &str, bound: &TargetAddr<'_>) -> String {
    match bound {
        TargetAddr::Ip(address) if !address.ip().is_unspecified() => address.ip().to_string(),
        _ => proxy.to_owned(),
    }
}

fn in_words(error: &Error) -> &'static str {
    match error {
        Error::Io(error) => io_fault::of_io(error),
        Error::ConnectionRefused => "connection refused",
        Error::TtlExpired => "no answer in time",
        Error::NetworkUnreachable => "no route to the network",
        Error::HostUnreachable => "no route to the host",
        Error::GeneralSocksServerFailure => "it failed and does not say why",
        Error::PasswordAuthFailure(_) | Error::InvalidAuthValues(_) => "it refuses the login",
        Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => "it wants another login",
        Error::ConnectionNotAllowedByRuleset => "its rules forbid it",
        Error::AddressTypeNotSupported => "it does not know this kind of address",
        Error::CommandNotSupported => "it opens no connections",
        _ => "its answer cannot be read",
    }
}

/// RFC 1928 section 6. Proxies answer a general failure to all that they do not want to explain.
fn judge(proxy: &str, target: SocketAddr, error: &Error) -> ViaError {
    let text = format!("{target} through the proxy {proxy}: {}", in_words(error));
    let fault = match error {
        Error::ConnectionRefused => Ok(TargetFault::Refused),
        Error::TtlExpired => Ok(TargetFault::Timeout),
        Error::NetworkUnreachable | Error::HostUnreachable => Ok(TargetFault::Unreachable),
        Error::Io(_) | Error::GeneralSocksServerFailure => return ViaError::Unclear { text },
        Error::PasswordAuthFailure(_)
        | Error::NoAcceptableAuthMethods
        | Error::AuthorizationRequired
        | Error::InvalidAuthValues(_) => Err(RouteFault::Login),
        Error::ConnectionNotAllowedByRuleset => Err(RouteFault::Forbidden),
        Error::AddressTypeNotSupported => Err(RouteFault::Family),
        _ => Err(RouteFault::Protocol),
    };
    match fault {
        Ok(fault) => ViaError::Target { fault, text },
        Err(fault) => ViaError::route(fault, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_in_debug_output() {
        let login = Login {
            user: "skein".into(),
            password: "secret".into(),
        };
        assert_eq!(format!("{login:?}"), "Login(skein)");
    }
}
