//! A look at one address of a mail host: everything that a delivery does before MAIL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail_send::SmtpClient;
use rustls::pki_types::UnixTime;
use rustls::{ClientConnection, RootCertStore};
use serde::Serialize;
use smtp_proto::EXT_START_TLS;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::verdict::Meets;
use crate::show;
use crate::smtp::certificate::Certificate;
use crate::smtp::fault::Fault;
use crate::smtp::greeting;
use crate::smtp::steps::{Step, Steps};
use crate::smtp::tls;

/// How hosts are looked at.
pub struct Manner {
    /// What is said at EHLO.
    pub ehlo: String,
    /// Takes every certificate, which is looked at afterwards.
    pub connector: TlsConnector,
    pub roots: Arc<RootCertStore>,
    pub step: Duration,
    /// Everything ends by then.
    pub until: Instant,
    pub prints: bool,
}

#[derive(Debug, Serialize)]
pub struct Seen {
    pub host: String,
    pub preference: u16,
    pub address: SocketAddr,
    pub steps: Vec<Step>,
    /// What is offered, under TLS if there is one.
    pub keywords: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSeen>,
    #[serde(flatten)]
    pub meets: Meets,
}

#[derive(Debug, Clone, Serialize)]
pub struct TlsSeen {
    pub version: String,
    pub cipher: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Why it does not verify; empty if it does.
    pub fault: String,
}

/// What the dialogue leaves behind, however far it comes.
struct Look<'a> {
    manner: &'a Manner,
    host: &'a str,
    steps: Steps,
    keywords: Vec<String>,
    tls: Option<TlsSeen>,
}

pub async fn look(host: &str, preference: u16, address: SocketAddr, manner: &Manner) -> Seen {
    let mut look = Look {
        manner,
        host,
        steps: Steps::new(manner.prints),
        keywords: Vec::new(),
        tls: None,
    };
    let meets = look.run(address).await;
    Seen {
        host: host.to_owned(),
        preference,
        address,
        steps: look.steps.into_all(),
        keywords: look.keywords,
        tls: look.tls,
        meets,
    }
}

impl Look<'_> {
    async fn run(&mut self, address: SocketAddr) -> Meets {
        let begun = Instant::now();
        let connected = SmtpClient::connect(address, self.limit()).await;
        let mut client = match self.told("connect", begun, connected) {
            Ok(client) => client,
            Err(fault) => return Meets::Away(fault.words()),
        };
        let begun = Instant::now();
        client.timeout = self.limit();
        match greeting::greeting(&mut client).await {
            Ok(reply) => self.steps.done("greeting", begun, Some(reply), ""),
            Err(fault) => {
                let meets = self.no_session("greeting", begun, fault);
                self.quit(client).await;
                return meets;
            }
        }
        let starts_tls = match self.ehlo(&mut client).await {
            Ok(starts_tls) => starts_tls,
            Err(meets) => {
                self.quit(client).await;
                return meets;
            }
        };
        if !starts_tls {
            self.quit(client).await;
            return Meets::Clear;
        }
        self.under_tls(client).await
    }

    async fn under_tls(&mut self, mut client: SmtpClient<TcpStream>) -> Meets {
        let begun = Instant::now();
        client.timeout = self.limit();
        let started = client.start_tls(&self.manner.connector, self.host).await;
        let mut client = match self.told("STARTTLS", begun, started) {
            Ok(client) => client,
            Err(fault) => return Meets::BrokenTls(fault.words()),
        };
        let seen = self.certificate(client.tls_connection());
        let note = format!("{} {}", seen.version, seen.cipher);
        self.steps.done("STARTTLS", begun, None, &note);
        if self.manner.prints {
            println!("{:>22}{}", "", described(&seen));
        }
        let meets = match seen.fault.as_str() {
            "" => Meets::Verified,
            fault => Meets::Unverified(fault.to_owned()),
        };
        self.tls = Some(seen);
        let offered = self.ehlo(&mut client).await;
        self.quit(client).await;
        match offered {
            Ok(_) => meets,
            Err(other) => other,
        }
    }

    fn certificate(&self, connection: &ClientConnection) -> TlsSeen {
        let (version, cipher) = tls::session(connection);
        let chain = connection.peer_certificates().unwrap_or_default();
        let roots = self.manner.roots.clone();
        let verified = tls::verify(chain, self.host, roots, UnixTime::now());
        TlsSeen {
            version,
            cipher,
            certificate: chain.first().and_then(|der| Certificate::read(der)),
            fault: verified
                .err()
                .map_or_else(String::new, |fault| fault.to_string()),
        }
    }

    /// Whether STARTTLS is offered.
    async fn ehlo<T>(&mut self, client: &mut SmtpClient<T>) -> Result<bool, Meets>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        client.timeout = self.limit();
        match greeting::hello(client, &self.manner.ehlo).await {
            Ok((reply, offer)) => {
                self.steps.done("EHLO", begun, Some(reply), "");
                let starts_tls = offer.has(EXT_START_TLS);
                self.keywords = offer.keywords;
                Ok(starts_tls)
            }
            Err(fault) => Err(self.no_session("EHLO", begun, fault)),
        }
    }

    fn no_session(&mut self, name: &str, begun: Instant, fault: Fault) -> Meets {
        match fault {
            Fault::Reply(reply) => {
                let told = reply.to_string();
                let is_permanent = reply.code >= 500;
                self.steps.done(name, begun, Some(reply), "");
                match is_permanent {
                    true => Meets::Refuses(told),
                    false => Meets::Defers(told),
                }
            }
            fault => {
                self.steps.done(name, begun, None, &fault.words());
                Meets::Away(fault.words())
            }
        }
    }

    /// A step without a reply of its own: told here if it failed, and if it is the connection.
    fn told<C>(
        &mut self,
        name: &str,
        begun: Instant,
        result: mail_send::Result<C>,
    ) -> Result<C, Fault> {
        match result {
            Ok(client) => {
                if name == "connect" {
                    self.steps.done(name, begun, None, "");
                }
                Ok(client)
            }
            Err(error) => {
                let fault = Fault::from(error);
                self.steps.done(name, begun, None, &fault.words());
                Err(fault)
            }
        }
    }

    async fn quit<T>(&mut self, mut client: SmtpClient<T>)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        client.timeout = self.limit();
        // A host that is asked to end need not say so.
        if let Ok(reply) = greeting::command(&mut client, "QUIT\r\n").await {
            self.steps.done("QUIT", begun, Some(reply), "");
        }
    }

    fn limit(&self) -> Duration {
        let left = self.manner.until.saturating_duration_since(Instant::now());
        self.manner.step.min(left)
    }
}

fn described(seen: &TlsSeen) -> String {
    let whose = match &seen.certificate {
        None => "a certificate that cannot be read".to_owned(),
        Some(certificate) => format!(
            "certificate of {} for {}, issued by {}, until {}",
            certificate.subject,
            certificate.names_shown(),
            certificate.issuer,
            show::time(certificate.not_after_ms)
        ),
    };
    match seen.fault.is_empty() {
        true => format!("{whose}; it verifies"),
        false => format!("{whose}; it does not verify"),
    }
}
