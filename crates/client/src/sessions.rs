//! A sender's session: opened at the meta group's leader, kept by heartbeats, and opened again when it is lost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skein_model::{Epoch, GroupId, SessionId, Slot};
use skein_wire::convert;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{CloseSessionRequest, HeartbeatRequest, OpenSessionRequest, Slots};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::SpoolError;
use crate::channel::Channel;
use crate::cluster::Cluster;

/// Four heartbeats fit into a lease of 10 s.
const HEARTBEAT: Duration = Duration::from_millis(2500);
const CALL_WITHIN: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// A sender stops this long before its lease ends (DESIGN section 8).
const STOP_EARLY_MS: u64 = 1000;

/// What a sender may work on at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// None while there is no session.
    pub id: Option<SessionId>,
    pub slots: Arc<Vec<(Slot, Epoch)>>,
}

/// Until when a session surely lasts, on a clock that also runs while the machine is suspended.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<AtomicU64>);

impl Lease {
    /// Whether a message may be completed now.
    pub fn holds(&self) -> bool {
        boot_ms() + STOP_EARLY_MS < self.0.load(Ordering::Acquire)
    }

    fn extend(&self, sent_at: u64, lease_ms: u64) {
        self.0.store(sent_at + lease_ms, Ordering::Release);
    }

    fn end(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Milliseconds since the machine started, suspended time included.
fn boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ms = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
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
        let keeper = Keeper {
            sessions: self.clone(),
            sender: sender.to_owned(),
            told,
            lease: lease.clone(),
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
    /// Hands the slots back, so that others take them over at once.
    pub async fn close(self) -> Result<(), SpoolError> {
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
}

impl Keeper {
    async fn run(&self) {
        loop {
            match self.open().await {
                Ok((session, version, lease_ms)) => {
                    tracing::info!(%session, "session open");
                    self.beat(session, version, lease_ms).await;
                    tracing::warn!(%session, "the session has ended");
                    self.lease.end();
                    self.told.send_replace(Session::default());
                }
                Err(error) => {
                    tracing::warn!(%error, "no session");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<(SessionId, u64, u64), SpoolError> {
        let request = OpenSessionRequest {
            sender: self.sender.clone(),
        };
        let sent_at = boot_ms();
        let opening =
            |mut client: SessionsClient<Channel>| async move { client.open(request).await };
        let reply = self.sessions.call("opening a session", opening).await?;
        let slots = reply.slots.unwrap_or_default();
        let (id, version) = (SessionId(reply.session), slots.version);
        self.lease.extend(sent_at, reply.lease_ms);
        self.told.send_replace(Session {
            id: Some(id),
            slots: read_slots(&slots)?,
        });
        Ok((id, version, reply.lease_ms))
    }

    /// Returns when the session has ended.
    async fn beat(&self, session: SessionId, mut version: u64, lease_ms: u64) {
        let mut rest = HEARTBEAT;
        loop {
            tokio::time::sleep(rest).await;
            let request = HeartbeatRequest {
                session: session.0,
                version,
            };
            let sent_at = boot_ms();
            let beating = |mut client: SessionsClient<Channel>| async move {
                client.heartbeat(request).await
            };
            match self.sessions.call("a heartbeat", beating).await {
                Ok(reply) if !reply.alive => return,
                Ok(reply) => {
                    rest = HEARTBEAT;
                    self.lease.extend(sent_at, lease_ms);
                    let Some(slots) = reply.slots else {
                        continue;
                    };
                    match read_slots(&slots) {
                        Ok(read) => {
                            version = slots.version;
                            tracing::info!(slots = read.len(), "slots changed");
                            self.told.send_modify(|session| session.slots = read);
                        }
                        Err(error) => tracing::error!(%error, "slots cannot be read"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the session is not renewed");
                    rest = TRY_AGAIN;
                }
            }
        }
    }
}

fn read_slots(slots: &Slots) -> Result<Arc<Vec<(Slot, Epoch)>>, SpoolError> {
    slots
        .slots
        .iter()
        .map(|owned| convert::slot(owned.slot, owned.epoch))
        .collect::<Result<_, _>>()
        .map(Arc::new)
        .map_err(|error| SpoolError::Refused(error.to_string()))
}
