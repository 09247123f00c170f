//! Asks the meta group's leader what a message is signed with, where that is not known.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use skein_dkim::at_rest::Keks;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{GetSigningReply, GetSigningRequest};
use tokio::time::Instant;
use tonic::Code;

use crate::channel::Channel;
use crate::clock::since_boot;
use crate::error::SpoolError;
use crate::session::MetaLeader;
use crate::spool::Spools;
use crate::state::{ClusterState, KnownSigning};

pub use crate::state::{DomainSigning, MailSigning, Unusable};

/// A client waits that long for an answer; an election takes less.
const ASK_WITHIN: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// As the leader takes them.
pub const DOMAINS_MAX: usize = 16;

/// Finds out what a message is signed with; clones share what is known.
#[derive(Debug, Clone)]
pub struct Signing {
    leader: MetaLeader,
    state: ClusterState,
}

impl Spools {
    pub fn signing(&self) -> Signing {
        Signing {
            leader: MetaLeader::new(self.cluster().clone()),
            state: self.state().clone(),
        }
    }
}

impl Signing {
    /// Whether no mail is signed in this cluster. False before that is known.
    pub fn is_off(&self) -> bool {
        self.state.signing().is_off()
    }

    /// From here on private keys are decrypted with these; none: this node cannot sign.
    pub fn set_keks(&self, keks: Option<Keks>) {
        self.state.signing().set_keks(keks.map(Arc::new));
    }

    /// The same for keys that others hold as well.
    pub fn share_keks(&self, keks: Option<Arc<Keks>>) {
        self.state.signing().set_keks(keks);
    }

    /// What mail from these domains is signed with. They are A-labels in lower case, at most [`DOMAINS_MAX`].
    ///
    /// # Errors
    /// It is not known here, and no leader answers.
    pub async fn of(&self, domains: &[String]) -> Result<MailSigning, SpoolError> {
        find(self.state.signing(), domains, |domains| self.ask(domains)).await
    }

    async fn ask(&self, domains: Vec<String>) -> Result<GetSigningReply, SpoolError> {
        let asking = |mut client: SessionsClient<Channel>| async move {
            match client.get_signing(GetSigningRequest { domains }).await {
                // A leader of an older version has no domains.
                Err(status) if status.code() == Code::Unimplemented => {
                    Ok(tonic::Response::new(GetSigningReply::default()))
                }
                other => other,
            }
        };
        let what = "asking what mail is signed with";
        self.leader.call(what, asking).await
    }
}

/// What is known, or else is answered in time.
async fn find<F>(
    known: &KnownSigning,
    domains: &[String],
    ask: impl Fn(Vec<String>) -> F,
) -> Result<MailSigning, SpoolError>
where
    F: Future<Output = Result<GetSigningReply, SpoolError>>,
{
    if let Some(found) = known.look_up(domains, since_boot()) {
        return Ok(found);
    }
    let until = Instant::now() + ASK_WITHIN;
    loop {
        let error = match ask(domains.to_vec()).await {
            Ok(reply) if reply.domains.len() == domains.len() || reply.version == 0 => {
                return Ok(known.learn(domains, reply, since_boot()));
            }
            Ok(_) => SpoolError::Refused("not all domains were answered for".into()),
            Err(error) => error,
        };
        if Instant::now() + ASK_AGAIN > until {
            return Err(error);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
