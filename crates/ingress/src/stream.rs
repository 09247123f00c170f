//! Reading from and writing to clients without holding memory or places for those that do neither.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// One read of a session that waits for its client; more are read when these are answered.
pub const READ_BYTES: usize = 4 << 10;
/// A session that is at work, and has memory for it, takes so much of a body at once; a message of usual size comes in a few.
pub const BODY_READ_BYTES: usize = 32 << 10;
/// A connection that is closed is read on for so long and so much, so that its client sees the last reply.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 128 << 10;

thread_local! {
    /// Where octets are read to, one for each thread: a session that waits has no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BODY_READ_BYTES]);
}

/// What comes next, at most so much; nothing at the end.
///
/// # Errors
/// Those of the stream.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S, bytes_max: usize) -> io::Result<Vec<u8>> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = bytes_max.min(scratch.len());
            let mut buffer = ReadBuf::new(&mut scratch[..room]);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            let octets = buffer.filled().to_vec();
            if room <= READ_BYTES {
                // There may be a password among them.
                buffer.filled_mut().fill(0);
            }
            Poll::Ready(Ok(octets))
        })
    })
    .await
}

/// Adds what is there already, up to so much in all.
///
/// # Errors
/// Those of the stream.
pub async fn read_on<S: AsyncRead + Unpin>(
    stream: &mut S,
    octets: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<()> {
    let room = bytes_max.saturating_sub(octets.len());
    if room == 0 {
        return Ok(());
    }
    let mut next = std::pin::pin!(read(stream, room));
    let next = poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
    if let Poll::Ready(next) = next {
        octets.extend_from_slice(&next?);
    }
    Ok(())
}

/// Writes all of it, as long as the client takes some within `progress`.
///
/// # Errors
/// Those of the stream; `TimedOut` when the client does not read.
pub async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    mut octets: &[u8],
    progress: Duration,
) -> io::Result<()> {
    while !octets.is_empty() {
        let count = timeout(progress, stream.write(octets)).await??;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        octets = &octets[count..];
    }
    timeout(progress, stream.flush()).await?
}

/// Ends this side, and drops what the other side still sends.
pub async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let rest = async {
        stream.shutdown().await?;
        let mut dropped = 0;
        while dropped < LINGER_BYTES_MAX {
            match read(stream, BODY_READ_BYTES).await?.len() {
                0 => break,
                count => dropped += count,
            }
        }
        io::Result::Ok(())
    };
    // The connection is over, however it ends.
    let _ = timeout(LINGER, rest).await;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_all_and_one_that_does_not_read_is_given_up() {
        let (mut ours, mut theirs) = tokio::io::duplex(16);
        let text = vec![b'x'; 100];
        let reading = async {
            let mut all = Vec::new();
            while all.len() < 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut some = [0; 7];
                let count = theirs.read(&mut some).await.unwrap();
                all.extend_from_slice(&some[..count]);
            }
            all
        };
        let writing = write(&mut ours, &text, Duration::from_secs(10));
        let (written, all) = tokio::join!(writing, reading);
        assert!(written.is_ok() && all == text);
        let error = write(&mut ours, &text, Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn reads_are_no_larger_than_asked_for() {
        let (mut ours, mut theirs) = tokio::io::duplex(100_000);
        theirs.write_all(&[b'x'; 50_000]).await.unwrap();
        drop(theirs);
        assert_eq!(read(&mut ours, READ_BYTES).await.unwrap().len(), READ_BYTES);
        let mut all = READ_BYTES;
        loop {
            match read(&mut ours, BODY_READ_BYTES).await.unwrap().len() {
                0 => break,
                count => all += count,
            }
        }
        assert_eq!(all, 50_000);
    }
}
