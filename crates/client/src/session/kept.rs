//! What a sender does with its session.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use skein_model::broken_tls::Broken;
use skein_model::{Epoch, GroupId, SessionId, Slot};
use skein_wire::convert;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{
    CloseSessionRequest, HeldIp, IpCheck, NodeAddresses, SenderHealth, TellIpChecksRequest,
    TellWaitsRequest, Wait,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::leader::MetaLeader;
use super::lease::Lease;
use super::{NextHeartbeat, PlacedIps, SenderSession};
use crate::channel::Channel;
use crate::error::SpoolError;

/// A session that is kept alive in the background.
#[derive(Debug)]
pub struct KeptSession {
    pub session: watch::Receiver<SenderSession>,
    pub lease: Lease,
    pub ips: watch::Receiver<Arc<PlacedIps>>,
    pub(super) leader: MetaLeader,
    pub(super) next: Arc<NextHeartbeat>,
    pub(super) stop: CancellationToken,
}

impl KeptSession {
    /// The session of this moment.
    pub(super) fn id(&self) -> Result<SessionId, SpoolError> {
        let id = self.session.borrow().id;
        id.ok_or_else(|| SpoolError::Unavailable("there is no session".into()))
    }

    /// Nothing is done for these slots any more: others may have them.
    pub fn release(&self, slots: &[(Slot, Epoch)]) {
        self.next.released.lock().extend(slots);
        self.next.hurry.notify_one();
    }

    /// Groups to which there is no work stream.
    pub fn set_unreachable(&self, groups: BTreeSet<GroupId>) {
        *self.next.unreachable.lock() = groups;
    }

    /// What the node of this sender has, and where it connects out for others.
    pub fn set_addresses(&self, local: &BTreeSet<IpAddr>, egress: Option<&str>) {
        let now = NodeAddresses {
            local: local.iter().map(ToString::to_string).collect(),
            egress: egress.unwrap_or_default().to_owned(),
        };
        let before = self.next.addresses.lock().replace(now.clone());
        if before != Some(now) {
            self.next.hurry.notify_one();
        }
    }

    /// No connection of these IPs is left here: others may have them.
    pub fn release_ips(&self, ips: impl IntoIterator<Item = (String, u64)>) {
        let ips: Vec<HeldIp> = ips
            .into_iter()
            .map(|(name, epoch)| HeldIp { name, epoch })
            .collect();
        if !ips.is_empty() {
            self.next.released_ips.lock().extend(ips);
            self.next.hurry.notify_one();
        }
    }

    /// What tasks wait for that are here, how the sender is, and what hosts the leader does not know the TLS of to be broken.
    /// Returns hosts that the sender is to try to connect to.
    ///
    /// # Errors
    /// There is no session, or the leader does not answer.
    pub async fn tell_waits(
        &self,
        waits: Vec<Wait>,
        health: SenderHealth,
        broken_tls: &[(SocketAddr, Broken)],
    ) -> Result<Vec<String>, SpoolError> {
        let session = self.id()?.0;
        let broken_tls = broken_tls.iter();
        let broken_tls = broken_tls.map(|(address, one)| convert::broken_tls_told(*address, one));
        let request = TellWaitsRequest {
            session,
            waits,
            health: Some(health),
            broken_tls: broken_tls.collect(),
        };
        let telling =
            |mut client: SessionsClient<Channel>| async move { client.tell_waits(request).await };
        let reply = self.leader.call("telling of waits", telling).await?;
        Ok(reply.probes)
    }

    /// How this node found the source IPs that it has, in place of what it told before in this session.
    ///
    /// # Errors
    /// There is no session, or the leader does not answer.
    pub async fn tell_ip_checks(&self, checks: Vec<IpCheck>) -> Result<(), SpoolError> {
        let session = self.id()?.0;
        let request = TellIpChecksRequest { session, checks };
        let telling = |mut client: SessionsClient<Channel>| async move {
            client.tell_ip_checks(request).await
        };
        self.leader.call("telling of source IPs", telling).await?;
        Ok(())
    }

    /// All slots are to leave, for good.
    pub fn retire(&self) {
        self.next.retiring.store(true, Ordering::Release);
        self.next.hurry.notify_one();
    }

    /// Ends the session, when its last results are reported.
    pub async fn close(&self) -> Result<(), SpoolError> {
        self.stop.cancel();
        let Some(session) = self.session.borrow().id else {
            return Ok(());
        };
        let request = CloseSessionRequest { session: session.0 };
        let closing =
            |mut client: SessionsClient<Channel>| async move { client.close(request).await };
        self.leader.call("closing a session", closing).await?;
        Ok(())
    }
}

impl Drop for KeptSession {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
