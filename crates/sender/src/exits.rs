//! The ways out through source IPs: this node's own, those of other nodes, and other people's proxies.
//!
//! An IP is used by one node at a time. So nothing leaves from one when the session has ended that it was placed with, or
//! when it has moved; and before it moves, what is open from it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use skein_client::{KeptSession, Lease, PlacedIps};
use skein_egress::via::{self, ViaError, Way, WayFault};
use skein_egress::{Egress, Stream};
use skein_model::SessionId;
use skein_policy::{Ip, Policy, Proxy};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::placed::{self, INHERITED, Reach, Stage, Unreached};
use crate::sources::is_present;
use crate::wire::{Through, Wire};

/// Between two looks at the lease, which a sender counts a second short.
const LOOK: Duration = Duration::from_millis(100);
/// Another node is near and is there or not.
const NODE_WITHIN: Duration = Duration::from_secs(10);
/// What is cut is closed by then; a socket that is not has no place in a runtime that works.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// An IP that changes hands, or is new, is placed by then.
const SETTLES: Duration = Duration::from_secs(3);
/// The node of one that is dead is waited for; then it is nowhere.
const MOVES: Duration = Duration::from_secs(30);
/// When a task of an IP that is on its way to a node looks again, and when one whose IP is nowhere does.
const SOON: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(60);

/// Connects to `host:port` of another node, authenticated and encrypted as nodes are.
pub type ConnectTo = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Stream>> + Send + Sync>;

type Key = (String, u64);

pub struct Exits {
    /// What this node holds, for itself and for others.
    egress: Egress,
    /// `host:port` at which this node connects out for others.
    advertised: Option<String>,
    connect: ConnectTo,
    lease: OnceLock<Lease>,
    state: Mutex<State>,
    /// A connection from an IP that leaves has ended.
    ended: Notify,
    placements: watch::Sender<()>,
}

struct State {
    own: Option<SessionId>,
    since: Instant,
    placed: Arc<PlacedIps>,
    policy: Option<Arc<Policy>>,
    /// One for each IP and epoch that has connections, so no more than connections.
    uses: BTreeMap<Key, Use>,
    /// Since when IPs have been leaving.
    leaving: BTreeMap<Key, Instant>,
    /// IPs that were let go of in this session.
    told: BTreeSet<Key>,
    /// Since when IPs of policy have been missed that are nowhere, or are leaving.
    missing: BTreeMap<String, Instant>,
}

#[derive(Default)]
struct Use {
    connections: usize,
    leave: Leave,
    cut: CancellationToken,
}

/// What a connection heeds of its IP.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// No further transaction is begun.
    pub soon: CancellationToken,
    /// Nothing that is not beyond its final dot goes on.
    pub now: CancellationToken,
}

/// A connection that counts as one from its IP, from before it is opened until its socket is closed and this is dropped.
pub struct Stay {
    exits: Arc<Exits>,
    key: Key,
    pub leave: Leave,
    pub cut: CancellationToken,
}

/// A connection, and what is known of it.
pub struct Opened {
    pub wire: Wire,
    /// The address that the host sees, as far as the way tells.
    pub source: Option<String>,
    pub leave: Option<Leave>,
    /// An end before the first byte may be the host's or the way's: the proxy takes connections before it makes its own.
    pub hides_failures: bool,
}

/// How an IP stands, for the choice among a pool's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// 0 for one behind a proxy.
    pub epoch: u64,
    /// It is bound by this process.
    pub is_here: bool,
}

/// An IP that cannot be used, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub why: Unreached,
    pub again: Duration,
}

impl fmt::Debug for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exits")
            .field("advertised", &self.advertised)
            .finish_non_exhaustive()
    }
}

impl Exits {
    pub fn new(egress: Egress, advertised: Option<String>, connect: ConnectTo) -> Arc<Self> {
        Arc::new(Self {
            egress,
            advertised,
            connect,
            lease: OnceLock::new(),
            state: Mutex::new(State {
                own: None,
                since: Instant::now(),
                placed: Arc::default(),
                policy: None,
                uses: BTreeMap::new(),
                leaving: BTreeMap::new(),
                told: BTreeSet::new(),
                missing: BTreeMap::new(),
            }),
            ended: Notify::new(),
            placements: watch::Sender::new(()),
        })
    }

    pub(crate) fn advertised(&self) -> Option<&str> {
        self.advertised.as_deref()
    }

    fn holds(&self) -> bool {
        self.lease.get().is_some_and(Lease::holds)
    }

