//! From an address to a session that may begin a transaction.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use skein_egress::dial;
use skein_egress::via::{RouteFault, ViaError};
use skein_model::Reply as Fact;
use skein_policy::Ip;
use skein_smtp::client::Capabilities;
use skein_smtp::reply::Reply;
use tokio::time::timeout;

use crate::config::Timeouts;
use crate::config::rule::HopPolicy;
use crate::config::tls_policy::TlsPolicy;
use crate::host::Host;
use crate::outcome::{fact, from_host};
use crate::smtp::auth::{self, LoginError};
use crate::smtp::connection::Connection;
use crate::smtp::session::{Session, SessionError, Stream};
use crate::smtp::tls::TlsConnectors;
use crate::smtp::tls_fault;
use crate::source_ip::outbound_stream::OutboundStream;
use crate::source_ip::router::{Opened, SourceIpRouter};

/// A handshake costs both sides milliseconds and two round trips: a host that has not ended it by then does not, and another
/// way is open to most mail. A command may take five minutes, in which nothing would go there.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The replies to STARTTLS, and the first one under TLS, of a host that answered EHLO in the clear a moment ago.
const FIRST_REPLY: Duration = Duration::from_secs(30);

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
    /// TLS was begun, or refused for good, and no reply came under it.
    TlsFailed,
    /// The host says that it gives no TLS at this moment.
    TlsNotNow,
    /// TLS is needed and not offered.
    NoTls,
    /// The source IP cannot be used, whatever the host: its node, its proxy, or where it is.
    Source,
    /// The source IP takes no connection now and may in a second.
    SourceBusy,
}

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

/// RFC 3463: no answer from the host.
const NO_ANSWER: (u8, u16, u16) = (4, 4, 1);

impl NoSession {
    /// Whether there was not even a connection.
    pub fn is_unreachable(&self) -> bool {
        self.cause == Cause::Host
            && self.reply.host.is_none()
            && self.reply.enhanced == Some(NO_ANSWER)
    }

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

    /// Whether the host may be better off without TLS.
    pub fn is_of_tls(&self) -> bool {
        matches!(self.cause, Cause::TlsFailed | Cause::TlsNotNow)
    }

    /// Says that the proxy may be at fault, where it does not tell.
    fn through_a_proxy(mut self) -> Self {
        if self.reply.host.is_none() {
            self.reply
                .text
                .push_str(" (the proxy between does not say why)");
            self.reply = self.reply.bounded();
        }
        self
    }

    fn tls(host: &Host, error: &dyn std::fmt::Display) -> Self {
        let text = format!("TLS with {host}: {error}");
        Self::ours(Cause::TlsFailed, (4, 7, 5), text)
    }

    fn no_starttls(host: &Host, reply: &Reply) -> Self {
        let error = format!("STARTTLS was answered with {reply}");
        let cause = match reply.is_permanent() {
            true => Cause::TlsFailed,
            false => Cause::TlsNotNow,
        };
        Self {
            cause,
            ..Self::tls(host, &error)
        }
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
        let opened = open_stream(self.hop, self.host).await?;
        let spoken = self.speak(opened.wire, tls, opened.source).await;
        let mut connection = spoken.map_err(|failure| match opened.hides_failures {
            true => failure.through_a_proxy(),
            false => failure,
        })?;
        connection.revocation = opened.revocation;
        Ok(connection)
    }

