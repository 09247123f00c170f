//! A Raft group of this node, behind the few things that the rest needs of it.

mod commands;
pub mod convert;
mod counters;
mod forward;
mod hand_over;
mod health;
mod membership;
mod network;
mod plausible;
mod propose;
mod proposer;
mod start;
mod version_gate;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use counters::GroupCounters;
pub use forward::Forward;
use openraft::raft::AppendEntriesRequest;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{BasicNode, Raft, ServerState, SnapshotMeta, SnapshotPolicy, Vote};
pub use plausible::Implausible;
use plausible::Known;
pub use propose::propose;
pub use proposer::ProposeError;
use proposer::Proposer;
use skein_model::{GroupId, NodeId};
use skein_store::TypeConfig;
use skein_wire::internal::{GroupView, Member};
use skein_wire::v1::{GroupStatus, RaftState};
pub use start::start_group;
pub use version_gate::VersionGate;

use commands::Commands;
use network::Network;

/// Also how long a leader is heeded after it was last heard.
const ELECTION_MAX_MS: u64 = 1300;
/// Entries that a member may lack and still count as up to date: those of about one heartbeat.
pub const NEARLY: u64 = 100;
/// Entries that stay when the log is purged for room: what a member lacks that was away for a few seconds.
const KEPT_ENTRIES: u64 = 200;

/// A group that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("starting Raft group {group}: {reason}")]
pub struct GroupError {
    group: GroupId,
    reason: String,
}

