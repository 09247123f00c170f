//! From an address to a session that may begin a transaction.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use skein_policy::Ip;
use skein_smtp::client::Capabilities;
use skein_smtp::secret::Secret;
use skein_tls::{Demand, Proof};
use tokio::time::timeout;

use crate::config::Timeouts;
use crate::config::protocol::Protocol;
use crate::config::rule::HopPolicy;
use crate::host::Host;
use crate::smtp::auth::{self, LoginError};
use crate::smtp::connection::Connection;
use crate::smtp::no_session::{Cause, NoSession};
use crate::smtp::open_stream::open_stream;
use crate::smtp::session::{Session, SessionError, Stream};
use crate::smtp::times::{Phase, Times};
use crate::smtp::tls::TlsClient;
use crate::smtp::tls_fault;
use crate::source_ip::outbound_stream::OutboundStream;
use crate::source_ip::router::SourceIpRouter;

/// A handshake costs both sides milliseconds and two round trips: a host that has not ended it by then does not, and another
/// way is open to most mail. A command may take five minutes, in which nothing would go there.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The replies to STARTTLS, and the first one under TLS, of a host that answered EHLO in the clear a moment ago.
const FIRST_REPLY: Duration = Duration::from_secs(30);

/// Where a connection comes from, and how long the other side may take.
#[derive(Debug)]
pub struct Hop<'a> {
    pub ehlo: &'a str,
    pub from: SourceAddress<'a>,
    pub policy: &'a HopPolicy,
    pub timeouts: &'a Timeouts,
}

#[derive(Debug, Clone, Copy)]
pub enum SourceAddress<'a> {
    /// The address of the node's configuration, or any.
    Node(Option<IpAddr>),
    /// An IP of a pool.
    Pool(&'a Arc<Ip>, &'a Arc<SourceIpRouter>),
}

/// Connects, greets, encrypts and logs in. What is demanded of the host may be less after a failure. `secret` is what the login
/// needs, if there is one.
pub async fn connect(
    hop: &Hop<'_>,
    tls: &TlsClient,
    demand: &Demand,
    host: &Host,
    secret: Option<Secret>,
) -> Result<Connection, NoSession> {
    let connecting = Connecting {
        hop,
        tls,
        host,
        secret,
        setup: Times::default(),
    };
    connecting.connect(demand).await
}

struct Connecting<'a> {
    hop: &'a Hop<'a>,
    tls: &'a TlsClient,
    host: &'a Host,
    secret: Option<Secret>,
    /// The steps that have ended.
    setup: Times,
}

/// What TLS with a host has come to.
struct Secured {
    /// Version and cipher.
    description: String,
    proof: Proof,
}

impl Secured {
    /// What a connection keeps of it; none: it is in the clear.
    fn told(tls: Option<Self>) -> (Option<String>, Proof) {
        match tls {
            Some(secured) => (Some(secured.description), secured.proof),
            None => (None, Proof::clear()),
        }
    }
}