    /// Takes over what the session says, as long as it is kept.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut policy: watch::Receiver<Arc<Policy>>,
        kept: Arc<KeptSession>,
    ) {
        let lease = kept.lease.clone();
        // Said once: a sender keeps one session after the other with one lease.
        let _ = self.lease.set(lease.clone());
        self.egress.only_while(move || lease.holds());
        let (mut session, mut ips) = (kept.session.clone(), kept.ips.clone());
        loop {
            let own = session.borrow_and_update().id.filter(|_| self.holds());
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
        !self.state.lock().leaving.is_empty()
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
                let is_closed = self.state.lock().uses.is_empty() && self.egress.open().is_empty();
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
        let reach = placed::reach(state.own, &state.placed, ip);
        let why = match reach {
            Ok(reach) => {
                return Ok(Standing {
                    epoch: reach.epoch(),
                    is_here: matches!(reach, Reach::Here { .. }),
                });
            }
            Err(why) => why,
        };
        let now = Instant::now();
        let since = *state.missing.entry(ip.name.to_string()).or_insert(now);
        let again = match now.saturating_duration_since(since) < MOVES {
            true => SOON,
            false => LATER,
        };
        Err(Missing { why, again })
    }

    /// Waits until a pool has an IP that can be used, if that is likely to come soon.
    pub(crate) async fn settle(&self, policy: &Policy, pool: &str) {
        if !self.may_come(policy, pool) {
            return;
        }
        let mut placements = self.placements.subscribe();
        let settled = async {
            loop {
                placements.borrow_and_update();
                if !self.may_come(policy, pool) || placements.changed().await.is_err() {
                    return;
                }
            }
        };
        // One that takes longer is found out about when the task looks for its IP.
        let _ = tokio::time::timeout(SETTLES, settled).await;
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
            let state = self.state.lock();
            let since = state.missing.get(&*ip.name);
            may_come |= since.is_some_and(|since| since.elapsed() < SETTLES);
        }
        may_come
    }

    /// Connects to a host from an IP.
    ///
    /// # Errors
    /// See [`ViaError`]: only some say anything about the host.
    pub(crate) async fn open(
        self: &Arc<Self>,
        ip: &Ip,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<Opened, ViaError> {
        if let Some(proxy) = &ip.proxy {
            let way = proxy_way(ip, proxy);
            let hides_failures = way.hides_failures();
            let (stream, source) = via::connect(way, target, limit).await?;
            return Ok(Opened {
                wire: Wire::Proxy(stream),
                source: Some(source),
                leave: None,
                hides_failures,
            });
        }
        let (stay, egress) = self.begin(ip)?;
        let (cut, leave) = (stay.cut.clone(), stay.leave.clone());
        let opening = async {
            match egress {
                None => self.open_here(stay, target, limit).await,
                Some(egress) => self.open_there(stay, egress, target, limit).await,
            }
        };
        let (wire, source) = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(moved(ip)),
            () = leave.now.cancelled() => return Err(moved(ip)),
            opened = opening => opened?,
        };
        Ok(Opened {
            wire,
            source,
            leave: Some(leave),
            hides_failures: false,
        })
    }

    /// Takes a place among the connections from an IP, and says which node they go through if it is another one.
    fn begin(self: &Arc<Self>, ip: &Ip) -> Result<(Stay, Option<String>), ViaError> {
        let mut state = self.state.lock();
        let (epoch, egress) = match placed::reach(state.own, &state.placed, ip) {
            Ok(Reach::Here { epoch }) => (epoch, None),
            Ok(Reach::There { epoch, egress }) => (epoch, Some(egress.to_owned())),
            Ok(Reach::Proxy) | Err(_) => return Err(moved(ip)),
        };
        if !self.holds() {
            return Err(moved(ip));
        }
        let key = (ip.name.to_string(), epoch);
        let using = state.uses.entry(key.clone()).or_default();
        using.connections += 1;
        let stay = Stay {
            exits: self.clone(),
            key,
            leave: using.leave.clone(),
            cut: using.cut.clone(),
        };
        Ok((stay, egress))
    }

    async fn open_here(
        &self,
        stay: Stay,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<(Wire, Option<String>), ViaError> {
        let (ip, epoch) = &stay.key;
        let stream = self.egress.connect(ip, *epoch, target, limit).await?;
        let source = stream.local_addr().map(|address| address.ip().to_string());
        let wire = Wire::Here {
            stream,
            _stay: stay,
        };
        Ok((wire, source.ok()))
    }

    async fn open_there(
        &self,
        stay: Stay,
        egress: String,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<(Wire, Option<String>), ViaError> {
        let unreachable = |reason: &dyn fmt::Display| {
            let text = format!("the node of ip {} at {egress}: {reason}", stay.key.0);
            ViaError::way(WayFault::Unreachable, text)
        };
        let connected = tokio::time::timeout(NODE_WITHIN, (self.connect)(egress.clone())).await;
        let stream = connected
            .map_err(|_| unreachable(&"no answer"))?
            .map_err(|error| unreachable(&error))?;
        let (ip, epoch) = stay.key.clone();
        let way = Way::Node { stream, ip, epoch };
        let (stream, source) = via::connect(way, target, limit).await?;
        Ok((
            Wire::There(Box::new(Through::new(stream, stay))),
            Some(source),
        ))
    }
}

fn moved(ip: &Ip) -> ViaError {
    let text = format!("ip {} is at no node, or moves to another one", ip.name);
    ViaError::way(WayFault::Stale, text)
}

fn proxy_way(ip: &Ip, proxy: &Proxy) -> Way {
    match proxy {
        Proxy::Socks5 { server, login } => Way::Socks5 {
            proxy: server.clone(),
            login: login.as_ref().map(|login| via::Login {
                user: login.user.clone(),
                password: login.password.clone(),
            }),
        },
        Proxy::Haproxy { server } => Way::HaProxy {
            proxy: server.clone(),
            source: SocketAddr::new(ip.bind, 0),
        },
    }
}

impl State {
    /// False if nothing has changed and nothing leaves.
    fn take_over(
        &mut self,
        own: Option<SessionId>,
        placed: Arc<PlacedIps>,
        policy: Option<Arc<Policy>>,
        now: Instant,
    ) -> bool {
        let known = self.policy.as_ref().map(Arc::as_ptr);
        let is_same = self.own == own
            && Arc::ptr_eq(&self.placed, &placed)
            && known == policy.as_ref().map(Arc::as_ptr);
        if is_same && self.leaving.is_empty() {
            return false;
        }
        if self.own != own {
            self.since = now;
            self.told.clear();
        }
        (self.own, self.placed, self.policy) = (own, placed, policy);
        let leaving = self.placed.ips.values().filter(|at| at.is_leaving);
        let leaving: BTreeMap<Key, Instant> = leaving
            .map(|at| {
                let key = (at.name.clone(), at.epoch);
                let since = self.leaving.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
        self.leaving = leaving;
        let (placed, policy) = (&self.placed, &self.policy);
        self.missing.retain(|name, _| {
            let is_wanted = policy
                .as_ref()
                .is_some_and(|policy| policy.ip(name).is_some());
            is_wanted && placed.ips.get(name).is_none_or(|at| at.is_leaving)
        });
        true
    }

    /// Tells all connections how their IPs stand, and returns what this node holds.
    fn heed(&self, now: Instant) -> skein_egress::Placements {
        let leaving_for = |name: &str, epoch: u64| {
            let since = self.leaving.get(&(name.to_owned(), epoch))?;
            Some(now.saturating_duration_since(*since))
        };
        for ((name, epoch), using) in &self.uses {
            let at = self.placed.ips.get(name).filter(|at| at.epoch == *epoch);
            let stage = match (self.own, at) {
                (None, _) | (_, None) => Stage::Cut,
                (Some(_), Some(_)) => placed::stage(leaving_for(name, *epoch), true),
            };
            using.heed(stage);
        }
        let Some(policy) = &self.policy else {
            return skein_egress::Placements::new();
        };
        placed::held(
            self.own,
            &self.placed,
            policy,
            &|at, ip| match leaving_for(&at.name, at.epoch) {
                None => Stage::Stays,
                time => placed::stage(time, is_present(ip.bind)),
            },
        )
    }

    /// IPs of this node that were to leave and from which no connection is left, told once.
    fn released(&mut self, now: Instant, egress: &Egress) -> Vec<Key> {
        let Some(own) = self.own else {
            return Vec::new();
        };
        if now.saturating_duration_since(self.since) < INHERITED {
            return Vec::new();
        }
        let is_free = |name: &str, epoch: u64| {
            let is_used = |key: &Key| key.0 == name && key.1 <= epoch;
            !self.uses.keys().any(is_used) && egress.tunnels(name, epoch) == 0
        };
        let leaving = self.placed.ips.values();
        let leaving = leaving.filter(|at| at.is_leaving && at.session == own.0);
        let free: Vec<Key> = leaving
            .filter(|at| is_free(&at.name, at.epoch))
            .map(|at| (at.name.clone(), at.epoch))
            .filter(|key| !self.told.contains(key))
            .collect();
        self.told.extend(free.iter().cloned());
        free
    }
}

impl Use {
    fn heed(&self, stage: Stage) {
        if stage >= Stage::Leaving {
            self.leave.soon.cancel();
        }
        if stage >= Stage::GivenUp {
            self.leave.now.cancel();
        }
        if stage >= Stage::Cut {
            self.cut.cancel();
        }
    }
}

impl Stay {
    /// Whether a byte may leave from the IP now.
    pub fn holds(&self) -> bool {
        !self.cut.is_cancelled() && self.exits.holds()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut state = self.exits.state.lock();
        let using = state.uses.get_mut(&self.key);
        let using = using.expect("whoever ends a stay has begun it");
        using.connections -= 1;
        if using.connections == 0 {
            state.uses.remove(&self.key);
        }
        drop(state);
        if self.leave.soon.is_cancelled() {
            self.exits.ended.notify_one();
        }
    }
}

#[cfg(test)]
impl Exits {
    /// Of session 7, which is told this.
    pub fn told(placed: PlacedIps, policy: &Policy) -> Arc<Self> {
        let metrics = skein_egress::Metrics::default();
        let egress = Egress::new(&skein_egress::Config::default(), metrics);
        let nobody: ConnectTo =
            Arc::new(|_| Box::pin(async { Err(io::ErrorKind::NotFound.into()) }));
        let exits = Self::new(egress, None, nobody);
        exits.turn(
            Some(SessionId(7)),
            Arc::new(placed),
            Some(Arc::new(policy.clone())),
        );
        exits
    }
}
