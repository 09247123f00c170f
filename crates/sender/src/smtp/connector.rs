//! Connects to hosts, and remembers what came of it.

use std::sync::Arc;
use std::time::Instant;

use skein_model::UnixMs;
use skein_smtp::secret::Secret;
use skein_tls::Demand;

use crate::config::login::LoginSecret;
use crate::host::Host;
use crate::smtp::broken_tls::BrokenTls;
use crate::smtp::connect::{Hop, connect};
use crate::smtp::connection::Connection;
use crate::smtp::connects::RecentConnects;
use crate::smtp::no_session::{Cause, NoSession};
use crate::smtp::secret_files::SecretFiles;
use crate::smtp::tls::TlsClient;

pub struct Connector {
    pub tls: TlsClient,
    pub broken_tls: Arc<BrokenTls>,
    pub connects: Arc<RecentConnects>,
    pub secret_files: Arc<SecretFiles>,
}

impl Connector {
    /// Whether mail that may go in the clear is to do so at once.
    pub fn is_tls_broken(&self, host: &Host, now: UnixMs) -> bool {
        self.broken_tls.is_known(host, now)
    }

    /// A host took mail in the clear after TLS with it ended like this.
    pub fn fell_back(&self, host: &Host, site: &str, failure: &NoSession, now: UnixMs) {
        // A host that is gone altogether says nothing about its TLS.
        if failure.cause == Cause::TlsFailed {
            self.broken_tls.learn(host, site, &failure.reply.text, now);
        }
    }

    /// Connects to a host of a site that must prove this.
    pub async fn connect(
        &self,
        hop: &Hop<'_>,
        demand: &Demand,
        site: &str,
        host: &Host,
    ) -> Result<Connection, NoSession> {
        let secret = match &hop.policy.login {
            Some(login) => Some(self.login_secret(&login.secret, host).await?),
            None => None,
        };
        let connected = connect(hop, &self.tls, demand, host, secret).await;
        self.note(site, host, &connected);
        connected.map(|connection| connection.with_secret_files(self.secret_files.clone()))
    }

    /// Without a token no connection is of use, so none is made.
    async fn login_secret(&self, secret: &LoginSecret, host: &Host) -> Result<Secret, NoSession> {
        let found = self.secret_files.secret(secret).await;
        found.map_err(|error| {
            let text = format!("no login at {host}: {error}");
            NoSession::ours(Cause::Host, (4, 7, 0), text)
        })
    }

    /// Remembers whether there was a connection, whatever came of it. What is wrong with the source says nothing.
    fn note(&self, site: &str, host: &Host, connected: &Result<Connection, NoSession>) {
        let result = match connected {
            Err(failure) if matches!(failure.cause, Cause::Source | Cause::SourceBusy) => return,
            Err(failure) if failure.is_unreachable() => Err(failure.reply.text.as_str()),
            _ => Ok(()),
        };
        self.connects
            .note(Instant::now(), site, host.address, result);
    }
}
