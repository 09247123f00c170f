//! A Raft group of this node, behind the few things that the rest needs of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{BasicNode, OptionalSend, Raft, ServerState, Snapshot, SnapshotPolicy, Vote};
use skein_model::{GroupId, NodeId};
use skein_store::TypeConfig;
use skein_wire::v1::GroupStatus;

use crate::StartError;
use crate::proposer::{ProposeError, Proposer};

/// A group with one voter elects itself at once; this bounds a start that cannot succeed.
const LEADER_WITHIN: Duration = Duration::from_secs(30);

pub struct Group {
    id: GroupId,
    raft: Raft<TypeConfig>,
    proposer: Proposer,
}

impl Group {
    pub async fn start<L, S>(
        id: GroupId,
        node: NodeId,
        log: L,
        machine: S,
    ) -> Result<Self, StartError>
    where
        L: RaftLogStorage<TypeConfig>,
        S: RaftStateMachine<TypeConfig>,
    {
        let failed = |reason: String| StartError::Raft { group: id, reason };
        let config = raft_config(id)
            .validate()
            .map_err(|error| failed(error.to_string()))?;
        let raft = Raft::new(node.0, Arc::new(config), NoPeers, log, machine)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let is_initialized = raft.is_initialized().await;
        if !is_initialized.map_err(|error| failed(error.to_string()))? {
            let members = BTreeMap::from([(node.0, BasicNode::default())]);
            let initialized = raft.initialize(members).await;
            initialized.map_err(|error| failed(error.to_string()))?;
        }
        raft.wait(Some(LEADER_WITHIN))
            .metrics(|metrics| metrics.current_leader.is_some(), "a leader")
            .await
            .map_err(|error| failed(error.to_string()))?;
        // A read barrier: what was committed before the restart is applied when this returns.
        raft.ensure_linearizable()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let proposer = Proposer::start(raft.clone());
        Ok(Self { id, raft, proposer })
    }

    /// Returns the reply of the state machine after the command is committed and applied.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        self.proposer.propose(command).await
    }

    pub fn has_leader(&self) -> bool {
        self.raft.metrics().borrow().current_leader.is_some()
    }

    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow().clone();
        let state = match metrics.state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner => "learner",
            ServerState::Shutdown => "stopped",
        };
        GroupStatus {
            group: self.id.0.into(),
            state: state.to_owned(),
            term: metrics.current_term,
            last_applied: metrics.last_applied.map_or(0, |id| id.index),
            leader: metrics.current_leader.unwrap_or(0),
            voters: metrics.membership_config.membership().voter_ids().count() as u64,
        }
    }

    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, %error, "a Raft group did not stop cleanly");
        }
    }
}

fn raft_config(id: GroupId) -> openraft::Config {
    openraft::Config {
        cluster_name: format!("skein-{id}"),
        // The heartbeat interval is also the deadline of an append, so it covers a follower's fsync.
        heartbeat_interval: 500,
        election_timeout_min: 1500,
        election_timeout_max: 3000,
        max_payload_entries: 64,
        // The rows are on disk at every moment; a snapshot only lets the log be purged.
        snapshot_policy: SnapshotPolicy::LogsSinceLast(5_000),
        max_in_snapshot_log_to_keep: 1_000,
        purge_batch_size: 1_000,
        ..openraft::Config::default()
    }
}

/// The network of a group with one voter: there is nobody to call.
struct NoPeers;

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = Nobody;

    async fn new_client(&mut self, _target: u64, _node: &BasicNode) -> Nobody {
        Nobody
    }
}

struct Nobody;

fn nobody() -> Unreachable {
    Unreachable::new(&std::io::Error::other(
        "this group has one voter and no peers",
    ))
}

impl RaftNetwork<TypeConfig> for Nobody {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        Err(RPCError::Unreachable(nobody()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        Err(RPCError::Unreachable(nobody()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote<u64>,
        _snapshot: Snapshot<TypeConfig>,
        _cancel: impl Future<Output = openraft::error::ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<
        SnapshotResponse<u64>,
        openraft::error::StreamingError<TypeConfig, openraft::error::Fatal<u64>>,
    > {
        Err(openraft::error::StreamingError::Unreachable(nobody()))
    }

    async fn install_snapshot(
        &mut self,
        _request: openraft::raft::InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<
        openraft::raft::InstallSnapshotResponse<u64>,
        RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>,
    > {
        Err(RPCError::Unreachable(nobody()))
    }
}
