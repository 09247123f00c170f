//! Listeners: from an accepted connection to a session, and the drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use skein_client::Spools;
use skein_policy::Policy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Listener, TlsMode};
use crate::connections::Connections;
use crate::memory::{Memory, PATIENCE};
use crate::metrics::Metrics;
use crate::proxy;
use crate::session::{self, Session};
use crate::sites::SiteOf;

/// Open transactions may finish within this time after a drain began.
const DRAIN: Duration = Duration::from_secs(30);
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
}

/// What all sessions share.
pub struct Shared {
    pub config: Config,
    pub spools: Spools,
    /// The latest that is known here.
    pub policy: watch::Receiver<Arc<Policy>>,
    pub site_of: SiteOf,
    pub metrics: Metrics,
    pub memory: Memory,
    pub tls: Option<TlsAcceptor>,
    pub connections: Arc<Connections>,
    pub drain: CancellationToken,
    /// An operator took the node out of service; unlike a drain, this may end.
    pub closed: Arc<AtomicBool>,
}

impl Shared {
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.drain.is_cancelled()
    }
}

pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Listener)>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.local_addrs())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens all listeners.
    ///
    /// # Errors
    /// One of them cannot be opened; then none is.
    pub async fn bind(
        config: Config,
        tls: Option<Arc<ServerConfig>>,
        spools: Spools,
        policy: watch::Receiver<Arc<Policy>>,
        site_of: SiteOf,
        registry: &mut Registry,
        closed: Arc<AtomicBool>,
    ) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listener.address;
            if listener.tls != TlsMode::None && tls.is_none() {
                return Err(BindError::NoCertificate(address));
            }
            let socket = TcpListener::bind(address)
                .await
                .map_err(|source| BindError::Listen { address, source })?;
            listeners.push((socket, listener.clone()));
        }
        let connections =
            Connections::new(config.connections_max, config.connections_per_client_max);
        let metrics = Metrics::register(registry);
        let shared = Shared {
            memory: Memory::new(config.memory_bytes, PATIENCE, metrics.memory.clone()),
            config,
            spools,
            policy,
            site_of,
            metrics,
            tls: tls.map(TlsAcceptor::from),
            connections,
            drain: CancellationToken::new(),
            closed,
        };
        Ok(Self {
            shared: Arc::new(shared),
            listeners,
        })
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
        shutdown.cancelled().await;
        self.shared.drain.cancel();
        sessions.close();
        if tokio::time::timeout(DRAIN, sessions.wait()).await.is_err() {
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
    if shared.is_closed() {
        session::refuse(stream, CLOSED).await;
        return;
    }
    let Some(mut place) = shared.connections.enter() else {
        session::refuse(stream, TOO_MANY).await;
        return;
    };
    let peer = if shared.config.is_proxy(peer.ip()) {
        match proxy::read_header(&mut stream).await {
            Ok(client) => client.unwrap_or(peer),
            Err(error) => {
                tracing::warn!(proxy = %peer, %error, "a connection is closed");
                return;
            }
        }
    } else {
        peer
    };
    if !place.belongs_to(peer.ip()) {
        session::refuse(stream, TOO_MANY).await;
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    shared.metrics.connections.inc();
    if let Err(error) = Session::run(&shared, &listener, stream, peer).await {
        tracing::debug!(%peer, %error, "a session ended early");
    }
    shared.metrics.connections.dec();
}
