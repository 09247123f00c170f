//! A sender's session: opened at the meta group's leader, kept by heartbeats, and opened again when it is lost.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use skein_model::meta::Fans;
use skein_model::{DurationMs, Epoch, GroupId, SessionId, Slot, lease};
use skein_wire::convert;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{
    CloseSessionRequest, Fan, GetPolicyRequest, HeartbeatRequest, OpenSessionRequest, OwnedSlot,
    Slots, WatchReply, WatchRequest,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::SpoolError;
use crate::channel::Channel;
use crate::cluster::{Cluster, PolicyTexts};

const HEARTBEAT: Duration = Duration::from_millis(lease::HEARTBEAT.0);
const CALL_WITHIN: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// Twice what all resources together may have, with their keys.
const POLICY_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What a sender may work on at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// None while there is no session.
    pub id: Option<SessionId>,
    pub slots: Arc<Vec<(Slot, Epoch)>>,
    /// To be let go of, and then released.
    pub leaving: Arc<Vec<(Slot, Epoch)>>,
    /// Grows with every change of this, also from one session to the next.
    pub change: u64,
    /// An operator took the sender out of service.
    pub drained: bool,
}

/// What the next heartbeats tell.
#[derive(Debug, Default)]
struct Tell {
    released: Mutex<Vec<(Slot, Epoch)>>,
    unreachable: Mutex<BTreeSet<GroupId>>,
    retiring: AtomicBool,
    hurry: Notify,
}

/// A [`lease::Lease`] that many tasks look at, on a clock that also runs while the machine is suspended.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<AtomicU64>);

impl Lease {
    /// Whether a message may be completed now.
    pub fn holds(&self) -> bool {
        let until = DurationMs(self.0.load(Ordering::Acquire));
        lease::Lease { until }.holds(since_boot())
    }

    fn set(&self, lease: lease::Lease) {
        self.0.store(lease.until.0, Ordering::Release);
    }
}

/// The time since the machine started, suspended time included.
fn since_boot() -> DurationMs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ms = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    DurationMs(u64::try_from(ms).unwrap_or(0))
}

/// The meta group, as a sender sees it.
#[derive(Debug, Clone)]
pub struct Sessions {
    cluster: Cluster,
}

/// A session that is kept alive in the background.
#[derive(Debug)]
pub struct KeptSession {
    sessions: Sessions,
    pub session: watch::Receiver<Session>,
    pub lease: Lease,
    tell: Arc<Tell>,
    stop: CancellationToken,
}

impl Sessions {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// Registers the sender of this name, again and again if need be, until the result is closed or dropped.
    pub fn keep(&self, sender: &str) -> KeptSession {
        let (told, session) = watch::channel(Session::default());
        let (lease, stop) = (Lease::default(), CancellationToken::new());
        let tell = Arc::new(Tell::default());
        let keeper = Keeper {
            sessions: self.clone(),
            sender: sender.to_owned(),
            told,
            lease: lease.clone(),
            tell: tell.clone(),
            order: Mutex::default(),
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = keeper.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        KeptSession {
            sessions: self.clone(),
            session,
            lease,
            tell,
            stop,
        }
    }

    async fn call<T, F>(
        &self,
        doing: &str,
        call: impl FnOnce(SessionsClient<Channel>) -> F,
    ) -> Result<T, SpoolError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let Some((_, channel)) = self.cluster.leader(GroupId::META) else {
            return Err(SpoolError::Unavailable(format!(
                "{doing}: the meta group has no leader"
            )));
        };
        let reply = tokio::time::timeout(CALL_WITHIN, call(SessionsClient::new(channel))).await;
        match reply {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => {
                self.cluster.doubt();
                Err(SpoolError::from_status(doing, &status))
            }
            Err(_) => {
                self.cluster.doubt();
                Err(SpoolError::Unavailable(format!("{doing}: no answer")))
            }
        }
    }
}

impl KeptSession {
    /// Nothing is done for these slots any more: others may have them.
    pub fn release(&self, slots: &[(Slot, Epoch)]) {
        self.tell.released.lock().extend(slots);
        self.tell.hurry.notify_one();
    }

    /// Groups to which there is no work stream.
    pub fn set_unreachable(&self, groups: BTreeSet<GroupId>) {
        *self.tell.unreachable.lock() = groups;
    }

    /// All slots are to leave, for good.
    pub fn retire(&self) {
        self.tell.retiring.store(true, Ordering::Release);
        self.tell.hurry.notify_one();
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
        self.sessions.call("closing a session", closing).await?;
        Ok(())
    }
}

