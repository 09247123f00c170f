//! What keeps a session: heartbeats, and what their answers bring.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use skein_model::meta::{Process, Spreads};
use skein_model::{DurationMs, Epoch, SessionId, Slot, lease};
use skein_wire::convert;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{
    HeartbeatRequest, HeldIp, OpenSessionRequest, OwnedSlot, Placements, SiteSpread, Slots,
    WatchReply, WatchRequest,
};
use tokio::sync::watch;

use super::leader::MetaLeader;
use super::lease::Lease;
use super::limits::{LimitKeeper, take_shared_sites};
use super::reads;
use super::{NextHeartbeat, PlacedIps, SenderSession};
use crate::channel::Channel;
use crate::clock::since_boot;
use crate::error::SpoolError;
use crate::state::{ClusterState, KnownBrokenTls};

const HEARTBEAT: Duration = Duration::from_millis(lease::HEARTBEAT.0);
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// No heartbeat is sent meanwhile. The largest policy is compiled in a second.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Keeper {
    pub leader: MetaLeader,
    pub state: ClusterState,
    pub sender: String,
    pub process: Process,
    pub told: watch::Sender<SenderSession>,
    pub lease: Lease,
    pub next: Arc<NextHeartbeat>,
    pub placed: watch::Sender<Arc<PlacedIps>>,
    /// Of the latest attempt to register.
    pub order: Mutex<u64>,
    pub limits: Arc<dyn LimitKeeper>,
    /// No sender: neither tasks nor what is in force concern it.
    pub lends_only: bool,
}

