//! Calls of other people's HTTPS servers: one request on one connection, to public addresses, without redirects, caches or
//! cookies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use skein_dns::{Resolver, is_public};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Of a host with several addresses, so many are tried.
const ADDRESSES_MAX: usize = 4;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Connects and verifies. Clones share the roots.
#[derive(Clone)]
pub struct Https {
    resolver: Arc<Resolver>,
    tls: Arc<ClientConfig>,
    /// 443 but in networks where servers are behind another one.
    port: u16,
    /// Whether servers may have addresses that are not globally routed.
    allow_private: bool,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https")
            .field("port", &self.port)
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server's certificate is not that of the host, or not trusted.
    #[error("{0}")]
    Certificate(String),
    #[error("{0}")]
    Other(String),
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Empty if there is none.
    pub media_type: String,
    pub body: Bytes,
}

impl Https {
    /// # Errors
    /// The provider of cryptography lacks TLS 1.2 or 1.3.
    pub fn new(
        resolver: Arc<Resolver>,
        roots: RootCertStore,
        port: u16,
        allow_private: bool,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            resolver,
            tls: Arc::new(tls),
            port,
            allow_private,
        })
    }

    /// The port of servers that are named without one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a request, whose URI is a path, and reads an answer of so many bytes at most. However long it takes: the caller
    /// has a deadline.
    ///
    /// # Errors
    /// No address gives a connection that is the host's, or the answer is none or too long.
    pub async fn call(
        &self,
        host: &str,
        port: u16,
        mut request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Answer, Fault> {
        let other = |what: &str, error: &dyn std::fmt::Display| {
            Fault::Other(format!("{what} {host}: {error}"))
        };
        let authority = match port {
            443 => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        let authority = hyper::header::HeaderValue::from_str(&authority)
            .map_err(|error| other("asking", &error))?;
        request.headers_mut().insert(hyper::header::HOST, authority);
        let stream = self.connect(host, port).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| other("asking", &error))?;
        let asking = async {
            let answer = sender.send_request(request).await;
            let (head, body) = answer
                .map_err(|error| other("asking", &error))?
                .into_parts();
            let media_type = head
                .headers
                .get(CONTENT_TYPE)
                .and_then(|it| it.to_str().ok());
            let body = Limited::new(body, bytes_max).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => Fault::Other(format!("{host} answers with more than {bytes_max} bytes")),
                false => other("reading the answer of", &error),
            })?;
            Ok(Answer {
                status: head.status,
                media_type: media_type.unwrap_or_default().to_owned(),
                body: body.to_bytes(),
            })
        };
        let mut connection = std::pin::pin!(connection);
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            // The answer may have arrived with the end.
            _ = &mut connection => asking.await,
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, Fault> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Fault::Other(format!("{host:?} is no name of a host")))?;
        // Without the search domains of this machine.
        let addresses = self.resolver.addresses(&format!("{host}.")).await;
        let addresses =
            addresses.map_err(|error| Fault::Other(format!("{host}: {}", error.text())))?;
        let usable = addresses
            .into_iter()
            .filter(|address| self.allow_private || is_public(*address));
        let mut fault = Fault::Other(format!("{host} has no public address"));
        for address in usable.take(ADDRESSES_MAX) {
            let connecting = async {
                let stream = TcpStream::connect((address, port)).await?;
                let tls = TlsConnector::from(self.tls.clone());
                tls.connect(name.clone(), stream).await
            };
            match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => fault = of_connecting(host, &error),
                Err(_) => {
                    fault =
                        Fault::Other(format!("{host} at {address} gives no connection in time"));
                }
            }
        }
        Err(fault)
    }
}

fn of_connecting(host: &str, error: &std::io::Error) -> Fault {
    let tls = error.get_ref().and_then(|error| error.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Fault::Certificate(format!("the certificate of {host} is refused: {why:?}"))
        }
        _ => Fault::Other(format!("connecting to {host}: {error}")),
    }
}
