//! Handing messages in: the body to all voters of a group, and then its Accept to the leader.

use std::time::{Duration, Instant};

use bytes::Bytes;
use skein_model::disk::Room;
use skein_model::spool::Accept;
use skein_model::{MessageId, UnixMs, codec};
use skein_wire::internal::{ingest_item::Step, ingest_result};

use super::Spool;
use super::ingest_stream::DEADLINE;
use super::upload::{Replica, Upload};
use crate::error::SpoolError;

/// Between two tries to commit, while a group finds a leader.
const TRY_AGAIN: Duration = Duration::from_millis(100);

impl Spool {
    /// Starts the body of a new message at all voters. Dropping the upload before its end discards it.
    ///
    /// # Errors
    /// No voter of the group is known.
    pub fn begin(&self, now: UnixMs, random: u64) -> Result<Upload, SpoolError> {
        self.begin_as(MessageId::new(now, self.group, random))
    }

    /// The same for a message that has its id.
    ///
    /// # Errors
    /// No voter of the group is known.
    pub fn begin_as(&self, id: MessageId) -> Result<Upload, SpoolError> {
        let info = self.cluster.group(self.group);
        if info.leader.is_none() {
            return Err(SpoolError::Unavailable(format!(
                "group {} has no leader",
                self.group
            )));
        }
        // Learners get bodies too, or they would lack the latest ones for ever; they do not count.
        // One whose disk is full would refuse them, and pulls them later.
        let replicas = info.voters.iter().chain(&info.learners);
        let replicas = replicas.filter(|(node, _)| info.room(**node) < Room::Hard);
        let replicas = replicas.map(|(node, address)| Replica {
            votes: info.voters.contains_key(node),
            stream: self.open_stream(*node, address),
        });
        let upload = Upload {
            id,
            majority: info.majority(),
            replicas: replicas.collect(),
            done: false,
        };
        if upload.voters() < upload.majority {
            let text = format!("too many disks of group {} are full", self.group);
            return Err(SpoolError::Full(text));
        }
        Ok(upload)
    }

    /// Returns when the message is committed.
    pub async fn accept(&self, accept: &Accept) -> Result<(), SpoolError> {
        let command = Bytes::from(codec::encode(accept));
        let until = Instant::now() + DEADLINE;
        let mut unknown = None;
        loop {
            let error = match self.try_accept(accept.id, command.clone()).await {
                Ok(()) => return Ok(()),
                // A refusal says nothing of an earlier try whose fate is not known.
                Err(
                    error @ (SpoolError::Refused(_)
                    | SpoolError::Full(_)
                    | SpoolError::Upgrading(_)),
                ) => {
                    return Err(unknown.unwrap_or(error));
                }
                Err(error) => error,
            };
            // A command is idempotent, so one whose fate is not known is offered again.
            if matches!(error, SpoolError::Unknown(_)) {
                unknown = Some(error.clone());
            }
            if Instant::now() + TRY_AGAIN > until {
                return Err(unknown.unwrap_or(error));
            }
            self.cluster.doubt();
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn try_accept(&self, id: MessageId, command: Bytes) -> Result<(), SpoolError> {
        let info = self.cluster.group(self.group);
        let leader = info
            .leader
            .and_then(|leader| Some((leader, info.voters.get(&leader)?)));
        let Some((leader, address)) = leader else {
            return Err(SpoolError::Unavailable(format!(
                "group {} has no leader",
                self.group
            )));
        };
        let stream = self.open_stream(leader, address);
        let asked = stream.ask(id, Step::Accept(command));
        let mut cluster = self.cluster.clone();
        let answer = tokio::select! {
            answer = asked => answer?,
            () = cluster.leader_changed(self.group, leader) => {
                return Err(SpoolError::Unknown("the group has another leader".into()));
            }
        };
        match answer {
            ingest_result::Result::Accepted(_) => Ok(()),
            other => Err(SpoolError::Refused(format!(
                "an accept was answered with {other:?}"
            ))),
        }
    }
}
