//! The bytes of a connection to a host, whichever way they take.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use skein_egress::Outgoing;
use skein_egress::io_fault::PlainError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::source_ip::connections::ConnectionGuard;

pub enum OutboundStream {
    /// From the node's own address.
    Own(TcpStream),
    /// From a source IP that is on this node.
    Here {
        stream: Outgoing,
        _guard: ConnectionGuard,
    },
    /// Through another node.
    There(Box<Through>),
    /// Through a proxy.
    Proxy(skein_egress::Stream),
}

/// A tunnel through another node, which ends with the session of this one and when the IP leaves that node.
pub struct Through {
    stream: skein_egress::Stream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    guard: ConnectionGuard,
}

impl Through {
    pub fn new(stream: skein_egress::Stream, guard: ConnectionGuard) -> Self {
        let cut = Box::pin(guard.revocation.cut.clone().cancelled_owned());
        Self { stream, cut, guard }
    }

    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(cx).is_ready()
    }
}

fn has_left() -> io::Error {
    PlainError("the source IP has moved").into()
}

impl AsyncRead for Through {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled.is_pending() && self.is_cut(cx) {
            true => Poll::Ready(Err(has_left())),
            false => polled,
        }
    }
}

impl AsyncWrite for Through {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.guard.holds() {
            return Poll::Ready(Err(has_left()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        match polled.is_pending() && self.is_cut(cx) {
            true => Poll::Ready(Err(has_left())),
            false => polled,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        match polled.is_pending() && self.is_cut(cx) {
            true => Poll::Ready(Err(has_left())),
            false => polled,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The stream of each way, in place of `self`.
macro_rules! each {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            OutboundStream::Own($stream) => $do,
            OutboundStream::Here {
                stream: $stream, ..
            } => $do,
            OutboundStream::There($stream) => $do,
            OutboundStream::Proxy($stream) => $do,
        }
    };
}

impl AsyncRead for OutboundStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for OutboundStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
