//! The server of an egress node: one request on each stream, and then its tunnel.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode, http};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::Io;
use crate::dial::{DialError, canonical, dial};
use crate::local_ips::LocalIps;
use crate::metrics::Metrics;
use crate::open::OpenTunnels;
use crate::outgoing::Outgoing;
use crate::protocol::{ERROR, RETRY_AFTER_SECONDS, SOURCE};
use crate::refused::Refused;
use crate::request::{CONNECT_MAX, Request};
use crate::table::Placements;
use crate::target::{Targets, is_here};
use crate::tunnel::{End, tunnel};
use crate::via::ViaError;

/// A sender writes its request at once.
const HEADER_MAX: Duration = Duration::from_secs(10);
/// From the first byte of a request to the last of its answer: an attempt to connect, and time for the rest.
const ANSWER_MAX: Duration = Duration::from_secs(CONNECT_MAX.as_secs() + 20);
/// The least that hyper allows; a request has 300 bytes.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// Streams beyond the tunnels, which are there to hear that there is no room. Further ones are closed without a word.
const REFUSED_MAX: u32 = 1_000;

#[derive(Debug, Clone)]
pub struct Config {
    /// Over all IPs. Each has two sockets and up to 10 KB of buffers of its own.
    pub tunnels_max: u32,
    /// Longer than any timeout of an SMTP client (RFC 5321 4.5.3.2: 10 min), so that it is not us who give up.
    pub idle_max: Duration,
    /// Of other nodes; what this node's own sender connects to is its own matter.
    pub targets: Targets,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tunnels_max: 20_000,
            idle_max: Duration::from_secs(15 * 60),
            targets: Targets::default(),
        }
    }
}

/// Lets senders connect out through the IPs that are on this node.
#[derive(Debug, Clone)]
pub struct Egress {
    held: Arc<LocalIps>,
    streams: Arc<Semaphore>,
    idle_max: Duration,
    targets: Arc<Targets>,
}

enum Failure {
    Refused(Refused),
    Dial(DialError),
}

impl From<Failure> for ViaError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => refused.into(),
            Failure::Dial(error) => error.into(),
        }
    }
}

type Answer = Response<Full<Bytes>>;
type Ready = Mutex<Option<(OnUpgrade, Outgoing)>>;

