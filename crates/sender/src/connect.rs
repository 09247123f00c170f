//! From an address to a session that may begin a transaction.

use std::net::{IpAddr, SocketAddr};

use mail_send::SmtpClient;
use skein_model::Reply as Fact;
use skein_smtp::client::Capabilities;
use skein_smtp::reply::Reply;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::auth::{self, LoginError};
use crate::config::{Timeouts, TlsPolicy};
use crate::connection::Connection;
use crate::outcome::{fact, from_host};
use crate::rule::HopPolicy;
use crate::session::{Session, SessionError, Stream};
use crate::tls::TlsConnectors;

/// A host that may take the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]:{}", self.name, self.address, self.port)
    }
}

/// Why a host did not get as far as a transaction.
#[derive(Debug)]
pub struct NoSession {
    pub reply: Fact,
    pub cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The network, or what the host says to everybody.
    Host,
    /// TLS was begun and failed.
    TlsFailed,
    /// TLS is needed and not offered.
    NoTls,
    /// The source address cannot be bound.
    Source,
}

/// Where a connection comes from, and how long the other side may take.
#[derive(Debug)]
pub struct Hop<'a> {
    pub ehlo: &'a str,
    pub from: SourceAddress,
    pub policy: &'a HopPolicy,
    pub timeouts: &'a Timeouts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceAddress {
    /// The address of the node's configuration, or any.
    Node(Option<IpAddr>),
    /// An IP of a pool.
    Pool(IpAddr),
}

impl NoSession {
    fn weather(host: &Host, doing: &str, error: &SessionError) -> Self {
        let text = format!("{doing} {host}: {error}");
        Self::ours(Cause::Host, (4, 4, 2), text)
    }

    fn refused(host: &Host, reply: &Reply) -> Self {
        Self {
            reply: from_host(host, fact(reply)),
            cause: Cause::Host,
        }
    }

    fn ours(cause: Cause, enhanced: (u8, u16, u16), text: String) -> Self {
        Self {
            reply: Fact::ours(enhanced, text).bounded(),
            cause,
        }
    }

    fn tls(host: &Host, error: &mail_send::Error) -> Self {
        let text = format!("TLS with {host}: {error}");
        Self::ours(Cause::TlsFailed, (4, 7, 5), text)
    }
}

/// Connects, greets, encrypts and logs in as policy says, but for `policy`, which may be weaker after a failure.
pub async fn connect(
    hop: &Hop<'_>,
    tls: &TlsConnectors,
    policy: TlsPolicy,
    host: &Host,
) -> Result<Connection, NoSession> {
    Connecting { hop, tls, host }.connect(policy).await
}

struct Connecting<'a> {
    hop: &'a Hop<'a>,
    tls: &'a TlsConnectors,
    host: &'a Host,
}

impl Connecting<'_> {
    async fn connect(&self, tls: TlsPolicy) -> Result<Connection, NoSession> {
        let (hop, host) = (self.hop, self.host);
        let stream = open_stream(hop, host).await?;
        let source = stream
            .local_addr()
            .map(|address| address.ip().to_string())
            .ok();
        if hop.policy.implicit_tls {
            let client = self.client(stream);
            let client = client
                .into_tls(self.tls.of(tls), &tls_name(host))
                .await
                .map_err(|error| NoSession::tls(host, &error))?;
            let (session, description) = encrypted(client);
            return self.greet(session, source, Some(description), true).await;
        }
        let mut session = Session::new(stream);
        self.read_greeting(&mut session).await?;
        let capabilities = greet(hop, host, &mut session).await?;
        if tls == TlsPolicy::Disable || (!capabilities.starttls && tls != TlsPolicy::Require) {
            let stream: Box<dyn Stream> = Box::new(session.into_stream());
            let session = Session::new(stream);
            return self.log_in(session, source, None, capabilities).await;
        }
        if !capabilities.starttls {
            let text = format!("{host} does not offer STARTTLS, which is required here");
            return Err(NoSession::ours(Cause::NoTls, (4, 7, 10), text));
        }
        let client = self
            .client(session.into_stream())
            .start_tls(self.tls.of(tls), &tls_name(host))
            .await
            .map_err(|error| NoSession::tls(host, &error))?;
        let (session, description) = encrypted(client);
        self.greet(session, source, Some(description), false).await
    }

    fn client(&self, stream: TcpStream) -> SmtpClient<TcpStream> {
        SmtpClient {
            stream,
            timeout: self.hop.timeouts.command,
        }
    }

    async fn read_greeting<S: Stream>(&self, session: &mut Session<S>) -> Result<(), NoSession> {
        let greeting = session
            .reply(self.hop.timeouts.command)
            .await
            .map_err(|e| NoSession::weather(self.host, "greeting of", &e))?;
        match greeting.is_positive() {
            true => Ok(()),
            false => Err(NoSession::refused(self.host, &greeting)),
        }
    }

    /// What follows a handshake.
    async fn greet(
        &self,
        mut session: Session,
        source: Option<String>,
        tls: Option<String>,
        greeting_is_due: bool,
    ) -> Result<Connection, NoSession> {
        if greeting_is_due {
            self.read_greeting(&mut session).await?;
        }
        let capabilities = greet(self.hop, self.host, &mut session).await?;
        self.log_in(session, source, tls, capabilities).await
    }

    async fn log_in(
        &self,
        mut session: Session,
        source: Option<String>,
        tls: Option<String>,
        capabilities: Capabilities,
    ) -> Result<Connection, NoSession> {
        let host = self.host;
        if let Some(login) = &self.hop.policy.login {
            if tls.is_none() && !login.allow_plaintext {
                let text = format!("{host} gives no TLS, and the login is not sent without it");
                return Err(NoSession::ours(Cause::NoTls, (4, 7, 10), text));
            }
            let limit = self.hop.timeouts.command;
            auth::log_in(&mut session, &capabilities, login, limit)
                .await
                .map_err(|error| match error {
                    LoginError::Refused(reply) => NoSession::refused(host, &reply),
                    LoginError::Session(error) => NoSession::weather(host, "login at", &error),
                    LoginError::NoMechanism => {
                        let text = format!("login at {host}: {error}");
                        NoSession::ours(Cause::Host, (4, 7, 4), text)
                    }
                })?;
        }
        Ok(Connection::new(
            host.clone(),
            source,
            tls,
            capabilities,
            session,
        ))
    }
}

