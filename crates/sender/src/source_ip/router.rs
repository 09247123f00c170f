//! The ways out through source IPs: this node's own, those of other nodes, and other people's proxies.
//!
//! An IP is used by one node at a time. So nothing leaves from one when the session has ended that it was placed with, or
//! when it has moved; and before it moves, what is open from it ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use skein_client::{KeptSession, Lease, PlacedIps};
use skein_egress::via::{self, EgressRoute, RouteFault, ViaError};
use skein_egress::{Egress, Stream};
use skein_model::SessionId;
use skein_policy::{Ip, Policy};
use tokio::sync::{Notify, watch};

use crate::source_ip::connections::{ConnectionGuard, IpConnections, Key, Revocation};
use crate::source_ip::egress_route::{is_busy, moved, proxy_route};
use crate::source_ip::outbound_stream::{OutboundStream, Through};
use crate::source_ip::placed::{Missing, Reach, Standing};

/// Between two looks at the lease, which a sender counts a second short.
const LOOK: Duration = Duration::from_millis(100);
/// Another node is near and is there or not.
const NODE_WITHIN: Duration = Duration::from_secs(10);
/// Connections that are cut are closed by then; a socket that is not has no place in a runtime that works.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// Until an IP may have room for another connection.
const BUSY: Duration = Duration::from_secs(1);
/// An IP that changes hands, or is new, is placed by then.
const PLACED_WITHIN: Duration = Duration::from_secs(3);
/// The node of one that is dead is waited for; then it is nowhere.
const MOVES: Duration = Duration::from_secs(30);
/// When a task of an IP that is on its way to a node looks again, and when one whose IP is nowhere does.
const SOON: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(60);

/// Connects to `host:port` of another node, authenticated and encrypted as nodes are.
pub type ConnectTo = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Stream>> + Send + Sync>;

pub struct SourceIpRouter {
    /// What this node holds, for itself and for others.
    egress: Egress,
    /// `host:port` at which this node connects out for others.
    advertised: Option<String>,
    connect: ConnectTo,
    /// Nothing leaves without it.
    lease: OnceLock<Lease>,
    /// The session whose IPs are used, 0 for none.
    own: AtomicU64,
    state: Mutex<IpConnections>,
    /// A connection from an IP that leaves has ended.
    ended: Notify,
    placements: watch::Sender<()>,
}

/// A connection, and what is known of it.
pub struct Opened {
    pub wire: OutboundStream,
    /// The address that the host sees, as far as the way tells.
    pub source: Option<String>,
    pub revocation: Option<Revocation>,
    /// An end before the first byte may be the host's or the way's: the proxy takes connections before it makes its own.
    pub hides_failures: bool,
}

impl fmt::Debug for SourceIpRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceIpRouter")
            .field("advertised", &self.advertised)
            .finish_non_exhaustive()
    }
}

impl SourceIpRouter {
    pub fn new(egress: Egress, advertised: Option<String>, connect: ConnectTo) -> Arc<Self> {
        Arc::new(Self {
            egress,
            advertised,
            connect,
            lease: OnceLock::new(),
            own: AtomicU64::new(0),
            state: Mutex::default(),
            ended: Notify::new(),
            placements: watch::Sender::new(()),
        })
    }

    pub(crate) fn advertised(&self) -> Option<&str> {
        self.advertised.as_deref()
    }

    /// Whether anything may leave from placed IPs at this moment: the lease holds, and it is of the session that they were
    /// placed with. After the process stood still, a new session may be there before it is known here that the old one ended.
    pub(crate) fn holds(&self) -> bool {
        let own = SessionId(self.own.load(Ordering::Acquire));
        let lease = self.lease.get();
        lease.is_some_and(|lease| own != SessionId::NONE && lease.holds(own))
    }

    /// A connection from an IP that leaves has ended.
    pub(crate) fn has_ended(&self) {
        self.ended.notify_one();
    }

