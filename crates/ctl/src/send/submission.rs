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
use super::draft;
use super::envelope::Envelope;
use super::login;
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

struct Dialogue<'a> {
    submission: &'a Submission,
    place: Place,
    steps: &'a mut Steps,
}

impl Dialogue<'_> {
    async fn run(mut self) -> Result<Accepted, Problem> {
        let mut client = self.connect().await?;
        if self.submission.tls.is_implicit(self.submission.target.port) {
            let begun = Instant::now();
            client.timeout = self.limit(Phase::Tls)?;
            let shaken = client.into_tls(&self.submission.connector, &self.submission.tls_name);
            let mut client = self.or_told(Phase::Tls, shaken.await)?;
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
            Err(fault) => {
                let told = self.replied(Phase::Ehlo, "EHLO", begun, Err(fault), "");
                Err(told
                    .err()
                    .unwrap_or_else(|| self.problem(Phase::Ehlo, &Fault::NotSmtp)))
            }
        }
    }

    async fn start_tls(
        &mut self,
        mut client: SmtpClient<TcpStream>,
    ) -> Result<SmtpClient<TlsStream<TcpStream>>, Problem> {
        let begun = Instant::now();
        client.timeout = self.limit(Phase::StartTls)?;
        let started = client.start_tls(&self.submission.connector, &self.submission.tls_name);
        let client = self.or_told(Phase::StartTls, started.await)?;
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

    async fn transaction<T>(
        mut self,
        mut client: SmtpClient<T>,
        offer: Offer,
    ) -> Result<Accepted, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = self.hand_in(&mut client, &offer).await;
        // The message is taken or refused by now, whatever becomes of the farewell.
        let begun = Instant::now();
        client.timeout = STEP.min(self.left());
        if let Ok(reply) = greeting::command(&mut client, "QUIT\r\n").await {
            self.steps.done("QUIT", begun, Some(reply), "");
        }
        accepted
    }

    async fn hand_in<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        offer: &Offer,
    ) -> Result<Accepted, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(login) = &self.submission.login {
            self.log_in(client, login, offer).await?;
        }
        let message = &self.submission.message;
        let is_encrypted = self.place.is_encrypted;
        let commands = self
            .submission
            .envelope
            .commands(offer, message, is_encrypted)?;
        self.one(client, Phase::Mail, "MAIL", &commands.mail, "")
            .await?;
        let mut refused = Vec::new();
        let count = commands.rcpt.len();
        for (recipient, line) in commands.rcpt {
            let note = format!("<{recipient}>");
            let begun = Instant::now();
            client.timeout = self.limit(Phase::Rcpt)?;
            match greeting::command(client, &line).await {
                // A server that says good-bye takes no other recipient.
                Err(Fault::Reply(reply)) if reply.code != 421 => {
                    let problem = self.problem(Phase::Rcpt, &Fault::Reply(reply.clone()));
                    self.steps.done("RCPT", begun, Some(reply.clone()), &note);
                    refused.push(Refused {
                        recipient,
                        reply,
                        problem,
                    });
                }
                result => {
                    self.replied(Phase::Rcpt, "RCPT", begun, result, &note)?;
                }
            }
        }
        if refused.len() == count
            && let Some(first) = refused.first()
        {
            return Err(first.problem.clone());
        }
        self.data(client, refused).await
    }

    async fn data<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        refused: Vec<Refused>,
    ) -> Result<Accepted, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let message = &self.submission.message;
        let begun = Instant::now();
        self.limit(Phase::Data)?;
        // A large message on a slow line is no fault: the whole time that is left is its own.
        client.timeout = self.left();
        let reply = client.data(draft::for_wire(message)).await;
        let reply = reply.map(Reply::from).map_err(Fault::from);
        let note = format!("{} octets", message.len());
        let reply = self.replied(Phase::Data, "DATA", begun, reply, &note)?;
        Ok(Accepted {
            id: queue_id(&reply),
            refused,
        })
    }

    async fn log_in<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        login: &Credentials<String>,
        offer: &Offer,
    ) -> Result<(), Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mechanism = login::choose(
            &offer.mechanisms(),
            self.place.is_encrypted,
            self.submission.allows_plaintext_auth,
        )?;
        // The library tries all that it sees, and some that it cannot do.
        let mut only = offer.known.clone();
        only.auth_mechanisms = mechanism.bit();
        let begun = Instant::now();
        client.timeout = self.limit(Phase::Auth)?;
        let result = client.authenticate(login, &only).await.map(|_| ());
        match result {
            Ok(()) => {
                let note = format!("{}, accepted", mechanism.name());
                self.steps.done("AUTH", begun, None, &note);
                self.place.has_login = true;
                Ok(())
            }
            Err(error) => {
                let name = mechanism.name();
                let told = self.replied(Phase::Auth, "AUTH", begun, Err(error.into()), name);
                told.map(|_| ())
            }
        }
    }

    async fn one<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        phase: Phase,
        name: &str,
        line: &str,
        note: &str,
    ) -> Result<(), Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        client.timeout = self.limit(phase)?;
        let result = greeting::command(client, line).await;
        self.replied(phase, name, begun, result, note).map(|_| ())
    }

    /// Tells of the step, and of what is wrong with it.
    fn replied(
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
            Err(fault) => {
                let (reply, why) = match &fault {
                    Fault::Reply(reply) => (Some(reply.clone()), String::new()),
                    fault => (None, fault.words()),
                };
                let notes: Vec<&str> = [note, why.as_str()]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect();
                self.steps.done(name, begun, reply, &notes.join("  "));
                Err(self.problem(phase, &fault))
            }
        }
    }

    fn or_told<C>(&self, phase: Phase, result: mail_send::Result<C>) -> Result<C, Problem> {
        result.map_err(|error| self.problem(phase, &error.into()))
    }

    fn problem(&self, phase: Phase, fault: &Fault) -> Problem {
        advice::problem(phase, fault, &self.place)
    }

    fn left(&self) -> Duration {
        self.submission
            .until
            .saturating_duration_since(Instant::now())
    }

    /// For the next step.
    ///
    /// # Errors
    /// There is no time left for it.
    fn limit(&self, phase: Phase) -> Result<Duration, Problem> {
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

/// The last word of a reply such as `queued as 1a-2b`.
fn queue_id(reply: &Reply) -> String {
    let text = reply.lines.last().map_or("", String::as_str);
    let word = text
        .split_ascii_whitespace()
        .next_back()
        .unwrap_or_default();
    let id = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_id_is_the_last_word() {
        for (text, expected) in [
            ("queued as 3f2a-17", "3f2a-17"),
            ("Ok: queued as 224B824BD40", "224B824BD40"),
            ("OK id=1abc <x>", "x"),
            ("accepted.", "accepted"),
            ("", ""),
        ] {
            let reply = Reply {
                code: 250,
                enhanced: "2.0.0".to_owned(),
                lines: vec![text.to_owned()],
            };
            assert_eq!(queue_id(&reply), expected, "{text}");
        }
    }
}