fn encrypted(client: SmtpClient<TlsStream<TcpStream>>) -> (Session, String) {
    let description = describe(client.tls_connection());
    let stream: Box<dyn Stream> = Box::new(client.stream);
    (Session::new(stream), description)
}

async fn open_stream(hop: &Hop<'_>, host: &Host) -> Result<TcpStream, NoSession> {
    let address = SocketAddr::new(host.address, host.port);
    let limit = hop.timeouts.connect;
    let failed = |error: &dyn std::fmt::Display| {
        let text = format!("connecting to {host}: {error}");
        NoSession::ours(Cause::Host, (4, 4, 1), text)
    };
    let stream = match hop.from {
        SourceAddress::Node(None) => {
            SmtpClient::connect(address, limit)
                .await
                .map_err(|error| failed(&error))?
                .stream
        }
        SourceAddress::Node(Some(source)) => {
            SmtpClient::connect_using(source, address, limit)
                .await
                .map_err(|error| failed(&error))?
                .stream
        }
        SourceAddress::Pool(source) => {
            let socket = bind(source).map_err(|error| {
                let text = format!("{source} cannot be bound: {error}");
                NoSession::ours(Cause::Source, (4, 4, 0), text)
            })?;
            let connected = tokio::time::timeout(limit, socket.connect(address)).await;
            connected
                .map_err(|_| failed(&SessionError::Timeout(limit)))?
                .map_err(|error| failed(&error))?
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%host, %error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

fn bind(source: IpAddr) -> std::io::Result<TcpSocket> {
    let socket = match source.is_ipv4() {
        true => TcpSocket::new_v4(),
        false => TcpSocket::new_v6(),
    }?;
    socket.bind(SocketAddr::new(source, 0))?;
    Ok(socket)
}

/// EHLO, or HELO for hosts that do not know it (RFC 5321 3.2).
async fn greet<S: Stream>(
    hop: &Hop<'_>,
    host: &Host,
    session: &mut Session<S>,
) -> Result<Capabilities, NoSession> {
    let limit = hop.timeouts.command;
    let doing = "EHLO to";
    let ehlo = format!("EHLO {}\r\n", hop.ehlo);
    let reply = session
        .command(&ehlo, limit)
        .await
        .map_err(|e| NoSession::weather(host, doing, &e))?;
    if reply.is_positive() {
        return Ok(Capabilities::parse(&reply));
    }
    if !reply.is_permanent() {
        return Err(NoSession::refused(host, &reply));
    }
    let helo = format!("HELO {}\r\n", hop.ehlo);
    let reply = session
        .command(&helo, limit)
        .await
        .map_err(|e| NoSession::weather(host, doing, &e))?;
    if reply.is_positive() {
        Ok(Capabilities::default())
    } else {
        Err(NoSession::refused(host, &reply))
    }
}

/// The name for SNI and verification: the MX host's, or its address for a literal.
fn tls_name(host: &Host) -> String {
    if host.name.starts_with('[') {
        host.address.to_string()
    } else {
        host.name.clone()
    }
}

fn describe(connection: &rustls::ClientConnection) -> String {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    match connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
    {
        Some(cipher) => format!("{version} {cipher}"),
        None => version.to_owned(),
    }
}
