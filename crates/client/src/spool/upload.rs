//! The body of a message on its way to the voters of its group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use skein_model::{BodyRef, MessageId, NodeId};
use skein_wire::internal::{ingest_item::Step, ingest_result};
use tokio::sync::mpsc;

use super::ingest_stream::IngestStream;
use crate::error::SpoolError;

/// A voter that does not take the next bytes of a body by then goes on without it, and pulls the body later.
const SLOW: Duration = Duration::from_secs(5);

/// One of the nodes that a body goes to.
#[derive(Debug)]
pub(super) struct Replica {
    pub votes: bool,
    pub stream: Arc<IngestStream>,
}

/// A body on its way in.
#[derive(Debug)]
pub struct Upload {
    pub(super) id: MessageId,
    /// Those that have all of it so far.
    pub(super) replicas: Vec<Replica>,
    pub(super) majority: usize,
    pub(super) done: bool,
}

impl Upload {
    /// The id that the message will have.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Adds bytes, at most 1 MiB at a time. Waits while disks are behind.
    pub async fn write(&mut self, data: Bytes) -> Result<(), SpoolError> {
        let sends = self.replicas.iter().map(|replica| {
            let send = replica.stream.send(self.id, Step::Append(data.clone()));
            async move { matches!(tokio::time::timeout(SLOW, send).await, Ok(Ok(()))) }
        });
        let mut taken = join_all(sends).await.into_iter();
        self.replicas.retain(|_| taken.next().unwrap_or(false));
        self.check_majority()
    }

    pub(super) fn voters(&self) -> usize {
        let voters = self.replicas.iter().filter(|replica| replica.votes);
        voters.count()
    }

    fn check_majority(&self) -> Result<(), SpoolError> {
        if self.voters() < self.majority {
            return Err(SpoolError::Unavailable(
                "too few voters take the body".into(),
            ));
        }
        Ok(())
    }

    /// Returns when the body is fsynced by a majority. The other voters go on. `prefix_bytes`: so many of the last octets go
    /// out first.
    pub async fn finish(mut self, prefix_bytes: Option<u32>) -> Result<BodyRef, SpoolError> {
        self.check_majority()?;
        self.done = true;
        let (results, mut answers) = mpsc::channel(self.replicas.len());
        for replica in self.replicas.drain(..) {
            let (id, results) = (self.id, results.clone());
            tokio::spawn(async move {
                let answer = replica.stream.ask(id, Step::Finish(true)).await;
                if replica.votes {
                    // The majority is complete without this one.
                    let _ = results.send(answer).await;
                }
            });
        }
        drop(results);
        let mut body: Option<BodyRef> = None;
        let mut last = SpoolError::Unavailable("too few voters stored the body".into());
        while let Some(answer) = answers.recv().await {
            let stored = match answer {
                Ok(ingest_result::Result::Stored(stored)) => stored,
                Ok(other) => {
                    last = SpoolError::Refused(format!(
                        "the end of a body was answered with {other:?}"
                    ));
                    continue;
                }
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let body = body.get_or_insert_with(|| BodyRef {
                bytes: stored.bytes,
                crc32c: stored.crc32c,
                acks: Vec::new(),
                prefix_bytes,
            });
            if (body.bytes, body.crc32c) != (stored.bytes, stored.crc32c) {
                return Err(SpoolError::Refused(
                    "the voters stored different bytes".into(),
                ));
            }
            body.acks.push(NodeId(stored.node));
            if body.acks.len() >= self.majority {
                return Ok(body.clone());
            }
        }
        Err(last)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for replica in &self.replicas {
            replica.stream.abort(self.id);
        }
    }
}
