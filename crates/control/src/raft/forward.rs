//! Changing any group from any node: commands go to the group's leader, wherever it is.

use skein_client::Channels;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::{GroupId, codec, meta};
use skein_wire::internal::ProposeRequest;
use skein_wire::internal::peer_client::PeerClient;
use tonic::{Code, Status};

use super::{Group, VersionGate};

/// An election takes up to 3 s; the caller is told after that.
const WITHIN: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Forward {
    pub groups: Arc<BTreeMap<GroupId, Arc<Group>>>,
    pub peers: Channels,
    pub versions: VersionGate,
}

impl Forward {
    /// Commits a command of the meta group, which is idempotent, if every control node reads it.
    ///
    /// # Errors
    /// As [`Self::propose`]; or a control node is of a version that does not know the command.
    pub async fn commit_meta(&self, command: &meta::Command) -> Result<meta::Response, Status> {
        if let Some(feature) = command.feature() {
            self.versions.pass(feature).await?;
        }
        let reply = self.propose(GroupId::META, codec::encode(command)).await?;
        codec::decode(&reply).map_err(|error| Status::internal(error.to_string()))
    }

    /// Commits a command, which is idempotent, and returns the state machine's reply.
    ///
    /// # Errors
    /// It is no command that is forwarded to this group, or the group had no leader that could commit it.
    pub async fn propose(&self, id: GroupId, command: Vec<u8>) -> Result<Vec<u8>, Status> {
        let group = self
            .groups
            .get(&id)
            .ok_or_else(|| Status::not_found(format!("no group {id} is here")))?;
        let checked = group.check_forwarded(&command);
        checked.map_err(|error| error.status())?;
        let until = Instant::now() + WITHIN;
        loop {
            let status = match self.try_propose(group, command.clone()).await {
                Ok(reply) => return Ok(reply),
                // No other leader would take it.
                Err(status) if status.code() == Code::InvalidArgument => return Err(status),
                Err(status) => status,
            };
            if Instant::now() > until {
                let error = status.message();
                return Err(Status::unavailable(format!("group {id}: {error}")));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn try_propose(&self, group: &Group, command: Vec<u8>) -> Result<Vec<u8>, Status> {
        if group.is_leader() {
            let proposed = group.propose(command).await;
            return proposed.map_err(|error| error.status());
        }
        let address = group.leader_address();
        let address = address.ok_or_else(|| Status::unavailable("the group has no leader"))?;
        let request = ProposeRequest {
            group: group.id().0.into(),
            command: command.into(),
        };
        let mut leader = PeerClient::new(self.peers.get(&address));
        let proposed = tokio::time::timeout(WITHIN, leader.propose(request)).await;
        match proposed {
            Ok(Ok(reply)) => Ok(reply.into_inner().reply.to_vec()),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::unavailable("its leader does not answer")),
        }
    }
}