impl Connecting<'_> {
    async fn connect(mut self, demand: &Demand) -> Result<Connection, NoSession> {
        if self.hop.policy.protocol == Protocol::Discard {
            return Ok(self.nowhere());
        }
        let began = Instant::now();
        let opened = open_stream(self.hop, self.host).await?;
        self.setup.ended(Phase::Connect, began);
        let spoken = self.speak(opened.wire, demand, opened.source).await;
        let mut connection = spoken.map_err(|failure| match opened.hides_failures {
            true => failure.through_a_proxy(),
            false => failure,
        })?;
        connection.revocation = opened.revocation;
        Ok(connection)
    }

    async fn speak(
        &mut self,
        wire: OutboundStream,
        demand: &Demand,
        source: Option<String>,
    ) -> Result<Connection, NoSession> {
        let (hop, host) = (self.hop, self.host);
        if let Protocol::Http(_) = &hop.policy.protocol {
            return self.speak_http(wire, demand, source).await;
        }
        if hop.policy.implicit_tls {
            let (session, secured) = self.encrypt(wire, demand).await?;
            return self.greet(session, source, secured, true).await;
        }
        let mut session = Session::new(wire);
        self.read_greeting(&mut session, Under::Clear).await?;
        let capabilities = greet(hop, host, &mut session, Under::Clear).await?;
        if *demand == Demand::Clear || (!capabilities.starttls && !demand.needs_tls()) {
            let stream: Box<dyn Stream> = Box::new(session.into_stream());
            let session = Session::new(stream);
            return self.log_in(session, source, None, capabilities).await;
        }
        if !capabilities.starttls {
            let text = format!("{host} does not offer STARTTLS, which is required here");
            return Err(NoSession::ours(Cause::NoTls, (4, 7, 10), text));
        }
        let limit = hop.timeouts.command.min(FIRST_REPLY);
        let reply = session.command("STARTTLS\r\n", limit).await;
        let reply = reply.map_err(|error| NoSession::tls(host, &error))?;
        if !reply.is_positive() {
            return Err(NoSession::no_starttls(host, &reply));
        }
        let (session, secured) = self.encrypt(session.into_stream(), demand).await?;
        self.greet(session, source, secured, false).await
    }

    /// Nothing is said before the first request.
    async fn speak_http(
        &mut self,
        wire: OutboundStream,
        demand: &Demand,
        source: Option<String>,
    ) -> Result<Connection, NoSession> {
        let (session, secured) = match self.hop.policy.implicit_tls {
            true => {
                let (session, secured) = self.encrypt(wire, demand).await?;
                (session, Some(secured))
            }
            false => {
                let stream: Box<dyn Stream> = Box::new(wire);
                (Session::new(stream), None)
            }
        };
        Ok(self.speaking(session, source, secured))
    }

    /// For mail that has no next hop.
    fn nowhere(&self) -> Connection {
        let stream: Box<dyn Stream> = Box::new(tokio::io::empty());
        self.speaking(Session::new(stream), None, None)
    }

    /// One whose other side takes any octets.
    fn speaking(
        &self,
        session: Session,
        source: Option<String>,
        tls: Option<Secured>,
    ) -> Connection {
        let capabilities = Capabilities {
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            ..Capabilities::default()
        };
        let (host, setup) = (self.host.clone(), self.setup.clone());
        let tls = Secured::told(tls);
        let connection = Connection::new(host, source, tls, capabilities, session, setup);
        connection.speaking(self.hop.policy.protocol.clone())
    }

    /// Shakes hands, whatever the bytes go over.
    async fn encrypt(
        &mut self,
        wire: OutboundStream,
        demand: &Demand,
    ) -> Result<(Session, Secured), NoSession> {
        let (host, began) = (self.host, Instant::now());
        let limit = self.hop.timeouts.command.min(HANDSHAKE);
        let bad_name = |_| NoSession::tls(host, &tls_fault::BAD_NAME);
        let name = ServerName::try_from(tls_name(host)).map_err(bad_name)?;
        let asked = match demand.server_name() {
            Some(base) => ServerName::try_from(base.to_owned()).map_err(bad_name)?,
            None => name.clone(),
        };
        let handshake = self.tls.handshake(name, demand);
        let shaken = timeout(limit, handshake.connector.connect(asked, wire)).await;
        let stream = shaken
            .map_err(|_| NoSession::tls(host, &SessionError::Timeout(limit)))?
            .map_err(|error| match handshake.verifier.fault() {
                Some(fault) => NoSession::certificate(host, fault),
                None => NoSession::tls(host, &tls_fault::of_tls(&error)),
            })?;
        self.setup.ended(Phase::Tls, began);
        let secured = Secured {
            description: describe(stream.get_ref().1),
            proof: handshake.verifier.proof(),
        };
        let stream: Box<dyn Stream> = Box::new(stream);
        Ok((Session::new(stream), secured))
    }

    async fn read_greeting<S: Stream>(
        &mut self,
        session: &mut Session<S>,
        under: Under,
    ) -> Result<(), NoSession> {
        let began = Instant::now();
        let greeting = session
            .reply(self.hop.timeouts.command)
            .await
            .map_err(|e| under.lost(self.host, "greeting of", &e))?;
        self.setup.ended(Phase::Greeting, began);
        match greeting.is_positive() {
            true => Ok(()),
            false => Err(NoSession::refused(self.host, &greeting)),
        }
    }

    /// What follows a handshake. A client's handshake has ended before the server has seen its last part, so that the host
    /// can do TLS is known from its first reply only (RFC 8446 4.4.4, 6.2).
    async fn greet(
        &mut self,
        mut session: Session,
        source: Option<String>,
        tls: Secured,
        greeting_is_due: bool,
    ) -> Result<Connection, NoSession> {
        let mut under = Under::NewTls;
        if greeting_is_due {
            self.read_greeting(&mut session, under).await?;
            under = Under::Tls;
        }
        let capabilities = greet(self.hop, self.host, &mut session, under).await?;
        self.log_in(session, source, Some(tls), capabilities).await
    }

    async fn log_in(
        &self,
        mut session: Session,
        source: Option<String>,
        tls: Option<Secured>,
        capabilities: Capabilities,
    ) -> Result<Connection, NoSession> {
        let host = self.host;
        if let (Some(login), Some(secret)) = (&self.hop.policy.login, &self.secret) {
            if tls.is_none() && !login.allow_plaintext {
                let text = format!("{host} gives no TLS, and the login is not sent without it");
                return Err(NoSession::ours(Cause::NoTls, (4, 7, 10), text));
            }
            let limit = self.hop.timeouts.command;
            let logged_in = auth::log_in(session, host, &capabilities, login, secret, limit).await;
            session = logged_in.map_err(|error| match error {
                LoginError::Refused(reply) => NoSession::refused(host, &reply),
                LoginError::Session(error) => NoSession::weather(host, "login at", &error),
                LoginError::NoMechanism { .. } => {
                    let text = format!("login at {host}: {error}");
                    NoSession::ours(Cause::Host, (4, 7, 4), text)
                }
            })?;
        }
        Ok(Connection::new(
            host.clone(),
            source,
            Secured::told(tls),
            capabilities,
            session,
            self.setup.clone(),
        ))
    }
}