    pub(crate) fn connections(&self) -> MutexGuard<'_, IpConnections> {
        self.state.lock()
    }

    /// Takes over what the session says, as long as it is kept.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut policy: watch::Receiver<Arc<Policy>>,
        kept: Arc<KeptSession>,
    ) {
        // Said once: a sender keeps one session after the other.
        let _ = self.lease.set(kept.lease.clone());
        let router = Arc::downgrade(&self);
        self.egress
            .only_while(move || router.upgrade().is_some_and(|router| router.holds()));
        let (mut session, mut ips) = (kept.session.clone(), kept.ips.clone());
        loop {
            let own = session.borrow_and_update().id;
            let own = own.filter(|own| kept.lease.holds(*own));
            let placed = ips.borrow_and_update().clone();
            let known = policy.borrow_and_update().clone();
            kept.release_ips(self.turn(own, placed, Some(known)));
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.ended.notified() => {}
                () = self.egress.a_tunnel_ended(), if self.is_any_leaving() => {}
                changed = session.changed() => if changed.is_err() { return },
                changed = ips.changed() => if changed.is_err() { return },
                changed = policy.changed() => if changed.is_err() { return },
            }
        }
    }

    fn is_any_leaving(&self) -> bool {
        self.state.lock().is_any_leaving()
    }

    /// Ends what must end, and returns what has ended that was to leave.
    fn turn(
        &self,
        own: Option<SessionId>,
        placed: Arc<PlacedIps>,
        policy: Option<Arc<Policy>>,
    ) -> Vec<Key> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.take_over(own, placed, policy, now) {
            return Vec::new();
        }
        let held = state.heed(now);
        self.egress.set(held);
        // All connections that were to be cut are cut.
        let own = own.map_or(0, |own| own.0);
        self.own.store(own, Ordering::Release);
        let released = state.released(now, &self.egress);
        drop(state);
        self.placements.send_replace(());
        for (ip, epoch) in &released {
            tracing::info!(ip, epoch, "a source IP leaves this node");
        }
        released
    }

    /// Cuts everything: the session is about to be closed, and others get the IPs.
    pub(crate) async fn close(&self) {
        self.turn(None, Arc::default(), None);
        let closed = async {
            loop {
                let ended = self.ended.notified();
                let is_closed = self.state.lock().is_empty() && self.egress.open().is_empty();
                if is_closed {
                    return;
                }
                tokio::select! {
                    () = ended => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        };
        if tokio::time::timeout(CLOSED_WITHIN, closed).await.is_err() {
            tracing::warn!("connections from source IPs of this node were cut and do not end");
        }
    }

    /// How an IP stands now.
    pub(crate) fn look(&self, ip: &Ip) -> Result<Standing, Missing> {
        let mut state = self.state.lock();
        let why = match state.reach(ip) {
            Ok(reach) => {
                return Ok(Standing {
                    epoch: reach.epoch(),
                    is_here: matches!(reach, Reach::Here { .. }),
                });
            }
            Err(why) => why,
        };
        let now = Instant::now();
        let since = state.missed_since(&ip.name, now);
        let again = match now.saturating_duration_since(since) < MOVES {
            true => SOON,
            false => LATER,
        };
        Err(Missing { why, again })
    }

    /// Waits until a pool has an IP that can be used, if that is likely to come soon.
    pub(crate) async fn wait_until_placed(&self, policy: &Policy, pool: &str) {
        if !self.may_come(policy, pool) {
            return;
        }
        let mut placements = self.placements.subscribe();
        let placed = async {
            loop {
                placements.borrow_and_update();
                if !self.may_come(policy, pool) || placements.changed().await.is_err() {
                    return;
                }
            }
        };
        // An IP that takes longer is missed when the task looks for one.
        let _ = tokio::time::timeout(PLACED_WITHIN, placed).await;
    }

    /// Whether none of a pool's IPs can be used, and one of them has not been missed for long.
    fn may_come(&self, policy: &Policy, pool: &str) -> bool {
        let Some(pool) = policy.pool(pool) else {
            return false;
        };
        let mut may_come = false;
        for member in &pool.members {
            let Some(ip) = policy.ip(&member.ip.value).filter(|ip| !ip.is_suspended) else {
                continue;
            };
            if self.look(ip).is_ok() {
                return false;
            }
            let now = Instant::now();
            let since = self.state.lock().missed_since(&ip.name, now);
            may_come |= now.saturating_duration_since(since) < PLACED_WITHIN;
        }
        may_come
    }

    /// Connects to a host from an IP. One that has as many connections as it may have is waited for, as for any limit, and
    /// for no longer than `limit`.
    ///
    /// # Errors
    /// See [`ViaError`]: only some say anything about the host.
    pub(crate) async fn open(
        self: &Arc<Self>,
        ip: &Ip,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<Opened, ViaError> {
        let until = Instant::now() + limit;
        loop {
            let opened = self.try_open(ip, target, limit).await;
            let is_busy = opened.as_ref().is_err_and(is_busy);
            if !is_busy || Instant::now() >= until {
                return opened;
            }
            // Senders that wait at other nodes do not come all at once.
            tokio::time::sleep(BUSY.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    async fn try_open(
        self: &Arc<Self>,
        ip: &Ip,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<Opened, ViaError> {
        if let Some(proxy) = &ip.proxy {
            let way = proxy_route(ip, proxy);
            let hides_failures = way.hides_failures();
            let (stream, source) = via::connect(way, target, limit).await?;
            return Ok(Opened {
                wire: OutboundStream::Proxy(stream),
                source: Some(source),
                revocation: None,
                hides_failures,
            });
        }
        let (guard, egress) = self.begin(ip)?;
        let revocation = guard.revocation.clone();
        let opening = async {
            match egress {
                None => self.open_here(guard, target, limit).await,
                Some(egress) => self.open_there(guard, egress, target, limit).await,
            }
        };
        let (wire, source) = tokio::select! {
            biased;
            () = revocation.cut.cancelled() => return Err(moved(ip)),
            () = revocation.now.cancelled() => return Err(moved(ip)),
            opened = opening => opened?,
        };
        Ok(Opened {
            wire,
            source,
            revocation: Some(revocation),
            hides_failures: false,
        })
    }

    /// Takes a place among the connections from an IP, and says which node they go through if it is another one.
    fn begin(self: &Arc<Self>, ip: &Ip) -> Result<(ConnectionGuard, Option<String>), ViaError> {
        let mut state = self.state.lock();
        let (epoch, egress) = match state.reach(ip) {
            Ok(Reach::Here { epoch }) => (epoch, None),
            Ok(Reach::There { epoch, egress }) => (epoch, Some(egress.to_owned())),
            Ok(Reach::Proxy) | Err(_) => return Err(moved(ip)),
        };
        if !self.holds() {
            return Err(moved(ip));
        }
        let key = (ip.name.to_string(), epoch);
        let revocation = state.begin(&key);
        let guard = ConnectionGuard::new(self.clone(), key, revocation);
        Ok((guard, egress))
    }

    async fn open_here(
        &self,
        guard: ConnectionGuard,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<(OutboundStream, Option<String>), ViaError> {
        let (ip, epoch) = guard.key();
        let stream = self.egress.connect(ip, *epoch, target, limit).await?;
        let source = stream.local_addr().map(|address| address.ip().to_string());
        let wire = OutboundStream::Here {
            stream,
            _guard: guard,
        };
        Ok((wire, source.ok()))
    }

    async fn open_there(
        &self,
        guard: ConnectionGuard,
        egress: String,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<(OutboundStream, Option<String>), ViaError> {
        let unreachable = |reason: &dyn fmt::Display| {
            let text = format!("the node of ip {} at {egress}: {reason}", guard.key().0);
            ViaError::route(RouteFault::Unreachable, text)
        };
        let connected = tokio::time::timeout(NODE_WITHIN, (self.connect)(egress.clone())).await;
        let stream = connected
            .map_err(|_| unreachable(&"no answer"))?
            .map_err(|error| unreachable(&skein_egress::io_fault::of_io(&error)))?;
        let (ip, epoch) = guard.key().clone();
        let way = EgressRoute::Node { stream, ip, epoch };
        let (stream, source) = via::connect(way, target, limit).await?;
        Ok((
            OutboundStream::There(Box::new(Through::new(stream, guard))),
            Some(source),
        ))
    }
}

#[cfg(test)]
impl SourceIpRouter {
    /// Of session 7, which is told this.
    pub fn told(placed: PlacedIps, policy: &Policy) -> Arc<Self> {
        let metrics = skein_egress::Metrics::default();
        let egress = Egress::new(&skein_egress::Config::default(), metrics);
        let nobody: ConnectTo =
            Arc::new(|_| Box::pin(async { Err(io::ErrorKind::NotFound.into()) }));
        let router = Self::new(egress, None, nobody);
        router.turn(
            Some(SessionId(7)),
            Arc::new(placed),
            Some(Arc::new(policy.clone())),
        );
        router
    }
}
