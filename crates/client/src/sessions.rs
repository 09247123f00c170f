//! A sender's session: opened at the meta group's leader, kept by heartbeats, and opened again when it is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skein_model::broken_tls::Broken;
use skein_model::meta::Process;
use skein_model::{DurationMs, Epoch, GroupId, SessionId, Slot, lease};
use skein_wire::convert;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{
    CloseSessionRequest, HeldIp, IpCheck, NodeAddresses, PlacedIp, SenderHealth,
    TellIpChecksRequest, TellWaitsRequest, Wait,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::SpoolError;
use crate::channel::Channel;
use crate::cluster::Cluster;
use crate::keeper::Keeper;
use crate::limits::{self, LimitKeeper};

const CALL_WITHIN: Duration = Duration::from_secs(2);

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
pub(crate) struct Tell {
    pub released: Mutex<Vec<(Slot, Epoch)>>,
    pub unreachable: Mutex<BTreeSet<GroupId>>,
    pub retiring: AtomicBool,
    /// What the node has, once somebody has looked.
    pub addresses: Mutex<Option<NodeAddresses>>,
    pub released_ips: Mutex<Vec<HeldIp>>,
    pub hurry: Notify,
}

/// Where source IPs are used, as the leader last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacedIps {
    pub version: u64,
    pub ips: BTreeMap<String, PlacedIp>,
}

/// A [`lease::Lease`] that many tasks look at, on a clock that also runs while the machine is suspended.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<Holder>);

#[derive(Debug, Default)]
struct Holder {
    until: AtomicU64,
    session: AtomicU64,
}

impl Lease {
    /// Whether a message that came with this session may be completed now.
    pub fn holds(&self, session: SessionId) -> bool {
        self.of(session).holds(since_boot())
    }

    /// Completes when no message that came with this session may be completed any more.
    pub async fn ended(&self, session: SessionId) {
        loop {
            match self.of(session).left(since_boot()) {
                DurationMs(0) => return,
                left => tokio::time::sleep(left.into()).await,
            }
        }
    }

    /// The lease if it is this session's; that of a later one keeps nothing valid that was said to this one.
    pub fn of(&self, session: SessionId) -> lease::Lease {
        // In this order: a session is written before its first lease, and after the end of the one before it.
        let until = DurationMs(self.0.until.load(Ordering::SeqCst));
        match self.0.session.load(Ordering::SeqCst) == session.0 {
            true => lease::Lease { until },
            false => lease::Lease::ENDED,
        }
    }

    /// A session begins. The one before it has no lease from here on.
    pub fn begin(&self, session: SessionId, lease: lease::Lease) {
        self.0.until.store(0, Ordering::SeqCst);
        self.0.session.store(session.0, Ordering::SeqCst);
        self.set(lease);
    }

    pub(crate) fn set(&self, lease: lease::Lease) {
        self.0.until.store(lease.until.0, Ordering::SeqCst);
    }
}

/// The time since the machine started, suspended time included.
pub fn since_boot() -> DurationMs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ms = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    DurationMs(u64::try_from(ms).unwrap_or(0))
}

/// The meta group, as a sender sees it.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub(crate) cluster: Cluster,
}

/// A session that is kept alive in the background.
#[derive(Debug)]
pub struct KeptSession {
    pub(crate) sessions: Sessions,
    pub session: watch::Receiver<Session>,
    pub lease: Lease,
    pub ips: watch::Receiver<Arc<PlacedIps>>,
    tell: Arc<Tell>,
    stop: CancellationToken,
}

impl Sessions {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// Registers the sender of this name, again and again if need be, until the result is closed or dropped. Another process
    /// that lives and has the name keeps it.
    pub fn keep(
        &self,
        sender: &str,
        process: Process,
        limits: Arc<dyn LimitKeeper>,
    ) -> KeptSession {
        let (told, session) = watch::channel(Session::default());
        let (lease, stop) = (Lease::default(), CancellationToken::new());
        let tell = Arc::new(Tell::default());
        let (placed, ips) = watch::channel(Arc::default());
        let keeper = Keeper {
            sessions: self.clone(),
            sender: sender.to_owned(),
            process,
            told,
            lease: lease.clone(),
            tell: tell.clone(),
            placed,
            order: Mutex::default(),
            limits: limits.clone(),
        };
        let reporting = limits::report(self.clone(), session.clone(), limits);
        let stopped = stop.clone();
        skein_runtime::task("session", async move {
            tokio::select! {
                () = keeper.run() => {}
                () = reporting => {}
                () = stopped.cancelled() => {}
            }
        });
        KeptSession {
            sessions: self.clone(),
            session,
            lease,
            ips,
            tell,
            stop,
        }
    }

    pub(crate) async fn call<T, F>(
        &self,
        doing: &str,
        call: impl FnOnce(SessionsClient<Channel>) -> F,
    ) -> Result<T, SpoolError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let Some((_, channel)) = self.cluster.leader(GroupId::META) else {
            let why = self.cluster.no_leader(GroupId::META);
            return Err(SpoolError::Unavailable(format!("{doing}: {why}")));
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
    /// The session of this moment.
    pub(crate) fn id(&self) -> Result<SessionId, SpoolError> {
        let id = self.session.borrow().id;
        id.ok_or_else(|| SpoolError::Unavailable("there is no session".into()))
    }

    /// Nothing is done for these slots any more: others may have them.
    pub fn release(&self, slots: &[(Slot, Epoch)]) {
        self.tell.released.lock().extend(slots);
        self.tell.hurry.notify_one();
    }

    /// Groups to which there is no work stream.
    pub fn set_unreachable(&self, groups: BTreeSet<GroupId>) {
        *self.tell.unreachable.lock() = groups;
    }

    /// What the node of this sender has, and where it connects out for others.
    pub fn set_addresses(&self, local: &BTreeSet<IpAddr>, egress: Option<&str>) {
        let now = NodeAddresses {
            local: local.iter().map(ToString::to_string).collect(),
            egress: egress.unwrap_or_default().to_owned(),
        };
        let before = self.tell.addresses.lock().replace(now.clone());
        if before != Some(now) {
            self.tell.hurry.notify_one();
        }
    }

    /// No connection of these IPs is left here: others may have them.
    pub fn release_ips(&self, ips: impl IntoIterator<Item = (String, u64)>) {
        let ips: Vec<HeldIp> = ips
            .into_iter()
            .map(|(name, epoch)| HeldIp { name, epoch })
            .collect();
        if !ips.is_empty() {
            self.tell.released_ips.lock().extend(ips);
            self.tell.hurry.notify_one();
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
        let reply = self.sessions.call("telling of waits", telling).await?;
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
        self.sessions.call("telling of source IPs", telling).await?;
        Ok(())
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
