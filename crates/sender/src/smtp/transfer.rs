//! The bytes of one message on their way to a host, and what may end that before they are all written.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use skein_client::{Lease, LeasedTask, Reporter, Spool};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::claim::Claim;
use crate::limits::policy_use::UnderPolicy;
use crate::smtp::session::SessionError;

/// The body is handed to the socket in pieces of about this size.
pub const WRITE_BYTES: usize = 64 << 10;

const IP_LEAVES: &str = "the source IP moves to another node";
const NO_LEASE: &str = "the lease of this sender has ended";

/// The reasons to end a transaction before its final dot, at any point: a host that is slow must not keep a slot or an IP.
pub struct Halt<'a, L> {
    /// The slot is to go elsewhere.
    pub stop: CancellationToken,
    /// The source IP is.
    pub revocation: CancellationToken,
    /// The lease has ended: others may have the slot, and the connection's place at the host.
    pub over: Pin<&'a mut L>,
}

impl<L: Future<Output = ()>> Halt<'_, L> {
    pub async fn or<T>(
        &mut self,
        doing: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(SessionError::Stopped),
            () = self.revocation.cancelled() => Err(SessionError::NotNow(IP_LEAVES)),
            () = self.over.as_mut() => Err(SessionError::NotNow(NO_LEASE)),
            done = doing => done,
        }
    }
}

/// Where the bytes of a message come from.
pub struct Content<'a> {
    pub spool: &'a Spool,
    pub task: &'a LeasedTask,
    pub lease: &'a Lease,
    /// Gives the transaction up unless its final dot is sent.
    pub claim: &'a Claim,
    /// The bytes that go out in place of those that are stored.
    pub rewritten: Option<Bytes>,
    /// The policy that the transaction goes by until its final dot.
    pub under: Option<&'a UnderPolicy>,
}

impl Content<'_> {
    /// Whether the message may be completed at this moment.
    pub fn may_end(&self, reporter: &Reporter) -> Result<(), SessionError> {
        if !self.lease.holds(self.task.session) {
            // The slot may be another sender's by now, which would send the message as well.
            return Err(SessionError::NotNow(NO_LEASE));
        }
        if !reporter.is_open() {
            // Without a way to report, a delivery would be repeated by the next owner.
            return Err(SessionError::NotNow("results cannot be reported now"));
        }
        Ok(())
    }
}

/// Does no step without asking. What a slow host has not been given of the last bytes can still be kept back.
pub async fn only_while<T>(
    may: impl Fn() -> Result<(), SessionError>,
    doing: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let mut doing = pin!(doing);
    poll_fn(|cx| match may() {
        Ok(()) => doing.as_mut().poll(cx),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

/// The bytes of a message, in pieces.
pub enum Source {
    Held(Bytes),
    Streamed(
        Box<
            dyn tokio_stream::Stream<Item = Result<Bytes, skein_client::SpoolError>> + Send + Unpin,
        >,
    ),
}

impl Source {
    pub async fn open(content: &Content<'_>) -> Result<Self, SessionError> {
        let held = content.rewritten.as_ref().or(content.task.body.as_ref());
        if let Some(body) = held {
            return Ok(Self::Held(body.clone()));
        }
        let id = content.task.id.message;
        let parts = content.spool.read_body(id, 0).await;
        let parts = parts.map_err(SessionError::Unreadable)?;
        Ok(Self::Streamed(Box::new(parts)))
    }

    pub async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        match self {
            Self::Held(rest) => {
                let piece = rest.split_to(rest.len().min(WRITE_BYTES));
                Ok(Some(piece).filter(|piece| !piece.is_empty()))
            }
            Self::Streamed(parts) => {
                let next = parts.next().await.transpose();
                next.map_err(SessionError::Unreadable)
            }
        }
    }
}
