//! Telling the meta group which replies of hosts matched rules, and how TLS with hosts went.

use skein_model::automation::MatchCount;
use skein_model::codec;
use skein_model::tls_report::Told;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{TellRepliesRequest, TellTlsRequest};

use super::kept::KeptSession;
use crate::channel::Channel;
use crate::error::SpoolError;

impl KeptSession {
    /// Tells a batch. The same one may be told again when it is not known whether it has arrived: it counts once, unless
    /// the session has ended meanwhile. Then it may count twice, which brings a threshold nearer by one batch.
    ///
    /// # Errors
    /// There is no session, or no leader takes it.
    pub async fn tell_replies(&self, batch: u64, told: &[MatchCount]) -> Result<(), SpoolError> {
        let session = self.id()?;
        let request = TellRepliesRequest {
            session: session.0,
            batch,
            told: told.iter().map(|one| codec::encode(one).into()).collect(),
        };
        let telling =
            |mut client: SessionsClient<Channel>| async move { client.tell_replies(request).await };
        self.leader.call("telling of replies", telling).await?;
        Ok(())
    }

    /// Tells a batch of how TLS went, as [`KeptSession::tell_replies`] does of replies.
    ///
    /// # Errors
    /// There is no session, or no leader takes it.
    pub async fn tell_tls(&self, batch: u64, told: &[Told]) -> Result<(), SpoolError> {
        let session = self.id()?;
        let request = TellTlsRequest {
            session: session.0,
            batch,
            told: told.iter().map(|one| codec::encode(one).into()).collect(),
        };
        let telling =
            |mut client: SessionsClient<Channel>| async move { client.tell_tls(request).await };
        self.leader.call("telling of TLS", telling).await?;
        Ok(())
    }
}
