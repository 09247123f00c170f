//! Reading the bytes of a stored message, from whichever voter has them.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use skein_model::MessageId;
use skein_wire::convert;
use skein_wire::internal::{BodyPart, ReadBodyRequest};
use tonic::Streaming;

use crate::SpoolError;
use crate::channel::Channel;
use crate::ingest::{Spool, client};

impl Spool {
    /// The bytes of a stored message from `offset` on. Where one voter lacks them, has them damaged, or goes away in
    /// the middle, the next goes on.
    ///
    /// # Errors
    /// No voter has them.
    pub async fn read_body(
        &self,
        id: MessageId,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, SpoolError>>, SpoolError> {
        let info = self.cluster.group(self.group);
        let mut voters: Vec<_> = info.voters.iter().collect();
        voters.sort_by_key(|(node, _)| info.leader != Some(**node));
        let channels = voters.into_iter();
        let channels = channels.map(|(_, address)| self.cluster.channel(address));
        let mut reading = Reading {
            id,
            offset,
            voters: channels.collect(),
            parts: None,
            last: SpoolError::Unavailable(format!("group {} has no voter", self.group)),
        };
        let first = reading.next().await?;
        let rest = stream::try_unfold(reading, |mut reading| async move {
            let part = reading.next().await?;
            Ok(part.map(|part| (part, reading)))
        });
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }
}

struct Reading {
    id: MessageId,
    offset: u64,
    /// Those that were not asked yet.
    voters: VecDeque<Channel>,
    parts: Option<Streaming<BodyPart>>,
    last: SpoolError,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        loop {
            let status = match &mut self.parts {
                Some(parts) => match parts.message().await {
                    Ok(part) => {
                        let data = part.map(|part| part.data);
                        self.offset += data.as_ref().map_or(0, |data| data.len() as u64);
                        return Ok(data);
                    }
                    Err(status) => status,
                },
                None => {
                    let voter = self.voters.pop_front().ok_or_else(|| self.last.clone())?;
                    let request = ReadBodyRequest {
                        id: convert::message_id_bytes(self.id),
                        offset: self.offset,
                    };
                    match client(voter).read_body(request).await {
                        Ok(parts) => {
                            self.parts = Some(parts.into_inner());
                            continue;
                        }
                        Err(status) => status,
                    }
                }
            };
            self.parts = None;
            self.last = SpoolError::from_status("reading a body", &status);
        }
    }
}
