//! From a listening socket to connections of which it is known who is on the other side.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpIncoming};

use super::places::network_of;
use super::room::{Permit, Room};
use super::users::Users;
use crate::access::{Caller, Ends, Holder, Peer};
use crate::connection::{Guarded, Line};
use crate::log_limit::LogLimit;
use crate::tls::{Protocol, Tls, Watched};

/// All our clients speak first, and at once.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(1);
/// Longer than a client waits for its connection.
const PROVEN_WITHIN: Duration = Duration::from_secs(5);
/// From then on, until what a client begins with is there.
const PREFACE_WITHIN: Duration = Duration::from_secs(5);
/// The preface of HTTP/2 and the head of the SETTINGS behind it (RFC 9113 3.4). A request of HTTP/1 is longer.
const PREFACE_BYTES: usize = 24 + 9;
/// When no descriptor is left, others end meanwhile.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);
/// Connections that are proven and wait for the server, which takes them as they come.
const QUEUE: usize = 16;
/// Connections of local users that may do nothing here, but are told so.
const TURNED_AWAY_MAX: usize = 16;
/// Networks that have proven who they are: more than clusters have nodes.
const KNOWN_MAX: usize = 1024;
/// A machine that vanished is noticed within about a minute and a half.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TRIES: u32 = 3;

/// What a port asks of a client that connects.
#[derive(Debug, Clone)]
pub enum Guard {
    /// A certificate of the authorities, and that the client speaks this.
    Tls(Tls, Protocol),
    /// That it is a process of this machine, of which the kernel says whose it is.
    LocalUsers,
    /// Nothing.
    Anybody,
}

/// Over all clients of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections whose client has not shown yet who it is: each takes 2 KB, and 40 KB while keys are exchanged.
    pub opening: usize,
    /// Connections after that.
    pub open: usize,
}

impl Default for Limits {
    /// More than a cluster has nodes, each with a few connections.
    fn default() -> Self {
        Self {
            opening: 512,
            open: 1024,
        }
    }
}

impl Limits {
    /// Of a process that may have so many files open: mail has most of them, whatever comes to the other ports.
    pub fn of(open_files: u64) -> Self {
        let all = Self::default();
        let share = usize::try_from(open_files / 32).unwrap_or(usize::MAX);
        Self {
            opening: all.opening.min(share.max(16)),
            open: all.open.min(share.max(16)),
        }
    }
}

/// Connections whose client has shown who it is, in HTTP with prior knowledge or over TLS.
pub fn accept(
    listener: TcpListener,
    guard: Guard,
    limits: Limits,
) -> impl Stream<Item = io::Result<Accepted>> {
    let (to, accepted) = mpsc::channel(QUEUE);
    let since = Instant::now();
    let port = Port {
        guard,
        since,
        opening: Room::new(limits.opening),
        open: Room::new(limits.open),
        turned_away: Room::new(TURNED_AWAY_MAX),
        known: Mutex::default(),
        users: Users::start(),
        refused: LogLimit::default(),
        failed: LogLimit::default(),
    };
    skein_runtime::task("port", Arc::new(port).run(listener, to));
    ReceiverStream::new(accepted)
}

type Proven = Either<TlsStream<TcpStream>, TcpStream>;

/// A connection, and who is on its other side.
#[derive(Debug)]
pub struct Accepted {
    stream: Guarded<Proven, Permit>,
    peer: Peer,
    /// Lasts as long as the certificate is in use.
    _watched: Option<Watched>,
    preface: Option<Preface>,
}

