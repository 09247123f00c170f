//! Our session on a connected stream: replies through one persistent buffer, a deadline for each step.

use std::io;
use std::time::Duration;

use skein_smtp::reply::{Reply, ReplyReceiver};
use skein_smtp::stuff::BareLineEnd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::smtp::tls_fault;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the message is to be sent by another sender")]
    Stopped,
    /// Nothing is wrong with host or message.
    #[error("{0}")]
    NotNow(&'static str),
    #[error("{}", tls_fault::of_tls(.0))]
    Io(#[from] io::Error),
    /// Our copy of the message, which says nothing about the host.
    #[error("our copy of the message cannot be read")]
    Unreadable(#[source] skein_client::SpoolError),
    /// What is stored may not be sent as it is (RFC 5321 2.3.8).
    #[error("our copy of the message: {0}")]
    BareLineEnd(#[from] BareLineEnd),
    #[error("the host closed the connection")]
    Closed,
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the host's reply cannot be read: {0}")]
    Garbage(String),
}

pub struct Session<S = Box<dyn Stream>> {
    stream: S,
    replies: ReplyReceiver,
    read: Box<[u8]>,
}

impl<S: Stream> Session<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            replies: ReplyReceiver::new(),
            read: vec![0; 4096].into(),
        }
    }

    /// Gives the stream up, for TLS. Bytes that came too early are dropped with the buffer, as RFC 3207 asks.
    pub fn into_stream(self) -> S {
        self.stream
    }

    pub fn has_surplus(&self) -> bool {
        self.replies.has_surplus()
    }

    pub async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), SessionError> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(limit, write)
            .await
            .map_err(|_| SessionError::Timeout(limit))??)
    }

    pub async fn reply(&mut self, limit: Duration) -> Result<Reply, SessionError> {
        timeout(limit, self.next_reply())
            .await
            .map_err(|_| SessionError::Timeout(limit))?
    }

    async fn next_reply(&mut self) -> Result<Reply, SessionError> {
        loop {
            match self.replies.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(error) => return Err(SessionError::Garbage(error.to_string())),
            }
            let count = self.stream.read(&mut self.read).await?;
            if count == 0 {
                return Err(SessionError::Closed);
            }
            self.replies.push(&self.read[..count]);
        }
    }

    /// What comes next, as it is; nothing at the end.
    pub async fn read(&mut self) -> Result<&[u8], SessionError> {
        let count = self.stream.read(&mut self.read).await?;
        Ok(&self.read[..count])
    }

    /// Whether the other side has closed, or said what nobody asked for.
    pub async fn is_over(&mut self) -> bool {
        let mut read = std::pin::pin!(self.stream.read(&mut self.read));
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(read.as_mut().poll(context).is_ready())
        });
        polled.await
    }

    pub async fn command(&mut self, line: &str, limit: Duration) -> Result<Reply, SessionError> {
        self.write(line.as_bytes(), limit).await?;
        self.reply(limit).await
    }
}
