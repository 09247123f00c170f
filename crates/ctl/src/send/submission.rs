//! The dialogue with the server: from the connection to the reply to the final dot.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mail_send::{Credentials, SmtpClient};
use rustls::ClientConnection;
use smtp_proto::EXT_START_TLS;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::advice::{self, Phase, Place};
use super::envelope::Envelope;
use super::problem::Problem;
use super::target::{Target, TlsMode};
use crate::smtp::certificate::Certificate;
use crate::smtp::fault::{self, Fault};
use crate::smtp::greeting::{self, Offer};
use crate::smtp::reply::Reply;
use crate::smtp::steps::Steps;
use crate::smtp::tls;

/// A step that takes longer is given up: a person waits for it. RFC 5321 4.5.3.2 gives programs minutes.
const STEP: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// All that a submission needs.
pub struct Submission {
    pub target: Target,
    pub tls: TlsMode,
    pub connector: TlsConnector,
    /// The name that the certificate must have.
    pub tls_name: String,
    /// What is said at EHLO.
    pub ehlo: String,
    pub login: Option<Credentials<String>>,
    pub allows_plaintext_auth: bool,
    pub envelope: Envelope,
    pub message: Vec<u8>,
    /// All steps together end by then.
    pub until: Instant,
}

/// The message is the server's now.
#[derive(Debug)]
pub struct Accepted {
    /// As the reply names it; empty if the reply has no last word.
    pub id: String,
    /// Recipients that were refused, and what to do about that.
    pub refused: Vec<Refused>,
}

#[derive(Debug)]
pub struct Refused {
    pub recipient: String,
    pub reply: Reply,
    pub problem: Problem,
}

/// # Errors
/// The server did not take the message, or did not say that it has.
pub async fn submit(submission: &Submission, steps: &mut Steps) -> Result<Accepted, Problem> {
    let dialogue = Dialogue {
        submission,
        place: Place {
            via: submission.target.to_string(),
            name: submission.tls_name.clone(),
            is_encrypted: false,
            has_login: false,
        },
        steps,
    };
    dialogue.run().await
}

pub(super) struct Dialogue<'a> {
    pub(super) submission: &'a Submission,
    pub(super) place: Place,
    pub(super) steps: &'a mut Steps,
}