    async fn speak(
        &self,
        wire: OutboundStream,
        tls: TlsPolicy,
        source: Option<String>,
    ) -> Result<Connection, NoSession> {
        let (hop, host) = (self.hop, self.host);
        if hop.policy.implicit_tls {
            let (session, description) = self.encrypt(wire, tls).await?;
            return self.greet(session, source, description, true).await;
        }
        let mut session = Session::new(wire);
        self.read_greeting(&mut session, Under::Clear).await?;
        let capabilities = greet(hop, host, &mut session, Under::Clear).await?;
        if tls == TlsPolicy::Disable || (!capabilities.starttls && tls != TlsPolicy::Require) {
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
        let (session, description) = self.encrypt(session.into_stream(), tls).await?;
        self.greet(session, source, description, false).await
    }

    /// Shakes hands, whatever the bytes go over.
    async fn encrypt(
        &self,
        wire: OutboundStream,
        policy: TlsPolicy,
    ) -> Result<(Session, String), NoSession> {
        let host = self.host;
        let limit = self.hop.timeouts.command.min(HANDSHAKE);
        let name = ServerName::try_from(tls_name(host));
        let name = name.map_err(|_| NoSession::tls(host, &tls_fault::BAD_NAME))?;
        let shaken = timeout(limit, self.tls.of(policy).connect(name, wire)).await;
        let stream = shaken
            .map_err(|_| NoSession::tls(host, &SessionError::Timeout(limit)))?
            .map_err(|error| NoSession::tls(host, &tls_fault::of_tls(&error)))?;
        let description = describe(stream.get_ref().1);
        let stream: Box<dyn Stream> = Box::new(stream);
        Ok((Session::new(stream), description))
    }

    async fn read_greeting<S: Stream>(
        &self,
        session: &mut Session<S>,
        under: Under,
    ) -> Result<(), NoSession> {
        let greeting = session
            .reply(self.hop.timeouts.command)
            .await
            .map_err(|e| under.lost(self.host, "greeting of", &e))?;
        match greeting.is_positive() {
            true => Ok(()),
            false => Err(NoSession::refused(self.host, &greeting)),
        }
    }

    /// What follows a handshake. A client's handshake has ended before the server has seen its last part, so that the host
    /// can do TLS is known from its first reply only (RFC 8446 4.4.4, 6.2).
    async fn greet(
        &self,
        mut session: Session,
        source: Option<String>,
        tls: String,
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

async fn open_stream(hop: &Hop<'_>, host: &Host) -> Result<Opened, NoSession> {
    let address = SocketAddr::new(host.address, host.port);
    let limit = hop.timeouts.connect;
    match hop.from {
        SourceAddress::Node(source) => {
            let source = source.filter(|source| can_reach(*source, host.address));
            let stream = dial(source, address, limit).await.map_err(|error| {
                let text = format!("connecting to {host}: {error}");
                NoSession::ours(Cause::Host, NO_ANSWER, text)
            })?;
            let source = stream.local_addr().map(|address| address.ip().to_string());
            Ok(Opened {
                wire: OutboundStream::Own(stream),
                source: source.ok(),
                revocation: None,
                hides_failures: false,
            })
        }
        SourceAddress::Pool(ip, router) => {
            let opened = router.open(ip, address, limit).await;
            opened.map_err(|error| no_way(ip, host, &error))
        }
    }
}

/// Whether a source is of the family of a target. From one that is not, nothing is reached: the system chooses another.
fn can_reach(source: IpAddr, target: IpAddr) -> bool {
    source.is_ipv4() == target.is_ipv4()
}

/// Only what is said of the host counts against it. What a proxy does not explain is no reason to leave the IP alone.
fn no_way(ip: &Ip, host: &Host, error: &ViaError) -> NoSession {
    let ViaError::Route { fault, .. } = error else {
        let text = format!("connecting to {host} from ip {}: {error}", ip.name);
        return NoSession::ours(Cause::Host, NO_ANSWER, text);
    };
    let cause = match fault {
        RouteFault::Stale
        | RouteFault::Ahead
        | RouteFault::NotHeld
        | RouteFault::Cap
        | RouteFault::Full => Cause::SourceBusy,
        _ => Cause::Source,
    };
    let text = format!("ip {} cannot be used: {error}", ip.name);
    NoSession::ours(cause, (4, 4, 0), text)
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
    let doing = "EHLO to";
    let ehlo = format!("EHLO {}\r\n", hop.ehlo);
    let first = match under {
        Under::NewTls => limit.min(FIRST_REPLY),
        Under::Clear | Under::Tls => limit,
    };
    let reply = session
        .command(&ehlo, first)
        .await
        .map_err(|e| under.lost(host, doing, &e))?;
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_source_reaches_its_own_family() {
        for (source, target, expected) in [
            ("192.0.2.1", "192.0.2.9", true),
            ("192.0.2.1", "2001:db8::9", false),
            ("2001:db8::1", "2001:db8::9", true),
            ("2001:db8::1", "192.0.2.9", false),
        ] {
            let reached = can_reach(source.parse().unwrap(), target.parse().unwrap());
            assert_eq!(reached, expected, "{source} to {target}");
        }
    }
}
