//! Connections between nodes that carry somebody's bytes: HTTP/1.1, one request for each.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client, server};
use tokio_util::either::Either;
use tonic::transport::Uri;
use tonic::transport::server::TcpIncoming;
use tower::{Service, ServiceExt};

use super::Tls;
use super::accept::accept_with;
use super::connect::in_words;

/// So that no client of gRPC takes this port for another.
const ALPN: &[u8] = b"http/1.1";
/// A machine that vanished is noticed within about a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TRIES: u32 = 3;

pub(super) fn server_config(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

pub(super) fn client_config(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// What another node sends and is sent, with certificates or in plain text.
pub type Accepted = Either<server::TlsStream<TcpStream>, TcpStream>;
pub type Connected = Either<client::TlsStream<TcpStream>, TcpStream>;

/// Connections of other nodes. With TLS: of those that have shown a certificate of the authorities.
pub fn accept(listener: TcpListener, tls: Option<Tls>) -> BoxStream<'static, io::Result<Accepted>> {
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(KEEPALIVE))
        .with_keepalive_interval(Some(KEEPALIVE))
        .with_keepalive_retries(Some(KEEPALIVE_TRIES));
    match tls {
        Some(tls) => accept_with(incoming, move || tls.now.read().tunnel_server.clone())
            .map_ok(Either::Left)
            .boxed(),
        None => incoming.map_ok(Either::Right).boxed(),
    }
}

/// Connects to `host:port` of another node. A server that refuses our certificate says so with the first bytes that are
/// read.
///
/// # Errors
/// Nobody is there, or not who should be.
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
    let connector = TlsConnector::from(tls.now.read().tunnel_client.clone());
    let connected = connector.connect(name, stream).await;
    let stream = connected.map_err(|error| io::Error::other(in_words(&error)))?;
    Ok(Either::Left(stream))
}
