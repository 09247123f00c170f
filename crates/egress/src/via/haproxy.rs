//! Through HAProxy, or another proxy that takes the PROXY protocol, version 2: its header names the source to use and the
//! target to connect to.

use std::net::SocketAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Builder, Command, Protocol, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::error::{RouteFault, ViaError};
use super::proxy::reach;
use crate::Stream;

pub(super) async fn connect(
    proxy: &str,
    source: SocketAddr,
    target: SocketAddr,
    limit: Duration,
) -> Result<(Stream, String), ViaError> {
    let header = header(source, target)?;
    let mut stream = reach(proxy, limit).await?;
    let broken = |reason: &dyn std::fmt::Display| {
        ViaError::route(
            RouteFault::Unreachable,
            format!("the proxy {proxy}: {reason}"),
        )
    };
    timeout(limit, stream.write_all(&header))
        .await
        .map_err(|_| broken(&"it does not read"))?
        .map_err(|error| broken(&error))?;
    Ok((Box::new(stream), source.ip().to_string()))
}

fn header(source: SocketAddr, target: SocketAddr) -> Result<Vec<u8>, ViaError> {
    if source.is_ipv4() != target.is_ipv4() {
        return Err(ViaError::family(source.ip(), target));
    }
    let addresses: Addresses = (source, target).into();
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
        .build()
        .map_err(|_| ViaError::route(RouteFault::Protocol, "the PROXY header cannot be written"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use ppp::v2::Header;

    use super::*;

    #[test]
    fn a_header_names_both_addresses() {
        for (source, target) in [
            ("192.0.2.1:0", "198.51.100.1:25"),
            ("[2001:db8::1]:7", "[2001:db8:1::1]:25"),
        ] {
            let (source, target) = (source.parse().unwrap(), target.parse().unwrap());
            let bytes = header(source, target).unwrap();
            let read = Header::try_from(bytes.as_slice()).unwrap();
            assert_eq!(read.addresses, Addresses::from((source, target)));
            assert_eq!(read.len(), bytes.len());
        }
    }

    #[test]
    fn families_are_not_mixed() {
        let (four, six) = ("192.0.2.1:25".parse().unwrap(), "[::1]:25".parse().unwrap());
        for (source, target) in [(four, six), (six, four)] {
            let error = header(source, target).unwrap_err();
            assert!(matches!(
                error,
                ViaError::Route {
                    fault: RouteFault::Family,
                    ..
                }
            ));
        }
    }
}
