//! Ways to reach a server: over TCP, or within the process.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use skein_wire::internal::peer_client::PeerClient;
use skein_wire::internal::{HelloReply, HelloRequest};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::Routes;
pub use tonic::transport::Channel;
use tonic::transport::server::{Connected, Router};
use tonic::transport::{Endpoint, Uri};
use tower::{Layer, Service};

use crate::access::{Caller, Peer};
use crate::log_limit::LogLimit;

/// Bytes on their way within the process; as much as HTTP/2 has in flight on one stream.
const IN_PROCESS_BUFFER: usize = 1 << 20;
/// Bodies share streams with small items, so windows are shared enough for many of them.
pub const STREAM_WINDOW: u32 = 4 << 20;
pub const CONNECTION_WINDOW: u32 = 16 << 20;

/// A peer that vanished without closing its connections is noticed after these, well within a lease of 10 s.
pub const KEEPALIVE: Duration = Duration::from_secs(2);
pub const KEEPALIVE_WITHIN: Duration = Duration::from_secs(3);

/// A node that does not answer by then is passed over this time.
const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// Makes the channel to an address; the caller decides about TLS.
pub type Connect = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// One channel for each control node; clones share them. Nodes of a cluster are few, so none is ever dropped.
#[derive(Clone)]
pub struct Channels {
    connect: Connect,
    open: Arc<Mutex<HashMap<String, Channel>>>,
    refused: Arc<LogLimit>,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channels")
    }
}

impl Channels {
    pub fn new(connect: Connect) -> Self {
        Self {
            connect,
            open: Arc::default(),
            refused: Arc::default(),
        }
    }

    pub fn get(&self, address: &str) -> Channel {
        let mut open = self.open.lock();
        open.entry(address.to_owned())
            .or_insert_with(|| (self.connect)(address))
            .clone()
    }

    /// What the node at this address says of itself, if it answers at once.
    pub async fn hello(&self, address: &str) -> Option<HelloReply> {
        self.ask_hello(address, HelloRequest::default()).await.ok()
    }

    /// The same.
    ///
    /// # Errors
    /// Why it does not answer, in a few words such as `connection refused`.
    pub async fn ask_hello(
        &self,
        address: &str,
        request: HelloRequest,
    ) -> Result<HelloReply, String> {
        let mut client = PeerClient::new(self.get(address));
        let reply = tokio::time::timeout(HELLO_WITHIN, client.hello(request)).await;
        let reply = reply.map_err(|_| format!("no answer within {} s", HELLO_WITHIN.as_secs()))?;
        if let Err(status) = &reply
            && status.code() == Code::PermissionDenied
            && let Some(more) = self.refused.pass(Instant::now())
        {
            let why = status.message();
            tracing::error!(address, why, more, "a control node refuses this one");
        }
        reply
            .map(tonic::Response::into_inner)
            .map_err(|status| cause(&status))
    }
}

/// What lies at the bottom of a call that failed, in lower case and without the system's number for it: operators want
/// to know whether a host refuses, is silent, or shows another certificate.
fn cause(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

pub(crate) fn tune(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(2))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_WITHIN)
        .keep_alive_while_idle(true)
}

/// A channel to `http://host:port` that connects when it is first used and again when it breaks.
///
/// # Errors
/// The address is not a URI.
pub fn connect(address: String) -> Result<Channel, tonic::transport::Error> {
    Ok(tune(Endpoint::from_shared(address)?).connect_lazy())
}

/// A channel on which every call fails, for this reason.
pub fn unreachable(reason: String) -> Channel {
    let reason: Arc<str> = reason.into();
    tune(Endpoint::from_static("http://unreachable")).connect_with_connector_lazy(
        tower::service_fn(move |_: Uri| {
            let reason = reason.clone();
            async move { Err::<TokioIo<DuplexStream>, _>(std::io::Error::other(&*reason)) }
        }),
    )
}

/// The server's end within the process.
struct Pipe(DuplexStream);

impl Connected for Pipe {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            caller: Caller::Own,
            address: None,
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Serves `router` to the returned channel alone, with the protocol that other nodes speak, but without a socket.
pub fn in_process<L>(router: Router<L>) -> Channel
where
    L: Layer<Routes> + Send + 'static,
    L::Service: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    <L::Service as Service<http::Request<Body>>>::Future: Send,
{
    let (to_server, connections) = mpsc::channel::<Result<Pipe, std::io::Error>>(4);
    skein_runtime::task("in-process-server", async move {
        if let Err(error) = router
            .serve_with_incoming(ReceiverStream::new(connections))
            .await
        {
            tracing::error!(%error, "the in-process gRPC server ended");
        }
    });
    tune(Endpoint::from_static("http://in-process")).connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let to_server = to_server.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(IN_PROCESS_BUFFER);
                to_server
                    .send(Ok(Pipe(theirs)))
                    .await
                    .map_err(|_| std::io::Error::other("the in-process server has ended"))?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        },
    ))
}