pub struct Group {
    id: GroupId,
    node: NodeId,
    raft: Raft<TypeConfig>,
    proposer: Proposer,
    commands: Commands,
    counters: GroupCounters,
    /// Changes of members and of the leader, one at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Group {
    pub async fn start<L, S>(
        node: NodeId,
        network: Network,
        log: L,
        machine: S,
        commands: Commands,
    ) -> Result<Self, GroupError>
    where
        L: RaftLogStorage<TypeConfig>,
        S: RaftStateMachine<TypeConfig>,
    {
        let id = network.group;
        let failed = |reason: String| GroupError { group: id, reason };
        let config = raft_config(id)
            .validate()
            .map_err(|error| failed(error.to_string()))?;
        let raft = Raft::new(node.0, Arc::new(config), network, log, machine)
            .await
            .map_err(|error| failed(error.to_string()))?;
        skein_runtime::task("raft-watch", health::watch_core(id, raft.metrics()));
        let counters = GroupCounters::default();
        let count = health::count_elections(raft.metrics(), counters.clone());
        skein_runtime::task("raft-elections", count);
        let proposer = Proposer::start(raft.clone(), counters.clone());
        Ok(Self {
            id,
            node,
            raft,
            proposer,
            commands,
            counters,
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Makes the group, if it does not exist: all members and no others. Done once, by one of them.
    pub async fn initialize(&self, members: &BTreeMap<NodeId, String>) -> Result<(), GroupError> {
        let failed = |reason: String| GroupError {
            group: self.id,
            reason,
        };
        let is_initialized = self.raft.is_initialized().await;
        if is_initialized.map_err(|error| failed(error.to_string()))? {
            return Ok(());
        }
        let members: BTreeMap<u64, BasicNode> = members
            .iter()
            .map(|(id, address)| (id.0, BasicNode::new(address)))
            .collect();
        let initialized = self.raft.initialize(members).await;
        initialized.map_err(|error| failed(error.to_string()))
    }

    pub fn id(&self) -> GroupId {
        self.id
    }

    pub fn raft(&self) -> &Raft<TypeConfig> {
        &self.raft
    }

    pub fn counters(&self) -> &GroupCounters {
        &self.counters
    }

    /// Waits until this node's part in the group changes, and says whether it leads: with a term of its own, and
    /// with everything applied that was committed before.
    pub async fn leads(&self) -> bool {
        self.raft.ensure_linearizable().await.is_ok()
    }

    /// Completes when this node has applied the entry of this number.
    pub async fn applies(&self, index: u64) {
        let mut metrics = self.raft.metrics();
        let applied = metrics.wait_for(|now| now.last_applied.is_some_and(|id| id.index >= index));
        if applied.await.is_err() {
            // The group has stopped, and applies nothing any more.
            std::future::pending::<()>().await;
        }
    }

    /// Completes when this node begins or ceases to lead.
    pub async fn role_changed(&self) {
        let mut metrics = self.raft.metrics();
        let role = |state: ServerState, term: u64| (state == ServerState::Leader, term);
        let before = {
            let now = metrics.borrow_and_update();
            role(now.state, now.current_term)
        };
        while metrics.changed().await.is_ok() {
            let now = metrics.borrow_and_update();
            if role(now.state, now.current_term) != before {
                return;
            }
        }
    }

    pub fn is_leader(&self) -> bool {
        self.raft.metrics().borrow().current_leader == Some(self.node.0)
    }

    /// Whether this node leads, and has applied all that leaders before it committed.
    pub fn leads_with_all_applied(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let applied = metrics.last_applied.map(|id| id.leader_id.term);
        metrics.current_leader == Some(self.node.0) && applied == Some(metrics.current_term)
    }

    /// Where the leader is reached, if one is known.
    pub fn leader_address(&self) -> Option<String> {
        let view = self.view();
        let mut members = view.members.into_iter();
        members
            .find(|member| member.node == view.leader)
            .map(|member| member.address)
    }

    pub fn view(&self) -> GroupView {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        GroupView {
            group: self.id.0.into(),
            term: metrics.current_term,
            leader: metrics.current_leader.unwrap_or(0),
            members: membership
                .nodes()
                .map(|(id, node)| Member {
                    node: *id,
                    address: node.addr.clone(),
                    voter: voters.contains(id),
                })
                .collect(),
            log_end: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            stopped: metrics
                .running_state
                .as_ref()
                .err()
                .map(ToString::to_string)
                .unwrap_or_default(),
            // What this group keeps beside its rows is not known here.
            ..GroupView::default()
        }
    }

    /// Returns the reply of the state machine after the command is committed and applied.
    ///
    /// # Errors
    /// The command is not one of this group, or not known to be committed.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        self.commands.check(&command)?;
        self.proposer.propose(command).await
    }

    /// Whether another node may have a command proposed here, or this node one elsewhere.
    ///
    /// # Errors
    /// It may not.
    pub fn check_forwarded(&self, command: &[u8]) -> Result<(), ProposeError> {
        Ok(self.commands.check_forwarded(command)?)
    }

    /// Whether another node may lead the group by this vote.
    ///
    /// # Errors
    /// No member says this.
    pub fn check_vote(&self, vote: &Vote<u64>) -> Result<(), Implausible> {
        self.known().check_vote(vote)
    }

    /// # Errors
    /// No leader says this.
    pub fn check_append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<(), Implausible> {
        self.known().check_append(request, &self.commands)
    }

    /// # Errors
    /// No leader sends such a snapshot.
    pub fn check_snapshot(
        &self,
        vote: &Vote<u64>,
        meta: &SnapshotMeta<u64, BasicNode>,
    ) -> Result<(), Implausible> {
        self.check_vote(vote)?;
        let last = meta.last_log_id.ok_or(Implausible::Order)?;
        if last.leader_id.term > vote.leader_id().term || last.index > plausible::INDEX_MAX {
            return Err(Implausible::Order);
        }
        match plausible::can_elect(meta.last_membership.membership()) {
            true => Ok(()),
            false => Err(Implausible::Members(last.index)),
        }
    }

    fn known(&self) -> Known {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let mut others = membership.nodes().filter(|(id, _)| **id != self.node.0);
        let is_member = membership.get_node(&self.node.0).is_some();
        Known {
            node: self.node.0,
            term: metrics.current_term,
            is_alone: is_member && others.next().is_none(),
            applied: metrics.last_applied,
        }
    }

    /// Lets go of entries that are applied, for a disk that is full: a member that lacks some of them gets a snapshot.
    pub async fn purge(&self) {
        let last = self.raft.metrics().borrow().snapshot;
        if let Some(last) = last {
            let upto = last.index.saturating_sub(KEPT_ENTRIES);
            if let Err(error) = self.raft.trigger().purge_log(upto).await {
                tracing::warn!(group = %self.id, %error, "no purge");
            }
        }
        // The next purge goes up to here.
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!(group = %self.id, %error, "no snapshot");
        }
    }

    /// Begins an election here.
    pub async fn elect(&self) {
        if let Err(error) = self.raft.trigger().elect().await {
            tracing::warn!(group = %self.id, %error, "no election");
        }
    }

    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow().clone();
        let state = match metrics.state {
            ServerState::Leader => RaftState::Leader,
            ServerState::Follower => RaftState::Follower,
            ServerState::Candidate => RaftState::Candidate,
            ServerState::Learner => RaftState::Learner,
            ServerState::Shutdown => RaftState::Stopped,
        };
        GroupStatus {
            group: self.id.0.into(),
            state: state.into(),
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
        // Also the deadline of an append, so it covers a follower's fsync. Heartbeats go out every one and a half of it.
        heartbeat_interval: 400,
        // openraft adds the longest timeout, which is also the leader's lease, to the timeout that it draws: an election
        // begins 2.0 s to 2.6 s after the last heartbeat.
        election_timeout_min: 700,
        election_timeout_max: ELECTION_MAX_MS,
        max_payload_entries: 64,
        // The rows are on disk at every moment; a snapshot only lets the log be purged.
        snapshot_policy: SnapshotPolicy::LogsSinceLast(5_000),
        max_in_snapshot_log_to_keep: 1_000,
        purge_batch_size: 1_000,
        ..openraft::Config::default()
    }
}