impl Dialogue<'_> {
    async fn run(mut self) -> Result<Accepted, Problem> {
        let mut client = self.connect().await?;
        if self.submission.tls.is_implicit(self.submission.target.port) {
            let begun = Instant::now();
            client.timeout = self.limit(Phase::Tls)?;
            let shaken = client.into_tls(&self.submission.connector, &self.submission.tls_name);
            let mut client = self.shaken(Phase::Tls, "TLS", begun, shaken.await)?;
            self.encrypted("TLS", begun, client.tls_connection());
            self.greeting(&mut client).await?;
            let offer = self.ehlo(&mut client).await?;
            return self.transaction(client, offer).await;
        }
        self.greeting(&mut client).await?;
        let offer = self.ehlo(&mut client).await?;
        if !self.submission.tls.starts_tls(offer.has(EXT_START_TLS))? {
            return self.transaction(client, offer).await;
        }
        let mut client = self.start_tls(client).await?;
        // What was offered in the clear may be another's words (RFC 3207 4.2).
        let offer = self.ehlo(&mut client).await?;
        self.transaction(client, offer).await
    }

    async fn connect(&mut self) -> Result<SmtpClient<TcpStream>, Problem> {
        let target = &self.submission.target;
        let limit = self.limit(Phase::Connect)?;
        let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
        let addresses = match tokio::time::timeout(limit, lookup).await {
            Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
            Ok(Err(error)) => {
                return Err(self.problem(Phase::Connect, &Fault::NoName(fault::words(&error))));
            }
            Err(_) => {
                let why = "the name servers do not answer".to_owned();
                return Err(self.problem(Phase::Connect, &Fault::NoName(why)));
            }
        };
        let addresses: Vec<SocketAddr> = addresses;
        let mut last = Fault::NoName("it has no address".to_owned());
        for address in addresses {
            let begun = Instant::now();
            let limit = self.limit(Phase::Connect)?;
            match SmtpClient::connect(address, limit).await {
                Ok(client) => {
                    self.steps
                        .done("connect", begun, None, &address.to_string());
                    return Ok(client);
                }
                Err(error) => {
                    last = error.into();
                    let note = format!("{address}: {}", last.words());
                    self.steps.done("connect", begun, None, &note);
                }
            }
        }
        Err(self.problem(Phase::Connect, &last))
    }

    async fn greeting<T>(&mut self, client: &mut SmtpClient<T>) -> Result<(), Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        client.timeout = self.limit(Phase::Greeting)?;
        let reply = greeting::greeting(client).await;
        self.replied(Phase::Greeting, "greeting", begun, reply, "")?;
        Ok(())
    }

    async fn ehlo<T>(&mut self, client: &mut SmtpClient<T>) -> Result<Offer, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        client.timeout = self.limit(Phase::Ehlo)?;
        match greeting::hello(client, &self.submission.ehlo).await {
            Ok((reply, offer)) => {
                self.replied(Phase::Ehlo, "EHLO", begun, Ok(reply), "")?;
                Ok(offer)
            }
            Err(fault) => Err(self.failed(Phase::Ehlo, "EHLO", begun, fault, "")),
        }
    }

    async fn start_tls(
        &mut self,
        mut client: SmtpClient<TcpStream>,
    ) -> Result<SmtpClient<TlsStream<TcpStream>>, Problem> {
        let begun = Instant::now();
        client.timeout = self.limit(Phase::StartTls)?;
        let started = client.start_tls(&self.submission.connector, &self.submission.tls_name);
        let client = self.shaken(Phase::StartTls, "STARTTLS", begun, started.await)?;
        self.encrypted("STARTTLS", begun, client.tls_connection());
        Ok(client)
    }

    fn encrypted(&mut self, name: &str, begun: Instant, connection: &ClientConnection) {
        let (version, cipher) = tls::session(connection);
        let chain = connection.peer_certificates().unwrap_or_default();
        let shown = chain.first().and_then(|der| Certificate::read(der));
        let whose = shown.map_or_else(String::new, |certificate| {
            format!(
                ", certificate for {} by {}",
                certificate.names_shown(),
                certificate.issuer
            )
        });
        self.place.is_encrypted = true;
        let note = format!("{version} {cipher}{whose}");
        self.steps.done(name, begun, None, &note);
    }

    /// Tells of the step, and of what is wrong with it.
    pub(super) fn replied(
        &mut self,
        phase: Phase,
        name: &str,
        begun: Instant,
        result: Result<Reply, Fault>,
        note: &str,
    ) -> Result<Reply, Problem> {
        match result {
            Ok(reply) => {
                self.steps.done(name, begun, Some(reply.clone()), note);
                Ok(reply)
            }
            Err(fault) => Err(self.failed(phase, name, begun, fault, note)),
        }
    }

    pub(super) fn failed(
        &mut self,
        phase: Phase,
        name: &str,
        begun: Instant,
        fault: Fault,
        note: &str,
    ) -> Problem {
        let (reply, why) = match &fault {
            Fault::Reply(reply) => (Some(reply.clone()), String::new()),
            fault => (None, fault.words()),
        };
        let notes = [note, why.as_str()].into_iter();
        let notes: Vec<&str> = notes.filter(|part| !part.is_empty()).collect();
        self.steps.done(name, begun, reply, &notes.join("  "));
        self.problem(phase, &fault)
    }

    /// Of a handshake only a failure is told here: what is under TLS is known when it has come to its end.
    fn shaken<C>(
        &mut self,
        phase: Phase,
        name: &str,
        begun: Instant,
        result: mail_send::Result<C>,
    ) -> Result<C, Problem> {
        result.map_err(|error| {
            let fault = Fault::from(error);
            self.failed(phase, name, begun, fault, "")
        })
    }

    pub(super) fn problem(&self, phase: Phase, fault: &Fault) -> Problem {
        advice::problem(phase, fault, &self.place)
    }

    pub(super) fn left(&self) -> Duration {
        self.submission
            .until
            .saturating_duration_since(Instant::now())
    }

    /// For the next step.
    ///
    /// # Errors
    /// There is no time left for it.
    pub(super) fn limit(&self, phase: Phase) -> Result<Duration, Problem> {
        let left = self.left();
        match left.is_zero() {
            true => Err(Problem::new(
                format!("no time was left before {}", phase.name()),
                "give more with --timeout",
            )),
            false => Ok(STEP.min(left)),
        }
    }
}
