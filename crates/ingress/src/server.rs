//! Listeners: from an accepted connection to a session, and the drain.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use skein_authentication::Authenticator;
use skein_client::Spools;
use skein_client::signing::Signing;
use skein_policy::Policy;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::{Owner, owner_of_client};
use crate::config::{Config, Listener, TlsMode};
use crate::connections::{ConnectionPermit, Connections};
use crate::drain::Drain;
use crate::guessing::Guesses;
use crate::intake;
use crate::lockout::{self, Attempt, Lock, Lockout, Lockouts};
use crate::memory::{Memory, PATIENCE};
use crate::metrics::Metrics;
use crate::network::client_of;
use crate::passwords::Passwords;
use crate::proxy;
use crate::rates::TakeToken;
use crate::session::{self, Ground, Session};
use crate::shared_guesses;
use crate::shares::Account;
use crate::signing_threads::SigningThreads;
use crate::sites::SiteOf;
use crate::tls::Tls;

/// Sessions end by themselves when the grace of a drain is over; who has not by then is left.
const DRAIN_END: Duration = Duration::from_secs(2);
const TOO_MANY: &str = "421 4.3.2 Too many connections, try again later\r\n";
const CLOSED: &str = "421 4.3.2 This node takes no mail now, try another or come again\r\n";

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the listener {0} needs a certificate")]
    NoCertificate(SocketAddr),
    #[error("the system has no thread that makes DKIM signatures")]
    NoThread(#[source] std::io::Error),
}

/// What all sessions share.
pub struct Shared {
    config: RwLock<Arc<Config>>,
    pub spools: Spools,
    pub signing: Signing,
    pub signing_threads: SigningThreads,
    policy: watch::Receiver<Arc<Policy>>,
    pub site_of: SiteOf,
    pub take_token: TakeToken,
    pub authenticator: Authenticator,
    pub metrics: Metrics,
    pub memory: Memory,
    pub tls: Option<Tls>,
    pub connections: Arc<Connections>,
    pub guesses: Arc<Mutex<Guesses>>,
    pub passwords: Passwords,
    pub lockouts: mpsc::Sender<Lockout>,
    /// What the time of guesses counts from.
    pub began: Instant,
    pub drain: Drain,
    /// An operator took the node out of service; unlike a drain, this may end.
    pub closed: Arc<AtomicBool>,
}

impl Shared {
    /// The settings of this moment. What must not change within a session or a transaction is kept from its beginning.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    /// The latest policy that is known here.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.borrow().clone()
    }

    /// Whose mail a client hands in that has not logged in; none for strangers.
    pub fn owner_of(&self, client: IpAddr) -> Option<Owner> {
        owner_of_client(&self.config(), &self.policy(), client, intake::now())
    }

    /// Writes down who is locked out; the address is that of the last failure.
    pub fn tell_of(&self, what: Attempt, address: IpAddr, locks: impl IntoIterator<Item = Lock>) {
        for lock in locks {
            let Lock {
                locked,
                failures,
                time,
            } = &lock;
            tracing::warn!(what = what.name(), ?locked, client = %address, failures, for_s = time.as_secs(), "locked out");
            self.metrics.lockouts.inc();
            let lockout = Lockout {
                at: intake::now(),
                what,
                address,
                lock,
            };
            // The reader is too slow, or has gone: it is in the log.
            let _ = self.lockouts.try_send(lockout);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.drain.has_begun()
    }
}

/// What is asked of other parts of the node.
pub struct Hooks {
    pub site_of: SiteOf,
    pub take_token: TakeToken,
    /// What messages of strangers prove of themselves.
    pub authenticator: Authenticator,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Listener)>,
}

/// Where a server takes over other settings while it runs.
#[derive(Clone)]
pub struct Settings(Arc<Shared>);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

impl Settings {
    /// From here on users log in, and clients relay, as this says: at the next AUTH, MAIL or RCPT of sessions that are open,
    /// too. What is told at EHLO, limits of a connection and timeouts hold for connections that begin from now on. More
    /// connections than there may be, and more memory, are left to those that have them. Listeners stay as they are.
    pub fn set(&self, config: Config) {
        let Shared {
            config: current,
            connections,
            memory,
            ..
        } = &*self.0;
        connections.set_limits(config.connections_max, config.connections_per_client_max);
        memory.set_total(config.memory_bytes);
        *current.write() = Arc::new(config);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.local_addrs())
            .finish_non_exhaustive()
    }
}

