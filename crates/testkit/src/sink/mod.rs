//! A scriptable SMTP server that records everything it is sent.

mod arrivals;
mod auth;
mod kept;
mod record;
mod script;
mod session;
mod stream;
mod text;
mod transaction;
mod visit;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

pub use kept::Tail;
pub use record::{Record, RecordRecipient, read_jsonl};
pub use script::{Act, Moment, Occurrences, Phase, Script, accept_all};
pub use text::path_address;
pub use visit::{TICKS_MS, Visit, most_at_once, most_within};

use arrivals::Arrivals;
use record::Book;
use visit::Visits;

use crate::authority::HostCertificate;
use crate::unix_ms;

/// What the sink announces after EHLO and enforces.
#[derive(Debug, Clone)]
pub struct Extensions {
    pub pipelining: bool,
    pub eight_bit_mime: bool,
    pub smtp_utf8: bool,
    pub chunking: bool,
    pub dsn: bool,
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689), announced under TLS only.
    pub require_tls: bool,
    /// The announced limit in bytes; `None` announces no SIZE.
    pub size: Option<u64>,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            pipelining: true,
            eight_bit_mime: true,
            smtp_utf8: true,
            chunking: true,
            dsn: true,
            starttls: true,
            require_tls: true,
            size: Some(100 << 20),
        }
    }
}

/// How to run a sink.
#[derive(Clone)]
pub struct SinkConfig {
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    pub hostname: String,
    pub extensions: Extensions,
    /// TLS from the first byte instead of STARTTLS.
    pub implicit_tls: bool,
    /// What is shown; none: a fresh one for the host name that nobody has signed.
    pub certificate: Option<HostCertificate>,
    /// Clients must show a certificate, and the sink trusts none. In TLS 1.3 they hear of it after their handshake.
    pub wants_certificate: bool,
    /// Name and password, or token, of AUTH; with them MAIL needs a login first.
    pub login: Option<(String, String)>,
    /// What is offered then, of PLAIN, LOGIN, OAUTHBEARER and XOAUTH2, or of others that nobody may use.
    pub mechanisms: String,
    pub script: Script,
    /// Each record is also appended here as one line of JSON.
    pub jsonl: Option<PathBuf>,
    /// Whether records keep the message bytes. Without them they keep what the oracle needs: the
    /// test id, a hash of the injected part, and small messages with the null return path.
    pub keep_messages: bool,
    /// Records kept in memory; later transactions are only counted.
    pub records_max: usize,
}

impl SinkConfig {
    /// An accepting sink on the address with all extensions.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            hostname: "sink.skein.test".to_owned(),
            extensions: Extensions::default(),
            implicit_tls: false,
            certificate: None,
            wants_certificate: false,
            login: None,
            mechanisms: "PLAIN LOGIN".to_owned(),
            script: accept_all(),
            jsonl: None,
            keep_messages: true,
            records_max: 2_000_000,
        }
    }

    #[must_use]
    pub fn script(mut self, script: impl Fn(&Moment<'_>) -> Act + Send + Sync + 'static) -> Self {
        self.script = Arc::new(script);
        self
    }
}

impl std::fmt::Debug for SinkConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkConfig")
            .field("address", &self.address)
            .field("extensions", &self.extensions)
            .finish_non_exhaustive()
    }
}

struct Shared {
    config: SinkConfig,
    script: RwLock<Script>,
    book: Book,
    tls: Option<TlsAcceptor>,
    certificate: Option<String>,
    connections: AtomicU64,
    open: AtomicU64,
    visits: Visits,
}

/// A running sink. Dropping it closes the listener and all connections.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Sessions watch for the sender's end to go away.
    _stop: watch::Sender<()>,
    listener: tokio::task::JoinHandle<()>,
}

/// Connections served at once; a test that needs more should use more sinks.
const CONNECTIONS_MAX: usize = 10_000;

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Sink {
    /// Binds and serves on the current tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound or the JSONL file cannot be opened.
    pub async fn start(config: SinkConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.address).await?;
        let address = listener.local_addr()?;
        let wants_tls = config.extensions.starttls || config.implicit_tls;
        let certificate = || match &config.certificate {
            Some(certificate) => certificate.clone(),
            None => HostCertificate::self_signed(&[&config.hostname]),
        };
        let tls = wants_tls.then(|| crate::tls::acceptor(&certificate(), config.wants_certificate));
        let (tls, certificate) = tls.unzip();
        let shared = Arc::new(Shared {
            script: RwLock::new(Arc::clone(&config.script)),
            book: Book::open(&config)?,
            tls,
            certificate,
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            visits: Visits::new(config.records_max),
            config,
        });
        let (stop, stopped) = watch::channel(());
        let listener = tokio::spawn(listen(listener, Arc::clone(&shared), stopped));
        Ok(Self {
            address,
            shared,
            _stop: stop,
            listener,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that it shows, as PEM; none without TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.shared.certificate.as_deref()
    }

    /// Replaces the script for everything that happens from now on.
    pub fn set_script(&self, script: impl Fn(&Moment<'_>) -> Act + Send + Sync + 'static) {
        *self.shared.script.write() = Arc::new(script);
    }

    /// All transactions so far, oldest first.
    pub fn records(&self) -> Vec<Arc<Record>> {
        self.shared.book.records()
    }

    /// Transactions accepted after the dot so far.
    pub fn accepted(&self) -> u64 {
        self.shared.book.accepted()
    }

    /// Transactions that were counted and not kept because `records_max` was reached.
    pub fn overflowed(&self) -> u64 {
        self.shared.book.overflowed()
    }

    /// Forgets the transactions so far.
    pub fn clear(&self) {
        self.shared.book.clear();
    }

    /// Connections accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections so far, in the order in which they came; at most `records_max`.
    pub fn visits(&self) -> Vec<Visit> {
        self.shared.visits.all()
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, stopped: watch::Receiver<()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors: wait for connections to end instead of spinning.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let mut stopped = stopped.clone();
        // It may have waited to be accepted.
        let stands_for = Arrivals::of(&stream).since_anything();
        let visit = shared.visits.begin(peer, stands_for);
        tokio::spawn(async move {
            let id = shared.connections.fetch_add(1, Ordering::Relaxed);
            shared.open.fetch_add(1, Ordering::Relaxed);
            let ended_ms = tokio::select! {
                // A peer that goes away in the middle is an ordinary event for a sink.
                ended_ms = session::serve(stream, peer, id, &shared) => ended_ms,
                _ = stopped.changed() => unix_ms(),
            };
            shared.open.fetch_sub(1, Ordering::Relaxed);
            shared.visits.end(visit, ended_ms);
            drop(slot);
        });
    }
}
