//! A submission: connection, greeting, EHLO and TLS, and then the transaction.

use std::net::SocketAddr;
use std::time::Instant;

use mail_send::SmtpClient;
use rustls::ClientConnection;
use smtp_proto::EXT_START_TLS;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::advice::Phase;
use super::dialogue::{Accepted, Dialogue, Submission};
use super::problem::Problem;
use crate::smtp::certificate::Certificate;
use crate::smtp::fault::{self, Fault};
use crate::smtp::greeting::{self, Offer};
use crate::smtp::steps::Steps;
use crate::smtp::tls;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// # Errors
/// The server did not take the message, or did not say that it has.
pub async fn submit(submission: &Submission, steps: &mut Steps) -> Result<Accepted, Problem> {
    Dialogue::new(submission, steps).run().await
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
}
