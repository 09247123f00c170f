//! The side that connects.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{Service, ServiceExt};

use super::certificates::{TlsError, is_other_ca, provider};
use super::revoked::Watched;
use super::{Protocol, Tls};
use crate::access::{Caller, Holder, Role};
use crate::channel::tune;
use crate::connection::{Guarded, Line};
use crate::log_limit::LogLimit;

/// Our servers speak as soon as they have accepted a certificate; of a proxy between us this need not be true.
const SPEAKS_WITHIN: Duration = Duration::from_secs(1);

/// Without a certificate of its own, a client is accepted only by servers that ask for none.
///
/// # Errors
/// The TLS library refuses.
pub fn client_config(
    roots: Arc<RootCertStore>,
    own: Option<Arc<CertifiedKey>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    config_for(roots, own, Protocol::Grpc)
}

pub(super) fn config_for(
    roots: Arc<RootCertStore>,
    own: Option<Arc<CertifiedKey>>,
    protocol: Protocol,
) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let own: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(own));
            config.with_client_cert_resolver(own)
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A TLS channel to `host:port` that connects when it is first used and again when it breaks. What is shown there is not
/// looked at for roles: it is for people, who know whom they ask.
///
/// # Errors
/// The address is not like `host:port`.
pub fn connect(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    channel(address, move || (config.clone(), None))
}

impl Tls {
    /// A channel to a control node, with the certificates of the moment when it connects.
    ///
    /// # Errors
    /// The address is not like `host:port`.
    pub fn channel(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let tls = self.clone();
        channel(address, move || {
            (tls.client(Protocol::Grpc), Some(tls.clone()))
        })
    }

    /// Whether the server that showed this certificate is what it must be, and the certificate is not revoked.
    pub(super) fn admit(
        &self,
        stream: &TlsStream<TcpStream>,
        role: Role,
    ) -> Result<Server, ConnectError> {
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(|chain| chain.first());
        let shown = shown.ok_or_else(|| ConnectError::Tls("the server shows nothing".into()))?;
        let holder = Holder::of(shown).map_err(|error| ConnectError::Tls(error.to_string()))?;
        let line = Arc::new(Line::new(Instant::now()));
        let watched = self.watch(&holder.serial, line.clone()).ok_or_else(|| {
            ConnectError::Tls(format!(
                "the server's certificate {} is revoked",
                holder.serial
            ))
        })?;
        Caller::Holder(Arc::new(holder), self.role_rule())
            .is_any(&[role])
            .map_err(|denied| ConnectError::Tls(denied.to_string()))?;
        Ok(Server {
            line,
            _watched: Some(watched),
        })
    }
}

/// What ends the connection to a server.
#[derive(Debug)]
pub struct Server {
    line: Arc<Line>,
    _watched: Option<Watched>,
}

impl Server {
    /// Only the server itself.
    fn unwatched() -> Self {
        Self {
            line: Arc::new(Line::new(Instant::now())),
            _watched: None,
        }
    }
}

impl AsRef<Line> for Server {
    fn as_ref(&self) -> &Line {
        &self.line
    }
}

type Ask = (Arc<ClientConfig>, Option<Tls>);

fn channel(
    address: &str,
    ask: impl Fn() -> Ask + Send + Sync + 'static,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let origin = Endpoint::from_shared(format!("https://{address}"))?;
    let endpoint = tune(endpoint).origin(origin.uri().clone());
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let failed = Arc::new(LogLimit::default());
    let connector = tower::service_fn(move |uri: Uri| {
        let (tcp, (config, tls), failed) = (tcp.clone(), ask(), failed.clone());
        async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            let connected = handshake(tcp, uri, config).await;
            let connected = connected.and_then(|stream| {
                let server = match tls {
                    Some(tls) => tls.admit(&stream, Role::Control)?,
                    None => Server::unwatched(),
                };
                Ok(Guarded::new(stream, server))
            });
            if let Err(ConnectError::Tls(error)) = &connected
                && let Some(more) = failed.pass(Instant::now())
            {
                tracing::warn!(%address, %error, more, "no TLS connection");
            }
            connected.map(TokioIo::new)
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Tcp(#[source] tower::BoxError),
    #[error("TLS: {0}")]
    Tls(String),
}

pub(super) async fn handshake(
    mut tcp: HttpConnector,
    uri: Uri,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let tls = |error: io::Error| ConnectError::Tls(in_words(&error));
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| ConnectError::Tls(format!("{host:?} is not a host name")))?;
    let connected = async { tcp.ready().await?.call(uri).await }.await;
    let stream = connected.map_err(|error| ConnectError::Tcp(error.into()))?;
    let connector = TlsConnector::from(config);
    let mut stream = connector
        .connect(name, stream.into_inner())
        .await
        .map_err(tls)?;
    // A server looks at our certificate when the handshake is over for us. Nothing is sent until it has spoken, so that
    // its refusal arrives as such and not as a broken connection.
    let spoken = async { stream.fill_buf().await.map(<[u8]>::is_empty) };
    match tokio::time::timeout(SPEAKS_WITHIN, spoken).await {
        Ok(Ok(false)) | Err(_) => Ok(stream),
        Ok(Ok(true)) => Err(tls(io::ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) => Err(tls(error)),
    }
}

/// What is wrong and on which side, where the library only names an alert.
pub(super) fn in_words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            "the server demands a certificate and none was shown".into()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the server refuses our certificate ({alert:?})")
        }
        Some(rustls::Error::InvalidCertificate(why)) if is_other_ca(why) => {
            "the server's certificate is of another CA than ours".into()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("the server's certificate is refused: {why}")
        }
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS".into(),
        _ => error.to_string(),
    }
}