/// Connections that wait to be accepted: a client that comes when there is no room for more tries again after a second. The
/// kernel's own bound is 4096 (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of a process that has just ended do not keep the address from the next.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Opens all listeners. Also gives the lockouts that there will be.
    ///
    /// # Errors
    /// One of them cannot be opened; then none is.
    pub fn bind(
        config: Config,
        tls: Option<Tls>,
        spools: Spools,
        policy: watch::Receiver<Arc<Policy>>,
        hooks: Hooks,
        registry: &mut Registry,
        closed: Arc<AtomicBool>,
    ) -> Result<(Self, Lockouts), BindError> {
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listener.address;
            if listener.tls != TlsMode::None && tls.is_none() {
                return Err(BindError::NoCertificate(address));
            }
            let socket = listen(address).map_err(|source| BindError::Listen { address, source })?;
            listeners.push((socket, listener.clone()));
        }
        let connections =
            Connections::new(config.connections_max, config.connections_per_client_max);
        let metrics = Metrics::register(registry);
        let (told, lockouts) = lockout::queue();
        let shared = Shared {
            memory: Memory::new(config.memory_bytes, PATIENCE, metrics.memory.clone()),
            config: RwLock::new(Arc::new(config)),
            signing: spools.signing(),
            signing_threads: SigningThreads::start().map_err(BindError::NoThread)?,
            spools,
            policy,
            site_of: hooks.site_of,
            take_token: hooks.take_token,
            authenticator: hooks.authenticator,
            metrics,
            tls,
            connections,
            guesses: Arc::default(),
            passwords: Passwords::new(),
            lockouts: told,
            began: Instant::now(),
            drain: Drain::default(),
            closed,
        };
        let server = Self {
            shared: Arc::new(shared),
            listeners,
        };
        Ok((server, lockouts))
    }

    pub fn settings(&self) -> Settings {
        Settings(self.shared.clone())
    }

    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|(socket, _)| socket.local_addr().ok())
            .collect()
    }

    /// Serves until `shutdown`, then lets open transactions finish.
    pub async fn run(self, shutdown: CancellationToken) {
        let sessions = TaskTracker::new();
        for (socket, listener) in self.listeners {
            let (shared, shutdown, tracker) =
                (self.shared.clone(), shutdown.clone(), sessions.clone());
            sessions.spawn(skein_runtime::watched("smtp-listener", async move {
                tokio::select! {
                    () = accept(&shared, &socket, &listener, &tracker) => {}
                    () = shutdown.cancelled() => {}
                }
            }));
        }
        let (shared, stop) = (self.shared.clone(), shutdown.clone());
        sessions.spawn(skein_runtime::watched("failed-logins", async move {
            let (cluster, guesses) = (shared.spools.guesses(), shared.guesses.clone());
            let tell_of = |address, lock| shared.tell_of(Attempt::Login, address, [lock]);
            tokio::select! {
                () = shared_guesses::share(cluster, guesses, shared.began, tell_of) => {}
                () = stop.cancelled() => {}
            }
        }));
        shutdown.cancelled().await;
        self.shared.drain.begin();
        sessions.close();
        let grace = self.shared.config().shutdown_grace + DRAIN_END;
        if tokio::time::timeout(grace, sessions.wait()).await.is_err() {
            tracing::warn!("some clients did not finish their message in time; they keep it");
        }
    }
}

async fn accept(
    shared: &Arc<Shared>,
    socket: &TcpListener,
    listener: &Listener,
    sessions: &TaskTracker,
) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                sessions.spawn(serve(shared.clone(), listener.clone(), stream, peer));
            }
            Err(error) => {
                // Most likely too many open files: what is open must close first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, listener: Listener, mut stream: TcpStream, peer: SocketAddr) {
    let at = listener.address.to_string();
    if shared.is_closed() {
        shared.metrics.refused_connection(&at, "closed");
        session::refuse(stream, CLOSED).await;
        return;
    }
    let config = shared.config();
    let entered = match config.is_proxy(peer.ip()) {
        true => enter_by_proxy(&shared, &mut stream, peer).await,
        false => shared
            .connections
            .enter_as(
                peer.ip(),
                shared.owner_of(peer.ip()).is_some(),
                Instant::now(),
            )
            .map(|permit| (permit, peer))
            .ok_or(Refused::TooMany),
    };
    let (permit, peer) = match entered {
        Ok(entered) => entered,
        Err(Refused::TooMany) => {
            shared.metrics.refused_connection(&at, "too-many");
            session::refuse(stream, TOO_MANY).await;
            return;
        }
        Err(Refused::BadProxy(error)) => {
            shared.metrics.refused_connection(&at, "proxy");
            tracing::warn!(proxy = %peer, %error, "a connection is closed");
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    let holder = shared.memory.open(Account {
        tenant: None,
        client: client_of(peer.ip()),
    });
    let ground = Ground {
        shared: &shared,
        permit: &permit,
        holder: &holder,
    };
    let _open = shared.metrics.connected(&at);
    if let Err(error) = Session::run(ground, &listener, stream, peer).await {
        tracing::debug!(%peer, %error, "a session ended early");
    }
}

enum Refused {
    TooMany,
    BadProxy(std::io::Error),
}

/// A permit for the client that the proxy speaks for.
async fn enter_by_proxy(
    shared: &Shared,
    stream: &mut TcpStream,
    proxy: SocketAddr,
) -> Result<(ConnectionPermit, SocketAddr), Refused> {
    let mut permit = shared.connections.enter().ok_or(Refused::TooMany)?;
    let client = tokio::select! {
        client = proxy::read_header(stream) => client.map_err(Refused::BadProxy)?,
        () = shared.drain.begun() => return Err(Refused::TooMany),
    };
    let client = client.unwrap_or(proxy);
    match permit.belongs_to(
        client.ip(),
        shared.owner_of(client.ip()).is_some(),
        Instant::now(),
    ) {
        true => Ok((permit, client)),
        false => Err(Refused::TooMany),
    }
}