impl Drop for KeptSession {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Keeper {
    sessions: Sessions,
    sender: String,
    told: watch::Sender<Session>,
    lease: Lease,
    tell: Arc<Tell>,
    /// Of the latest attempt to register.
    order: Mutex<u64>,
}

impl Keeper {
    async fn run(&self) {
        loop {
            match self.open().await {
                Ok((session, version, lasts)) => {
                    tracing::info!(%session, "session open");
                    self.beat(session, version, lasts).await;
                    tracing::warn!(%session, "the session has ended");
                    self.lease.set(lease::Lease::ENDED);
                    self.tell.released.lock().clear();
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

    fn change(&self, change: impl FnOnce(&mut Session)) {
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
        };
        let sent_at = since_boot();
        let opening =
            |mut client: SessionsClient<Channel>| async move { client.open(request).await };
        let reply = self.sessions.call("opening a session", opening).await?;
        let slots = reply.slots.unwrap_or_default();
        let (id, version) = (SessionId(reply.session), slots.version);
        let lasts = DurationMs(reply.lease_ms);
        self.lease.set(lease::Lease::granted(sent_at, lasts));
        let (kept, leaving) = (read_slots(&slots.slots)?, read_slots(&slots.leaving)?);
        self.change(|told| {
            told.id = Some(id);
            told.slots = kept;
            told.leaving = leaving;
        });
        Ok((id, version, lasts))
    }

    /// Returns when the session has ended.
    async fn beat(&self, session: SessionId, mut version: u64, lasts: DurationMs) {
        let mut rest = HEARTBEAT;
        let mut changes = None;
        loop {
            if changes.is_none() {
                changes = self.watch().await;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.tell.hurry.notified() => {}
                changed = changed_from(version, &mut changes) => if !changed {
                    changes = None;
                    // The next heartbeat is early enough to look for the leader.
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
            self.leave_if_retiring();
            let released = self.tell.released.lock().clone();
            let request = self.heartbeat(session, version, &released);
            let sent_at = since_boot();
            let beating = |mut client: SessionsClient<Channel>| async move {
                client.heartbeat(request).await
            };
            match self.sessions.call("a heartbeat", beating).await {
                Ok(reply) if !reply.alive => return,
                Ok(reply) => {
                    rest = HEARTBEAT;
                    self.lease.set(lease::Lease::granted(sent_at, lasts));
                    self.forget(&released);
                    self.tell_fans(reply.fans);
                    self.read_policy(reply.policy_version).await;
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
        if self.tell.retiring.load(Ordering::Acquire) && !self.told.borrow().slots.is_empty() {
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
        let unreachable = self.tell.unreachable.lock();
        HeartbeatRequest {
            session: session.0,
            version,
            released: convert::owned_slots(released),
            unreachable_groups: unreachable.iter().map(|group| group.0.into()).collect(),
            retiring: self.tell.retiring.load(Ordering::Acquire),
        }
    }

    /// These releases have arrived.
    fn forget(&self, released: &[(Slot, Epoch)]) {
        let mut waiting = self.tell.released.lock();
        waiting.retain(|slot| !released.contains(slot));
    }

    fn tell_slots(&self, slots: &Slots) {
        let read = read_slots(&slots.slots)
            .and_then(|kept| read_slots(&slots.leaving).map(|leaving| (kept, leaving)));
        let (kept, leaving) = match read {
            Ok(_) if self.tell.retiring.load(Ordering::Acquire) => return,
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

    fn tell_fans(&self, fans: Vec<Fan>) {
        let fans = fans.into_iter();
        let fans: Fans = fans
            .filter_map(|fan| Some((fan.site, u16::try_from(fan.slots).ok()?)))
            .collect();
        self.sessions.cluster.set_fans(fans);
    }

    /// Reads the policy if the leader knows a later one. What cannot be read now is asked for after the next heartbeat.
    async fn read_policy(&self, version: u64) {
        let cluster = &self.sessions.cluster;
        if version <= cluster.policy_version() {
            return;
        }
        let reading = |client: SessionsClient<Channel>| async move {
            let mut client = client.max_decoding_message_size(POLICY_MESSAGE_BYTES_MAX);
            client.get_policy(GetPolicyRequest {}).await
        };
        match self.sessions.call("reading the policy", reading).await {
            Ok(reply) => {
                let resources = reply.resources.into_iter();
                let resources = resources.map(|resource| (resource.key, resource.text));
                cluster.set_policy(PolicyTexts {
                    version: reply.version,
                    resources: resources.collect(),
                });
            }
            Err(error) => tracing::warn!(%error, "the policy could not be read"),
        }
    }

    /// A stream of hints; heartbeats do without if there is none.
    async fn watch(&self) -> Option<tonic::Streaming<WatchReply>> {
        let watching = |mut client: SessionsClient<Channel>| async move {
            client.watch(WatchRequest {}).await
        };
        self.sessions.call("watching slots", watching).await.ok()
    }
}

/// Completes with true when the slots have another version than this, with false when the stream ends.
async fn changed_from(version: u64, changes: &mut Option<tonic::Streaming<WatchReply>>) -> bool {
    let Some(changes) = changes else {
        return std::future::pending().await;
    };
    while let Ok(Some(reply)) = changes.message().await {
        if reply.version != version {
            return true;
        }
    }
    false
}

fn read_slots(slots: &[OwnedSlot]) -> Result<Arc<Vec<(Slot, Epoch)>>, SpoolError> {
    convert::slots(slots)
        .map(Arc::new)
        .map_err(|error| SpoolError::Refused(error.to_string()))
}