#[derive(Debug)]
struct Preface {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Accepted {
    pub fn caller(&self) -> &Caller {
        &self.peer.caller
    }
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(preface) = &mut self.preface else {
            return read;
        };
        preface.bytes += buffer.filled().len() - before;
        if preface.bytes >= PREFACE_BYTES {
            self.preface = None;
        } else if read.is_pending() {
            ready!(preface.until.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Port {
    guard: Guard,
    since: Instant,
    opening: Room,
    open: Room,
    turned_away: Room,
    /// Networks that have proven who they are, and when last.
    known: Mutex<BTreeMap<IpAddr, Instant>>,
    users: Users,
    refused: LogLimit,
    failed: LogLimit,
}

impl Port {
    async fn run(self: Arc<Self>, listener: TcpListener, to: mpsc::Sender<io::Result<Accepted>>) {
        let mut incoming = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(KEEPALIVE))
            .with_keepalive_interval(Some(KEEPALIVE))
            .with_keepalive_retries(Some(KEEPALIVE_TRIES));
        loop {
            let stream = tokio::select! {
                () = to.closed() => return,
                next = incoming.next() => match next {
                    Some(Ok(stream)) => stream,
                    Some(Err(error)) => {
                        if let Some(more) = self.failed.pass(Instant::now()) {
                            tracing::warn!(%error, more, "a connection is not accepted");
                        }
                        sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                    None => return,
                },
            };
            let (Ok(peer), Ok(own)) = (stream.peer_addr(), stream.local_addr()) else {
                continue;
            };
            let network = network_of(peer.ip());
            let is_known = self.known.lock().contains_key(&network);
            let line = Arc::new(Line::new(self.since));
            let Some(permit) = self.opening.enter(network, is_known, line) else {
                continue;
            };
            let (port, to) = (self.clone(), to.clone());
            tokio::spawn(async move {
                let line = permit.line.clone();
                let opened = tokio::select! {
                    biased;
                    () = line.ended() => None,
                    opened = timeout(PROVEN_WITHIN, port.prove(stream, peer, own, permit)) => opened.ok().flatten(),
                };
                if let Some(accepted) = opened {
                    // If it is not taken, the server has ended.
                    let _ = to.send(Ok(accepted)).await;
                }
            });
        }
    }

    /// None for a client that is refused, says nothing, or has no place.
    async fn prove(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        own: SocketAddr,
        opening: Permit,
    ) -> Option<Accepted> {
        let first = timeout(FIRST_BYTE_WITHIN, stream.peek(&mut [0])).await;
        // A client that says nothing only looks whether the port is open.
        if !matches!(first, Ok(Ok(1..))) {
            return None;
        }
        opening.line.hear(Instant::now());
        let line = opening.line.clone();
        let (stream, caller, watched) = match &self.guard {
            Guard::Tls(tls, protocol) => {
                let config = tls.server(*protocol);
                self.shake_hands(tls, config, stream, peer, &line).await?
            }
            Guard::LocalUsers => {
                let caller = Caller::Local(self.users.at(Ends::new(peer, own)).await);
                (Either::Right(stream), caller, None)
            }
            Guard::Anybody => (Either::Right(stream), Caller::Anybody(peer.ip()), None),
        };
        let network = network_of(peer.ip());
        let is_welcome = !matches!(&caller, Caller::Local(user) if !user.as_ref().is_ok_and(|user| user.is_trusted()));
        let permit = match (is_welcome, &caller) {
            (false, _) => self.turned_away.enter(network, false, line),
            (true, Caller::Anybody(_) | Caller::Stranger(_)) => {
                self.open.enter(network, false, line)
            }
            (true, _) => {
                self.remember(network);
                self.open.enter(network, true, line)
            }
        };
        let preface = Preface {
            until: Box::pin(sleep(PREFACE_WITHIN)),
            bytes: 0,
        };
        Some(Accepted {
            stream: Guarded::new(stream, permit?),
            peer: Peer {
                caller,
                address: Some(peer),
            },
            _watched: watched,
            preface: Some(preface),
        })
    }

    async fn shake_hands(
        &self,
        tls: &Tls,
        config: Arc<ServerConfig>,
        stream: TcpStream,
        peer: SocketAddr,
        line: &Arc<Line>,
    ) -> Option<(Proven, Caller, Option<Watched>)> {
        let refused = |error: String| {
            if let Some(more) = self.refused.pass(Instant::now()) {
                tracing::warn!(%peer, %error, more, "a connection without a good certificate is refused");
            }
        };
        let stream = match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    refused(error.to_string());
                }
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates();
        let holder = match shown.and_then(|chain| chain.first()).map(Holder::of) {
            Some(Ok(holder)) => Arc::new(holder),
            Some(Err(error)) => {
                refused(error.to_string());
                return None;
            }
            // Only the admin API takes clients without one.
            None => return Some((Either::Left(stream), Caller::Stranger(peer.ip()), None)),
        };
        let Some(watched) = tls.watch(&holder.serial, line.clone()) else {
            refused(format!(
                "the certificate {} of {} is revoked",
                holder.serial, holder.name
            ));
            return None;
        };
        let caller = Caller::Holder(holder, tls.role_rule());
        Some((Either::Left(stream), caller, Some(watched)))
    }

    fn remember(&self, network: IpAddr) {
        let mut known = self.known.lock();
        known.insert(network, Instant::now());
        if known.len() > KNOWN_MAX
            && let Some(oldest) = known.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip)
        {
            known.remove(&oldest);
        }
    }
}