impl Keeper {
    pub async fn run(&self) {
        loop {
            match self.open().await {
                Ok((session, version, lasts)) => {
                    tracing::info!(%session, "session open");
                    self.beat(session, version, lasts).await;
                    tracing::warn!(%session, "the session has ended");
                    self.lease.set(lease::Lease::ENDED);
                    self.next.released.lock().clear();
                    self.next.released_ips.lock().clear();
                    self.placed.send_replace(Arc::default());
                    self.change(|told| {
                        told.id = None;
                        told.slots = Arc::default();
                        told.leaving = Arc::default();
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no session");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut SenderSession)) {
        self.told.send_modify(|told| {
            told.change += 1;
            change(told);
        });
    }

    /// The clock, so that it also grows from one process to the next. Should the clock be set back between the two, the
    /// second one registers when the session of the first has ended.
    fn next_order(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let mut last = self.order.lock();
        *last = now.max(*last + 1);
        *last
    }

    async fn open(&self) -> Result<(SessionId, u64, DurationMs), SpoolError> {
        let request = OpenSessionRequest {
            sender: self.sender.clone(),
            order: self.next_order(),
            process: self.process.number,
            place: self.process.place.clone(),
        };
        let sent_at = since_boot();
        let lends_only = self.lends_only;
        let opening = |mut client: SessionsClient<Channel>| async move {
            match lends_only {
                true => client.open_egress(request).await,
                false => client.open(request).await,
            }
        };
        let what = match lends_only {
            true => "opening the session of an egress node",
            false => "opening a session",
        };
        let reply = self.leader.call(what, opening).await?;
        let slots = reply.slots.unwrap_or_default();
        let (id, version) = (SessionId(reply.session), slots.version);
        let lasts = DurationMs(reply.lease_ms);
        let shared = reply.shared_sites.unwrap_or_default();
        self.limits
            .set_shared_sites(shared.version, shared.sites.into_iter().collect());
        self.limits.begin_session(id);
        self.lease.begin(id, lease::Lease::granted(sent_at, lasts));
        let (kept, leaving) = (read_slots(&slots.slots)?, read_slots(&slots.leaving)?);
        self.take_policy().await?;
        self.read_actions(u64::MAX).await;
        self.change(|told| {
            told.id = Some(id);
            told.slots = kept;
            told.leaving = leaving;
        });
        Ok((id, version, lasts))
    }

    /// Reads the policy, and waits until all that begins goes by it: before any task comes, since who waits for a policy to be
    /// in force does not wait for a session that is opened afterwards.
    async fn take_policy(&self) -> Result<(), SpoolError> {
        let version = reads::policy_now(&self.leader, &self.state).await?;
        let mut taken = self.state.policy_taken();
        let is_taken = taken.wait_for(|taken| taken.is_some_and(|taken| taken >= version));
        match tokio::time::timeout(TAKEN_WITHIN, is_taken).await {
            Ok(_) => Ok(()),
            Err(_) => Err(SpoolError::Refused(format!(
                "version {version} of the policy is not understood yet"
            ))),
        }
    }

    /// Reads the actions that are in force, which stop the mail of senders.
    async fn read_actions(&self, version: u64) {
        if !self.lends_only {
            reads::active_actions(&self.leader, &self.state, version).await;
        }
    }

    /// Reads whose signing has changed, which is of mail that senders take in.
    async fn read_signing(&self, version: u64) {
        if !self.lends_only {
            reads::signing(&self.leader, &self.state, version).await;
        }
    }

    /// Returns when the session has ended.
    async fn beat(&self, session: SessionId, mut version: u64, lasts: DurationMs) {
        let mut rest = HEARTBEAT;
        let mut changes = None;
        let mut known_addresses = None;
        let mut policy = self.state.policy_in_use();
        loop {
            if changes.is_none() {
                changes = self.watch().await;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.next.hurry.notified() => {}
                // The cluster may be waiting for this sender to go by it.
                Ok(()) = policy.changed() => {}
                changed = self.changed_from(version, &mut changes) => if !changed {
                    changes = None;
                    // The next heartbeat is early enough to look for the leader.
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
            self.leave_if_retiring();
            let released = self.next.released.lock().clone();
            let mut request = self.heartbeat(session, version, &released);
            let addresses = self.next.addresses.lock().clone();
            request.addresses = addresses.clone().filter(|_| addresses != known_addresses);
            request.policy_version = *policy.borrow_and_update();
            let released_ips = request.released_ips.clone();
            let sent_at = since_boot();
            let beating = |mut client: SessionsClient<Channel>| async move {
                client.heartbeat(request).await
            };
            match self.leader.call("a heartbeat", beating).await {
                Ok(reply) if !reply.alive => return,
                Ok(reply) => {
                    rest = HEARTBEAT;
                    take_shared_sites(&*self.limits, reply.shared_sites);
                    self.lease.set(lease::Lease::granted(sent_at, lasts));
                    self.forget(&released, &released_ips);
                    known_addresses = addresses;
                    self.tell_placements(reply.placements);
                    self.tell_spreads(reply.spreads);
                    self.state
                        .set_full_tenants(reply.full_tenants, reply.full_quotas);
                    if let Some(hosts) = reply.broken_tls {
                        let now = self.state.active_actions().borrow().now();
                        self.state.set_broken_tls(KnownBrokenTls::read(hosts, now));
                    }
                    reads::policy(&self.leader, &self.state, reply.policy_version).await;
                    self.read_actions(reply.actions_version).await;
                    self.read_signing(reply.signing_version).await;
                    self.state.sts().hear(reply.sts_version);
                    self.state.tls_counts().set_on(reply.tls_reports);
                    if self.told.borrow().drained != reply.drained {
                        tracing::info!(drained = reply.drained, "an operator's word");
                        self.change(|told| told.drained = reply.drained);
                    }
                    if let Some(slots) = reply.slots {
                        version = slots.version;
                        self.tell_slots(&slots);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the session is not renewed");
                    // A node that leads no more still hints at changes; it is not asked again at once for that.
                    tokio::time::sleep(TRY_AGAIN).await;
                    rest = Duration::ZERO;
                    changes = None;
                }
            }
        }
    }

    /// A sender that retires takes nothing more, whether the leader knows it or not.
    fn leave_if_retiring(&self) {
        if self.next.retiring.load(Ordering::Acquire) && !self.told.borrow().slots.is_empty() {
            self.change(|told| {
                let kept = std::mem::take(&mut told.slots);
                told.leaving = Arc::new(kept.iter().chain(&*told.leaving).copied().collect());
            });
        }
    }

    fn heartbeat(
        &self,
        session: SessionId,
        version: u64,
        released: &[(Slot, Epoch)],
    ) -> HeartbeatRequest {
        let unreachable = self.next.unreachable.lock();
        HeartbeatRequest {
            session: session.0,
            version,
            released: convert::owned_slots(released),
            unreachable_groups: unreachable.iter().map(|group| group.0.into()).collect(),
            retiring: self.next.retiring.load(Ordering::Acquire),
            addresses: None,
            placements_version: self.placed.borrow().version,
            released_ips: self.next.released_ips.lock().clone(),
            shared_version: self.limits.shared_version(),
            process: self.process.number,
            place: self.process.place.clone(),
            broken_tls_version: self.state.broken_tls_version(),
            policy_version: None,
        }
    }

    fn tell_placements(&self, placements: Option<Placements>) {
        if let Some(Placements { version, ips }) = placements {
            let ips = ips.into_iter().map(|ip| (ip.name.clone(), ip));
            let ips = ips.collect();
            self.placed
                .send_replace(Arc::new(PlacedIps { version, ips }));
        }
    }

    /// These releases have arrived.
    fn forget(&self, slots: &[(Slot, Epoch)], ips: &[HeldIp]) {
        let is_waiting = |slot: &(Slot, Epoch)| !slots.contains(slot);
        self.next.released.lock().retain(is_waiting);
        let is_waiting = |ip: &HeldIp| !ips.contains(ip);
        self.next.released_ips.lock().retain(is_waiting);
    }

    fn tell_slots(&self, slots: &Slots) {
        let read = read_slots(&slots.slots)
            .and_then(|kept| read_slots(&slots.leaving).map(|leaving| (kept, leaving)));
        let (kept, leaving) = match read {
            Ok(_) if self.next.retiring.load(Ordering::Acquire) => return,
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "slots cannot be read");
                return;
            }
        };
        {
            let told = self.told.borrow();
            if told.slots == kept && told.leaving == leaving {
                return;
            }
        }
        tracing::info!(slots = kept.len(), leaving = leaving.len(), "slots changed");
        self.change(|told| {
            told.slots = kept;
            told.leaving = leaving;
        });
    }

    fn tell_spreads(&self, spreads: Vec<SiteSpread>) {
        let spreads = spreads.into_iter();
        let spreads: Spreads = spreads
            .filter_map(|spread| Some((spread.site, u16::try_from(spread.slots).ok()?)))
            .collect();
        self.state.set_spreads(spreads);
    }

    /// A stream of hints; heartbeats do without if there is none.
    async fn watch(&self) -> Option<tonic::Streaming<WatchReply>> {
        let watching = |mut client: SessionsClient<Channel>| async move {
            client.watch(WatchRequest {}).await
        };
        self.leader.call("watching slots", watching).await.ok()
    }

    /// Completes with true when slots, placements, the policy or what is in force have other versions than are known here,
    /// with false when the stream ends.
    async fn changed_from(
        &self,
        version: u64,
        changes: &mut Option<tonic::Streaming<WatchReply>>,
    ) -> bool {
        let Some(changes) = changes else {
            return std::future::pending().await;
        };
        while let Ok(Some(reply)) = changes.message().await {
            let known = WatchReply {
                version,
                placements_version: self.placed.borrow().version,
                actions_version: match self.lends_only {
                    true => reply.actions_version,
                    false => self.state.actions_version(),
                },
                policy_version: self.state.policy_version(),
                signing_version: match self.state.signing().version() {
                    Some(version) => version,
                    // The next heartbeat is early enough, and an egress node signs nothing.
                    None => reply.signing_version,
                },
            };
            if reply != known {
                return true;
            }
        }
        false
    }
}

fn read_slots(slots: &[OwnedSlot]) -> Result<Arc<Vec<(Slot, Epoch)>>, SpoolError> {
    convert::slots(slots)
        .map(Arc::new)
        .map_err(|error| SpoolError::Refused(error.to_string()))
}
