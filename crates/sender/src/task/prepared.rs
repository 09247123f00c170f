//! The octets of a task, and the message that a host of some capabilities gets.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use skein_client::SpoolError;
use skein_mail::content::{Content, ContentScan};
use skein_smtp::client::{Capabilities, OutgoingMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::StreamExt;

use crate::smtp::outgoing::{KeptBack, REWRITTEN_BYTES_MAX, Rewrite, outgoing};
use crate::task::delivery::DeliveryTask;

/// A message for one host.
pub struct Prepared {
    pub message: OutgoingMessage,
    /// The bytes that go out in place of those that are stored.
    pub rewritten: Option<Bytes>,
    /// The memory that they take.
    _room: Option<OwnedSemaphorePermit>,
}

/// The memory for messages that are written anew for a host. Others wait for it.
#[derive(Clone)]
pub struct Rewrites(Arc<Semaphore>);

impl Rewrites {
    /// Three of the largest at a time, of which each is there twice.
    const BYTES: u64 = REWRITTEN_BYTES_MAX * 6;
    /// What permits are counted in.
    const UNIT: u64 = 64 << 10;

    pub fn new() -> Self {
        let units = usize::try_from(Self::BYTES / Self::UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a message of this size and its new form; none once the memory is closed.
    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = (bytes * 2)
            .div_ceil(Self::UNIT)
            .min(Self::BYTES / Self::UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.0.clone().acquire_many_owned(units).await.ok()
    }
}

impl DeliveryTask {
    /// The message as its transaction with a host of these capabilities needs it, with its bytes if those that are stored
    /// are not what goes out.
    pub async fn prepare(
        &self,
        capabilities: &Capabilities,
        rewrites: &Rewrites,
    ) -> Result<Prepared, KeptBack> {
        let mut content = self.content().await.map_err(KeptBack::Unreadable)?;
        let is_utf8 = self.task.message.envelope.smtputf8;
        let rewrite = Rewrite::of(&content, is_utf8, capabilities)?;
        let mut rewritten = None;
        let mut room = None;
        if rewrite.is_needed() {
            rewrite.admits(content.bytes)?;
            room = rewrites.take(content.bytes).await;
            let stored = self.bytes().await.map_err(KeptBack::Unreadable)?;
            let made = rewrite.apply(&stored)?;
            content = Content::of(&made);
            rewritten = Some(Bytes::from(made));
        }
        Ok(Prepared {
            message: outgoing(&self.task, &content, capabilities),
            rewritten,
            _room: room,
        })
    }

    /// What its octets are. Those of a small message came with it; others are read once for it.
    async fn content(&self) -> Result<Content, SpoolError> {
        if let Some(known) = self.content.get() {
            return Ok(*known);
        }
        let content = match &self.task.body {
            Some(body) => Content::of(body),
            None => {
                let mut scan = ContentScan::default();
                let mut parts = self.spool.read_body(self.task.id.message, 0).await?;
                while let Some(part) = parts.next().await {
                    scan.push(&part?);
                }
                scan.finish()
            }
        };
        Ok(*self.content.get_or_init(|| content))
    }

    /// All of its bytes, of which there are no more than may be rewritten.
    async fn bytes(&self) -> Result<Bytes, SpoolError> {
        if let Some(body) = &self.task.body {
            return Ok(body.clone());
        }
        let mut whole = BytesMut::new();
        let id = self.task.id.message;
        let mut parts = self.spool.read_part(id, 0, REWRITTEN_BYTES_MAX).await?;
        while let Some(part) = parts.next().await {
            whole.extend_from_slice(&part?);
        }
        Ok(whole.freeze())
    }
}
