//! A connection from a source IP of this node to a target, for this node's own sender or for another one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::io_fault::PlainError;
use crate::local_ips::TunnelPermit;

/// Bytes pass while the IP is here, and not a moment longer: this is looked at before each write, so that a process that
/// stood still for a while does not go on where it was. The socket is closed before its place is given back.
#[derive(Debug)]
pub struct Outgoing {
    target: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    permit: TunnelPermit,
}

impl Outgoing {
    pub(crate) fn new(target: TcpStream, permit: TunnelPermit) -> Self {
        let cut = Box::pin(permit.cut.clone().cancelled_owned());
        Self {
            target,
            cut,
            permit,
        }
    }

    pub(crate) fn permit(&self) -> &TunnelPermit {
        &self.permit
    }

    /// As the target sees it, but for NAT.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.target.local_addr()
    }
}

fn has_left() -> io::Error {
    PlainError("the source IP has left this node").into()
}

impl AsyncRead for Outgoing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.target).poll_read(cx, buf);
        if polled.is_pending() && self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(has_left()));
        }
        polled
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.permit.holds() {
            return Poll::Ready(Err(has_left()));
        }
        let polled = Pin::new(&mut self.target).poll_write(cx, buf);
        if polled.is_pending() && self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(has_left()));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.target).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.target).poll_shutdown(cx)
    }
}

impl Drop for Outgoing {
    /// Bytes that the kernel still has to send for an IP that has left would go out from an address that another node has by then.
    fn drop(&mut self) {
        if !self.permit.holds()
            && let Err(error) = self.target.set_zero_linger()
        {
            tracing::debug!(%error, "SO_LINGER could not be set");
        }
    }
}
