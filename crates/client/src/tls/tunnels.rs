//! Connections between nodes that carry bytes of other connections: HTTP/1.1, one request for each.

use std::io;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::Uri;
use tower::{Service, ServiceExt};

use super::connect::{Server, in_words};
use super::{Protocol, Tls};
use crate::access::Role;
use crate::connection::Guarded;

/// A machine that vanished is noticed within about a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TRIES: u32 = 3;

/// To another node, with certificates or in plain text.
pub type Connected = Either<Guarded<TlsStream<TcpStream>, Server>, TcpStream>;

/// Connects to `host:port` of another node. A server that refuses our certificate says so with the first bytes that are
/// read.
///
/// # Errors
/// No node is there, or not the one that should be.
pub async fn connect(address: &str, tls: Option<&Tls>) -> io::Result<Connected> {
    let uri = format!("http://{address}").parse::<Uri>();
    let uri = uri.map_err(io::Error::other)?;
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
    tcp.ready().await.map_err(io::Error::other)?;
    let stream = tcp.call(uri).await.map_err(io::Error::other)?.into_inner();
    let Some(tls) = tls else {
        return Ok(Either::Right(stream));
    };
    let connector = TlsConnector::from(tls.client(Protocol::Tunnel));
    let connected = connector.connect(name, stream).await;
    let stream = connected.map_err(|error| io::Error::other(in_words(&error)))?;
    let server = tls.admit(&stream, Role::Egress).map_err(io::Error::other)?;
    Ok(Either::Left(Guarded::new(stream, server)))
}