impl Egress {
    /// Holds no IP until [`Egress::set`] says so.
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let streams = config.tunnels_max.saturating_add(REFUSED_MAX);
        Self {
            held: LocalIps::new(config.tunnels_max, metrics),
            streams: Arc::new(Semaphore::new(streams as usize)),
            idle_max: config.idle_max,
            targets: Arc::new(config.targets.clone()),
        }
    }

    /// What this node holds from now on. Tunnels of an IP that has left, or has another epoch or address, are cut at once;
    /// they count until they are closed, see [`Egress::closed`].
    pub fn set(&self, placements: Placements) {
        self.held.set(placements);
    }

    /// Nothing leaves from any IP of this node unless this says yes; it is asked before each write. Said once.
    pub fn only_while(&self, may_use: impl Fn() -> bool + Send + Sync + 'static) {
        self.held.only_while(may_use);
    }

    /// A connection of this node's own sender, which counts as a tunnel does.
    ///
    /// # Errors
    /// As for a sender on another node.
    pub async fn connect(
        &self,
        ip: &str,
        epoch: u64,
        target: SocketAddr,
        limit: Duration,
    ) -> Result<Outgoing, ViaError> {
        let request = Request {
            ip: ip.to_owned(),
            epoch,
            target: canonical(target),
            timeout: limit,
        };
        Ok(self.dial(&request).await?)
    }

    /// Connections that are open or on their way from this IP, under this epoch and earlier ones.
    pub fn tunnels(&self, ip: &str, epoch: u64) -> u32 {
        self.held.up_to(ip, epoch)
    }

    /// Completes when a tunnel ends after this was called.
    pub async fn a_tunnel_ended(&self) {
        self.held.a_tunnel_ended().await;
    }

    /// All tunnels, those included that are being cut or still connect.
    pub fn open(&self) -> Vec<OpenTunnels> {
        self.held.open()
    }

    /// Waits until no tunnel of this IP is open under this epoch or an earlier one. Only then may another node use it.
    pub async fn closed(&self, ip: &str, epoch: u64) {
        self.held.closed(ip, epoch).await;
    }

    /// Serves a stream until its tunnel has ended; dropping the future ends it. `sender` says whether a sender of the
    /// cluster is at its other side, or why not: who is none hears that, and nothing else.
    pub async fn serve<S: Io + 'static>(&self, stream: S, sender: Result<(), String>) {
        let sender = sender.map_err(Refused::Caller);
        let Ok(_stream) = self.streams.try_acquire() else {
            self.held.metrics().count_refused("full");
            return;
        };
        let ready = Ready::default();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(request, &sender, &ready)),
            )
            .with_upgrades();
        match timeout(ANSWER_MAX, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%error, "a sender's request ended early"),
            Err(_) => return tracing::debug!("a sender did not take its answer"),
        }
        let Some((upgrade, tunnel)) = ready.into_inner() else {
            return;
        };
        match upgrade.await {
            Ok(sender) => self.pass(TokioIo::new(sender), tunnel).await,
            Err(error) => tracing::debug!(%error, "a sender left before its tunnel began"),
        }
    }

    async fn answer(
        &self,
        mut request: http::Request<Incoming>,
        sender: &Result<(), Refused>,
        ready: &Ready,
    ) -> Result<Answer, Infallible> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        let opened = match sender {
            Ok(()) => self.open_tunnel(&head).await,
            Err(refused) => Err(Failure::Refused(refused.clone())),
        };
        Ok(match opened {
            Ok(tunnel) => {
                let source = source(&tunnel);
                *ready.lock() = Some((upgrade, tunnel));
                answer(StatusCode::OK, SOURCE, &source, String::new())
            }
            Err(Failure::Refused(refused)) => {
                tracing::debug!(%refused, "a sender's request is refused");
                self.held.metrics().count_refused(refused.word());
                let (status, text) = (refused.status(), refused.to_string());
                answer(status, ERROR, refused.word(), text)
            }
            Err(Failure::Dial(error)) => {
                tracing::debug!(%error, "a sender's connection did not come about");
                self.held.metrics().count_connect_failure(error.word());
                answer(error.status(), ERROR, error.word(), error.to_string())
            }
        })
    }

    async fn open_tunnel(&self, head: &http::request::Parts) -> Result<Outgoing, Failure> {
        let request = Request::read(head).map_err(Failure::Refused)?;
        let target = request.target;
        let checked = self.targets.check(target, is_here);
        checked.map_err(|why| Failure::Refused(Refused::Target { target, why }))?;
        self.dial(&request).await
    }

    async fn dial(&self, request: &Request) -> Result<Outgoing, Failure> {
        let permit = self.held.admit(request).map_err(Failure::Refused)?;
        let to = &permit.admitted;
        let target = tokio::select! {
            biased;
            () = permit.cut.cancelled() => return Err(Failure::Refused(self.moved(request))),
            dialed = dial(Some(to.bind), to.target, to.timeout) => dialed.map_err(Failure::Dial)?,
        };
        Ok(Outgoing::new(target, permit))
    }

    /// What became of an IP while a connection from it was on its way.
    fn moved(&self, request: &Request) -> Refused {
        let again = self.held.admit(request);
        again.err().unwrap_or_else(|| Refused::NotHeld {
            ip: request.ip.clone(),
        })
    }

    async fn pass<S: Io>(&self, mut sender: S, mut open: Outgoing) {
        let cut = open.permit().cut.clone();
        let end = tunnel(&mut sender, &mut open, self.idle_max, &cut).await;
        let to = &open.permit().admitted;
        match &end {
            End::Broken(error) => {
                tracing::debug!(ip = %to.ip, to = %to.target, %error, "a tunnel broke");
            }
            end => tracing::debug!(ip = %to.ip, to = %to.target, ?end, "a tunnel ended"),
        }
    }
}

fn source(tunnel: &Outgoing) -> String {
    match tunnel.local_addr() {
        Ok(address) => address.to_string(),
        Err(_) => tunnel.permit().admitted.bind.to_string(),
    }
}

fn answer(status: StatusCode, header: &'static str, value: &str, text: String) -> Answer {
    let mut response = Response::builder().status(status).header(header, value);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response = response.header(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
        .body(Full::from(text))
        .expect("words and addresses are header values")
}
