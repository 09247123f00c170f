//! Reading the bytes of a stored message, from whichever voter has them.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use skein_model::MessageId;
use skein_wire::convert;
use skein_wire::internal::{BodyPart, ReadBodyRequest};
use tonic::{Status, Streaming};

use super::{Spool, client};
use crate::channel::Channel;
use crate::error::SpoolError;

/// Octets that are asked for at a time. A reader that gives up a body in its middle leaves at most this much that is still read,
/// and a body of 50 MB needs fifty questions, each of which costs less than its answer.
const RANGE: u64 = 1 << 20;

impl Spool {
    /// The bytes of a message from `offset` on, as it goes out. Where one voter lacks them, has them damaged, or goes away in
    /// the middle, the next goes on.
    ///
    /// # Errors
    /// No voter has them.
    pub async fn read_body(
        &self,
        id: MessageId,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, SpoolError>>, SpoolError> {
        self.read_part(id, offset, u64::MAX).await
    }

    /// At most so many bytes of a message, else as [`Self::read_body`].
    ///
    /// # Errors
    /// No voter has them.
    pub async fn read_part(
        &self,
        id: MessageId,
        offset: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, SpoolError>>, SpoolError> {
        self.read(id, offset, length, false).await
    }

    /// All bytes of a message in the order in which they are stored, else as [`Self::read_body`].
    ///
    /// # Errors
    /// No voter has them.
    pub async fn read_stored(
        &self,
        id: MessageId,
    ) -> Result<BoxStream<'static, Result<Bytes, SpoolError>>, SpoolError> {
        self.read(id, 0, u64::MAX, true).await
    }

    async fn read(
        &self,
        id: MessageId,
        offset: u64,
        length: u64,
        as_stored: bool,
    ) -> Result<BoxStream<'static, Result<Bytes, SpoolError>>, SpoolError> {
        let info = self.cluster.group(self.group);
        let mut voters: Vec<_> = info.voters.iter().collect();
        voters.sort_by_key(|(node, _)| info.leader != Some(**node));
        let channels = voters.into_iter();
        let channels = channels.map(|(_, address)| Voter {
            channel: self.cluster.channel(address),
            id,
            as_stored,
        });
        let last = SpoolError::Unavailable(format!("group {} has no voter", self.group));
        let mut reading = Reading::new(channels.collect(), offset, length, last);
        let first = reading.next().await?;
        let rest = stream::try_unfold(reading, |mut reading| async move {
            let part = reading.next().await?;
            Ok(part.map(|part| (part, reading)))
        });
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }
}

/// A voter that can be asked for a range of a body.
trait Ask: Send + 'static {
    type Parts: Answer;
    fn ask(&mut self, offset: u64, length: u64) -> BoxFuture<'_, Result<Self::Parts, Status>>;
}

/// What comes of it.
trait Answer: Send + 'static {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Status>>;
}

struct Voter {
    channel: Channel,
    id: MessageId,
    as_stored: bool,
}

impl Ask for Voter {
    type Parts = Streaming<BodyPart>;

    fn ask(&mut self, offset: u64, length: u64) -> BoxFuture<'_, Result<Self::Parts, Status>> {
        let request = ReadBodyRequest {
            id: convert::message_id_bytes(self.id),
            offset,
            length,
            as_stored: self.as_stored,
        };
        let mut client = client(self.channel.clone());
        Box::pin(async move { Ok(client.read_body(request).await?.into_inner()) })
    }
}

impl Answer for Streaming<BodyPart> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Status>> {
        Box::pin(async move { Ok(self.message().await?.map(|part| part.data)) })
    }
}

/// The answer to one question. One that is dropped before its end is read on: a stream that is reset counts against its
/// connection, which carries all work of a sender, and is closed after a thousand.
struct Range<A: Answer> {
    parts: Option<A>,
    /// How much came.
    bytes: u64,
}

impl<A: Answer> Range<A> {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(parts) = &mut self.parts else {
            return Ok(None);
        };
        let part = parts.next().await;
        match &part {
            Ok(Some(data)) => self.bytes += data.len() as u64,
            // It has come to its end, one way or the other.
            Ok(None) | Err(_) => self.parts = None,
        }
        part
    }
}

impl<A: Answer> Drop for Range<A> {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else {
            return;
        };
        // Without a runtime the process ends, and its connections with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { while let Ok(Some(_)) = parts.next().await {} });
        }
    }
}

struct Reading<V: Ask> {
    offset: u64,
    /// Octets that are still wanted.
    left: u64,
    /// The first is being asked.
    voters: VecDeque<V>,
    range: Option<Range<V::Parts>>,
    last: SpoolError,
}

impl<V: Ask> Reading<V> {
    fn new(voters: VecDeque<V>, offset: u64, length: u64, last: SpoolError) -> Self {
        Self {
            offset,
            left: length,
            voters,
            range: None,
            last,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        loop {
            let status = match self.step().await {
                Ok(Step::Part(part)) => return Ok(Some(part)),
                Ok(Step::End) => return Ok(None),
                Ok(Step::Again) => continue,
                Err(status) => status,
            };
            self.range = None;
            self.voters.pop_front();
            self.last = SpoolError::from_status("reading a body", &status);
            if self.voters.is_empty() {
                return Err(self.last.clone());
            }
        }
    }

    async fn step(&mut self) -> Result<Step, Status> {
        let Some(range) = &mut self.range else {
            if self.left == 0 {
                return Ok(Step::End);
            }
            let Some(voter) = self.voters.front_mut() else {
                return Err(Status::unavailable(self.last.to_string()));
            };
            let parts = voter.ask(self.offset, self.left.min(RANGE)).await?;
            self.range = Some(Range {
                parts: Some(parts),
                bytes: 0,
            });
            return Ok(Step::Again);
        };
        match range.next().await? {
            // A node of an older version knows no length. What it sends beyond is read and not wanted.
            Some(_) if self.left == 0 => Ok(Step::Again),
            Some(mut part) => {
                part.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.offset += part.len() as u64;
                self.left -= part.len() as u64;
                Ok(Step::Part(part))
            }
            None => {
                let is_body_over = range.bytes == 0;
                self.range = None;
                Ok(if is_body_over { Step::End } else { Step::Again })
            }
        }
    }
}

enum Step {
    Part(Bytes),
    Again,
    End,
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
