//! The TCP connection to a proxy that is not of the cluster.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{RouteFault, ViaError};
use crate::io_fault;

/// A proxy is near and is there or not: without an answer in this time it is not.
const PROXY_MAX: Duration = Duration::from_secs(10);

/// Connects to `host:port` or `address:port`.
pub(super) async fn reach(proxy: &str, limit: Duration) -> Result<TcpStream, ViaError> {
    let broken = |reason: &dyn std::fmt::Display| {
        ViaError::route(
            RouteFault::Unreachable,
            format!("the proxy {proxy}: {reason}"),
        )
    };
    let stream = timeout(limit.min(PROXY_MAX), TcpStream::connect(proxy))
        .await
        .map_err(|_| broken(&"no answer"))?
        .map_err(|error| broken(&io_fault::of_io(&error)))?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%proxy, %error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}
