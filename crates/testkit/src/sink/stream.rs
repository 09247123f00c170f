use std::io;

use tokio::io::{AsyncRead, AsyncWrite, Empty, Join, Sink};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection, plain or encrypted, that can be made to end with a TCP reset.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Closing sends RST instead of FIN, and discards what has not been sent.
    fn reset_on_close(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn reset_on_close(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Stream for Box<dyn Stream> {
    fn reset_on_close(&self) -> io::Result<()> {
        (**self).reset_on_close()
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn reset_on_close(&self) -> io::Result<()> {
        self.get_ref().0.reset_on_close()
    }
}

/// What stands in for the connection while TLS starts on it.
impl Stream for Join<Empty, Sink> {
    fn reset_on_close(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn nothing() -> Box<dyn Stream> {
    Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()))
}
