//! Bytes both ways, until both sides have ended, nothing moves, or the IP leaves.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Mail goes this way. A tunnel has both buffers, 20,000 tunnels have 200 MB at most.
const TO_TARGET_BYTES: usize = 8 << 10;
/// SMTP replies, and TLS handshakes in two or three steps.
const TO_SENDER_BYTES: usize = 2 << 10;

/// A sender that has ended what it says waits for little more. One without TLS may also be gone, and a target that does not
/// end by itself would hold its place.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub enum End {
    /// Both sides have ended what they say.
    Done,
    Idle,
    Cut,
    Broken(io::Error),
}

/// Passes bytes on, and the end of one side without ending the other.
pub async fn tunnel<S, T>(
    sender: &mut S,
    target: &mut T,
    idle: Duration,
    cut: &CancellationToken,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::new(idle);
    let mut target = Watched {
        inner: target,
        activity: &activity,
    };
    tokio::select! {
        biased;
        () = cut.cancelled() => End::Cut,
        copied = copy_bidirectional_with_sizes(sender, &mut target, TO_TARGET_BYTES, TO_SENDER_BYTES) => match copied {
            Ok(_) => End::Done,
            Err(error) => End::Broken(error),
        },
        () = activity.ended() => End::Idle,
    }
}

/// When bytes last moved, and how long they may not.
struct Activity {
    start: Instant,
    latest_ms: AtomicU64,
    idle_ms: AtomicU64,
    is_half_closed: Notify,
}

impl Activity {
    fn new(idle: Duration) -> Self {
        Self {
            start: Instant::now(),
            latest_ms: AtomicU64::new(0),
            idle_ms: AtomicU64::new(idle.as_millis() as u64),
            is_half_closed: Notify::new(),
        }
    }

    fn note(&self) {
        let ms = self.start.elapsed().as_millis() as u64;
        self.latest_ms.store(ms, Ordering::Relaxed);
    }

    fn half_close(&self) {
        self.note();
        let limit = HALF_CLOSED_MAX.as_millis() as u64;
        if self.idle_ms.fetch_min(limit, Ordering::Relaxed) > limit {
            self.is_half_closed.notify_one();
        }
    }

    fn end(&self) -> Instant {
        let ms = self.latest_ms.load(Ordering::Relaxed) + self.idle_ms.load(Ordering::Relaxed);
        self.start + Duration::from_millis(ms)
    }

    async fn ended(&self) {
        while self.end() > Instant::now() {
            tokio::select! {
                () = sleep_until(self.end()) => {}
                () = self.is_half_closed.notified() => {}
            }
        }
    }
}

/// All bytes of a tunnel are read from its target or written to it.
struct Watched<'a, T> {
    inner: &'a mut T,
    activity: &'a Activity,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.inner).poll_write(cx, buf);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.inner).poll_shutdown(cx);
        if polled.is_ready() {
            self.activity.half_close();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const IDLE: Duration = Duration::from_secs(900);

    /// Both outer ends of a tunnel, and what it comes to.
    fn start(
        cut: &CancellationToken,
    ) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<End>) {
        let (sender, mut inner_sender) = duplex(64);
        let (target, mut inner_target) = duplex(64);
        let cut = cut.clone();
        let task =
            tokio::spawn(
                async move { tunnel(&mut inner_sender, &mut inner_target, IDLE, &cut).await },
            );
        (sender, target, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_lives_as_long_as_bytes_move_in_either_direction() {
        let (mut sender, mut target, task) = start(&CancellationToken::new());
        let started = Instant::now();
        for is_from_sender in [true, true, true, false, false, false] {
            sleep(IDLE - Duration::from_secs(1)).await;
            let (from, to) = match is_from_sender {
                true => (&mut sender, &mut target),
                false => (&mut target, &mut sender),
            };
            from.write_all(b"x").await.unwrap();
            assert_eq!(to.read_u8().await.unwrap(), b'x');
        }
        assert!(matches!(task.await.unwrap(), End::Idle));
        let expected = (IDLE - Duration::from_secs(1)) * 6 + IDLE;
        assert_eq!(started.elapsed().as_secs(), expected.as_secs());
        assert_eq!(sender.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_does_not_hold_a_place_after_its_sender_has_ended() {
        let (mut sender, mut target, task) = start(&CancellationToken::new());
        let started = Instant::now();
        sleep(Duration::from_secs(5)).await;
        sender.shutdown().await.unwrap();
        sleep(Duration::from_secs(40)).await;
        target.write_all(b"x").await.unwrap();
        assert_eq!(sender.read_u8().await.unwrap(), b'x');
        assert!(matches!(task.await.unwrap(), End::Idle));
        assert_eq!(started.elapsed().as_secs(), 5 + 40 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_reads_nothing_is_idle() {
        let (mut sender, target, task) = start(&CancellationToken::new());
        let writing = tokio::spawn(async move { sender.write_all(&[0; 100_000]).await });
        assert!(matches!(task.await.unwrap(), End::Idle));
        assert!(writing.await.unwrap().is_err());
        drop(target);
    }

    #[tokio::test]
    async fn a_cut_ends_a_tunnel_that_waits_for_nothing_else() {
        let cut = CancellationToken::new();
        let (mut sender, mut target, task) = start(&cut);
        sender.write_all(b"x").await.unwrap();
        assert_eq!(target.read_u8().await.unwrap(), b'x');
        cut.cancel();
        assert!(matches!(task.await.unwrap(), End::Cut));
        assert_eq!(target.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
