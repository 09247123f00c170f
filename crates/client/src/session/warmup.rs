//! Asking for attempts from IPs that are warming up.

use skein_model::warmup::{Ask, Granted};
use skein_model::{UnixMs, codec};
use skein_wire::internal::GrantWarmupRequest;
use skein_wire::internal::sessions_client::SessionsClient;

use super::kept::KeptSession;
use crate::channel::Channel;
use crate::clock::GroupTime;
use crate::error::SpoolError;

impl KeptSession {
    /// Asks for attempts. The same batch may be told again when its answer has not come: it is granted once, unless the
    /// session has ended meanwhile; then what it was granted is lost, and exceeds nothing.
    ///
    /// # Errors
    /// There is no session, or no leader answers.
    pub async fn grant_warmup(
        &self,
        batch: u64,
        asks: &[Ask],
    ) -> Result<(Vec<Granted>, GroupTime), SpoolError> {
        let session = self.id()?;
        let request = GrantWarmupRequest {
            session: session.0,
            batch,
            asks: asks.iter().map(|ask| codec::encode(ask).into()).collect(),
        };
        let asking =
            |mut client: SessionsClient<Channel>| async move { client.grant_warmup(request).await };
        let reply = self.leader.call("asking for budget", asking).await?;
        let granted = reply.granted.iter().map(|one| codec::decode(one));
        let granted: Result<Vec<Granted>, _> = granted.collect();
        let granted = granted.map_err(|error| SpoolError::Refused(error.to_string()))?;
        Ok((granted, GroupTime::at(UnixMs(reply.now_ms))))
    }
}