/// What a dialogue goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    Clear,
    /// No reply has come under it.
    NewTls,
    Tls,
}

impl Under {
    /// A reply did not come.
    fn lost(self, host: &Host, doing: &str, error: &SessionError) -> NoSession {
        match self {
            Self::NewTls => {
                let text = format!("after the handshake, {doing} the host: {error}");
                NoSession::tls(host, &text)
            }
            Self::Clear | Self::Tls => NoSession::weather(host, doing, error),
        }
    }
}

/// EHLO, or HELO for hosts that do not know it (RFC 5321 3.2).
async fn greet<S: Stream>(
    hop: &Hop<'_>,
    host: &Host,
    session: &mut Session<S>,
    under: Under,
) -> Result<Capabilities, NoSession> {
    let limit = hop.timeouts.command;
    let is_lmtp = hop.policy.protocol == Protocol::Lmtp;
    let (verb, doing) = match is_lmtp {
        true => ("LHLO", "LHLO to"),
        false => ("EHLO", "EHLO to"),
    };
    let ehlo = format!("{verb} {}\r\n", hop.ehlo);
    let first = match under {
        Under::NewTls => limit.min(FIRST_REPLY),
        Under::Clear | Under::Tls => limit,
    };
    let reply = session
        .command(&ehlo, first)
        .await
        .map_err(|e| under.lost(host, doing, &e))?;
    if reply.is_positive() {
        return Ok(Capabilities {
            lmtp: is_lmtp,
            ..Capabilities::parse(&reply)
        });
    }
    if is_lmtp || !reply.is_permanent() {
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
