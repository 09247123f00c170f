//! A connection that its port or a revoked certificate may end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::task::AtomicWaker;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known of a connection by those who do not read from it.
#[derive(Debug)]
pub struct Line {
    since: Instant,
    is_cut: AtomicBool,
    has_spoken: AtomicBool,
    /// After `since`, when bytes last came.
    active_ms: AtomicU64,
    /// Of the task that reads: one at a time.
    reader: AtomicWaker,
}

impl Line {
    /// Times are measured from `since`, which lines that are compared have in common.
    pub fn new(since: Instant) -> Self {
        let line = Self {
            since,
            is_cut: AtomicBool::new(false),
            has_spoken: AtomicBool::new(false),
            active_ms: AtomicU64::new(0),
            reader: AtomicWaker::new(),
        };
        line.touch(Instant::now());
        line
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Bytes came.
    pub fn hear(&self, now: Instant) {
        self.has_spoken.store(true, Ordering::Relaxed);
        self.touch(now);
    }

    fn touch(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.since).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.active_ms.store(ms, Ordering::Relaxed);
    }

    /// How much the connection is worth beside others: the silent ones least, then those that have been silent longest.
    pub fn worth(&self) -> (bool, u64) {
        let has_spoken = self.has_spoken.load(Ordering::Relaxed);
        (has_spoken, self.active_ms.load(Ordering::Relaxed))
    }

    fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        match self.is_cut() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Completes when the connection is to end. One task at a time waits.
    pub async fn ended(&self) {
        std::future::poll_fn(|cx| self.poll_cut(cx)).await;
    }
}

/// A stream that ends when its line is cut.
#[derive(Debug)]
pub struct Guarded<S, L> {
    stream: S,
    /// Gives the line, and keeps what must last as long as the stream.
    line: L,
}

impl<S, L> Guarded<S, L> {
    pub fn new(stream: S, line: L) -> Self {
        Self { stream, line }
    }

    pub fn line(&self) -> &L {
        &self.line
    }
}

fn cut() -> io::Error {
    let why = "the connection was ended: its place was needed, or its certificate is revoked";
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

impl<S: AsyncRead + Unpin, L: AsRef<Line> + Unpin> AsyncRead for Guarded<S, L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.line.as_ref().poll_cut(cx).is_ready() {
            return Poll::Ready(Err(cut()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.line.as_ref().hear(Instant::now());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, L: AsRef<Line> + Unpin> AsyncWrite for Guarded<S, L> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.line.as_ref().is_cut() {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.line.as_ref().is_cut() {
            return Poll::Ready(Err(cut()));
        }
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

impl<S, L> Connection for Guarded<S, L> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
