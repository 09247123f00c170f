//! From an address to a session that may begin a transaction.

use std::net::{IpAddr, SocketAddr};

use mail_send::SmtpClient;
use skein_model::Reply as Fact;
use skein_smtp::client::Capabilities;
use skein_smtp::reply::Reply;
use tokio::net::TcpStream;

use crate::config::{Config, TlsPolicy};
use crate::connection::Connection;
use crate::outcome::{fact, from_host};
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
    /// TLS failed, so the host may be spoken to in the clear if policy allows.
    tls_failed: bool,
}

impl NoSession {
    fn weather(host: &Host, doing: &str, error: &SessionError) -> Self {
        let text = format!("{doing} {host}: {error}");
        Self {
            reply: Fact::ours((4, 4, 2), text),
            tls_failed: false,
        }
    }

    fn refused(host: &Host, reply: &Reply) -> Self {
        Self {
            reply: from_host(host, fact(reply)),
            tls_failed: false,
        }
    }
}

/// Connects, greets, and encrypts as policy says.
pub async fn connect(
    config: &Config,
    tls: &TlsConnectors,
    host: &Host,
) -> Result<Connection, NoSession> {
    match connect_with(config, tls, host, config.tls).await {
        Err(failure) if failure.tls_failed && config.tls == TlsPolicy::Opportunistic => {
            tracing::debug!(%host, reply = %failure.reply, "TLS failed; sending in the clear");
            connect_with(config, tls, host, TlsPolicy::Disable).await
        }
        result => result,
    }
}

async fn connect_with(
    config: &Config,
    tls: &TlsConnectors,
    host: &Host,
    policy: TlsPolicy,
) -> Result<Connection, NoSession> {
    let stream = open_stream(config, host).await?;
    let source = stream
        .local_addr()
        .map(|address| address.ip().to_string())
        .ok();
    let limit = config.timeouts.command;
    let mut session = Session::new(stream);
    let greeting = session
        .reply(limit)
        .await
        .map_err(|e| NoSession::weather(host, "greeting of", &e))?;
    if !greeting.is_positive() {
        return Err(NoSession::refused(host, &greeting));
    }
    let capabilities = greet(config, host, &mut session).await?;

    if policy == TlsPolicy::Disable
        || (!capabilities.starttls && policy == TlsPolicy::Opportunistic)
    {
        let stream: Box<dyn Stream> = Box::new(session.into_stream());
        return Ok(Connection::new(
            host.clone(),
            source,
            None,
            capabilities,
            Session::new(stream),
        ));
    }
    if !capabilities.starttls {
        let text = format!("{host} does not offer STARTTLS, which is required here");
        return Err(NoSession {
            reply: Fact::ours((4, 7, 10), text),
            tls_failed: false,
        });
    }
    let connector = if policy == TlsPolicy::Require {
        &tls.verified
    } else {
        &tls.opportunistic
    };
    let client = SmtpClient {
        stream: session.into_stream(),
        timeout: limit,
    };
    let client = client
        .start_tls(connector, &tls_name(host))
        .await
        .map_err(|error| NoSession {
            reply: Fact::ours((4, 7, 5), format!("TLS with {host}: {error}")),
            tls_failed: true,
        })?;
    let description = describe(client.tls_connection());
    let stream: Box<dyn Stream> = Box::new(client.stream);
    let mut session = Session::new(stream);
    let capabilities = greet(config, host, &mut session).await?;
    Ok(Connection::new(
        host.clone(),
        source,
        Some(description),
        capabilities,
        session,
    ))
}

async fn open_stream(config: &Config, host: &Host) -> Result<TcpStream, NoSession> {
    let address = SocketAddr::new(host.address, host.port);
    let limit = config.timeouts.connect;
    let client = match config.source_address {
        Some(source) => SmtpClient::connect_using(source, address, limit).await,
        None => SmtpClient::connect(address, limit).await,
    };
    let stream = client
        .map_err(|error| NoSession {
            reply: Fact::ours((4, 4, 1), format!("connecting to {host}: {error}")),
            tls_failed: false,
        })?
        .stream;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%host, %error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

/// EHLO, or HELO for hosts that do not know it (RFC 5321 3.2).
async fn greet<S: Stream>(
    config: &Config,
    host: &Host,
    session: &mut Session<S>,
) -> Result<Capabilities, NoSession> {
    let limit = config.timeouts.command;
    let doing = "EHLO to";
    let ehlo = format!("EHLO {}\r\n", config.hostname);
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
    let helo = format!("HELO {}\r\n", config.hostname);
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
