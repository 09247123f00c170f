//! The side that listens.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::TcpIncoming;

use super::certificates::{Certificates, TlsError, provider};
use super::seldom::Seldom;
use super::{ALPN, Tls};

/// Longer than a client waits for its connection.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Handshakes at a time: more than a cluster has nodes, and few enough that silent strangers hold little memory.
const HANDSHAKES_MAX: usize = 256;

pub(super) fn server_config(certificates: &Certificates) -> Result<Arc<ServerConfig>, TlsError> {
    let clients =
        WebPkiClientVerifier::builder_with_provider(certificates.roots.clone(), provider())
            .build()
            .map_err(|_| TlsError::NoCertificate)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificates.own.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The connections of those who show a certificate of the authorities; others are closed, with a line in the log.
pub fn accept(
    listener: TcpListener,
    tls: Tls,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    accept_with(TcpIncoming::from(listener), move || tls.server())
}

pub(super) fn accept_with(
    incoming: TcpIncoming,
    config: impl Fn() -> Arc<ServerConfig>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let refused = Arc::new(Seldom::default());
    incoming
        .with_nodelay(Some(true))
        .map(move |stream| {
            let (acceptor, refused) = (TlsAcceptor::from(config()), refused.clone());
            async move {
                let shaken = tokio::spawn(shake_hands(acceptor, stream?, refused));
                shaken.await.unwrap_or(None).map(Ok).transpose()
            }
        })
        .buffer_unordered(HANDSHAKES_MAX)
        .filter_map(|shaken| std::future::ready(shaken.transpose()))
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    refused: Arc<Seldom>,
) -> Option<TlsStream<TcpStream>> {
    let peer = stream.peer_addr().ok();
    let shaken = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await;
    let error = match shaken {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    // Whoever says nothing only looks whether the port is open.
    if error.kind() != io::ErrorKind::UnexpectedEof
        && let Some(more) = refused.pass(Instant::now())
    {
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        tracing::warn!(%peer, %error, more, "a connection without a good certificate is refused");
    }
    None
}
