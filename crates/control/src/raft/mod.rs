//! A Raft group of this node, behind the few things that the rest needs of it.

mod commands;
pub mod convert;
mod hand_over;
mod network;
mod plausible;
mod proposer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use commands::Commands;
pub use network::Network;
use openraft::error::Fatal;
use openraft::raft::AppendEntriesRequest;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{
    BasicNode, ChangeMembers, Raft, RaftMetrics, ServerState, SnapshotMeta, SnapshotPolicy, Vote,
};
pub use plausible::Implausible;
use plausible::Known;
pub use proposer::ProposeError;
use proposer::Proposer;
use skein_model::meta::Step;
use skein_model::{GroupId, NodeId, meta};
use skein_store::TypeConfig;
use skein_wire::internal::{GroupView, Member};
use skein_wire::v1::{GroupStatus, RaftState};
use tokio::sync::watch;

use crate::StartError;

/// Also how long a leader is heeded after it was last heard.
const ELECTION_MAX_MS: u64 = 1300;
/// Entries that a member may lack and still count as up to date: those of about one heartbeat.
pub const NEARLY: u64 = 100;
/// Entries that are appended and not applied on a node that is up to date, on its way to the disk: some of those that
/// arrive within a second.
const BEHIND: u64 = 1000;
/// Entries that stay when the log is purged for room: what a member lacks that was away for a few seconds.
const KEPT_ENTRIES: u64 = 200;
/// A change waits for what is being replicated; one that takes longer is looked at again.
const CHANGE_WITHIN: Duration = Duration::from_secs(20);
/// A leader that no majority has answered for this long may be cut off.
const CUT_OFF: Duration = Duration::from_secs(3);

pub struct Group {
    id: GroupId,
    node: NodeId,
    raft: Raft<TypeConfig>,
    proposer: Proposer,
    commands: Commands,
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
    ) -> Result<Self, StartError>
    where
        L: RaftLogStorage<TypeConfig>,
        S: RaftStateMachine<TypeConfig>,
    {
        let id = network.group;
        let failed = |reason: String| StartError::Raft { group: id, reason };
        let config = raft_config(id)
            .validate()
            .map_err(|error| failed(error.to_string()))?;
        let raft = Raft::new(node.0, Arc::new(config), network, log, machine)
            .await
            .map_err(|error| failed(error.to_string()))?;
        skein_runtime::task("raft-watch", watch_core(id, raft.metrics()));
        let proposer = Proposer::start(raft.clone());
        Ok(Self {
            id,
            node,
            raft,
            proposer,
            commands,
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Makes the group, if it does not exist: all members and no others. Done once, by one of them.
    pub async fn initialize(&self, members: &BTreeMap<NodeId, String>) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Raft {
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

    /// Whether this node is or was part of a cluster.
    pub fn is_member(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.current_term > 0 || metrics.last_log_index.is_some()
    }

    pub fn is_leader(&self) -> bool {
        self.raft.metrics().borrow().current_leader == Some(self.node.0)
    }

    pub fn voters(&self) -> Vec<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let voters = metrics.membership_config.membership().voter_ids();
        voters.map(NodeId).collect()
    }

    /// The other voters and where they are reached.
    pub fn others(&self) -> Vec<(NodeId, String)> {
        let members = self.view().members.into_iter();
        members
            .filter(|member| member.voter && member.node != self.node.0)
            .map(|member| (NodeId(member.node), member.address))
            .collect()
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

    /// Why the group does nothing any more, if that is so. The process is about to end then.
    pub fn failure(&self) -> Option<String> {
        failure(&self.raft.metrics().borrow())
    }

    /// The members as the leader sees them, ready as far as the log goes; none if this node does not lead.
    pub fn members(&self) -> Option<BTreeMap<NodeId, meta::Member>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let replication = metrics.replication.as_ref()?;
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let end = metrics.last_log_index.unwrap_or(0);
        let members = membership.nodes().map(|(id, node)| {
            let matched = replication.get(id).copied().flatten();
            let matched = matched.map_or(0, |log_id| log_id.index);
            let member = meta::Member {
                address: node.addr.clone(),
                is_voter: voters.contains(id),
                is_ready: *id == self.node.0 || matched + NEARLY >= end,
            };
            (NodeId(*id), member)
        });
        Some(members.collect())
    }

    /// Makes one step of a membership change.
    ///
    /// # Errors
    /// It is not known to be committed. It may be tried again.
    pub async fn change(&self, step: Step) -> Result<(), String> {
        let nodes = |nodes: BTreeMap<NodeId, String>| {
            let nodes = nodes.into_iter();
            nodes
                .map(|(id, address)| (id.0, BasicNode::new(address)))
                .collect()
        };
        let ids = |ids: Vec<NodeId>| ids.into_iter().map(|id| id.0).collect();
        let change: ChangeMembers<u64, BasicNode> = match step {
            Step::Move(moved) => ChangeMembers::SetNodes(nodes(moved)),
            Step::AddLearner(id, address) => ChangeMembers::AddNodes(nodes([(id, address)].into())),
            Step::Voters(voters) => ChangeMembers::ReplaceAllVoters(ids(voters)),
            Step::Remove(left) => ChangeMembers::RemoveNodes(ids(left)),
        };
        let _alone = self.changing.lock().await;
        let change = self.raft.change_membership(change, true);
        match tokio::time::timeout(CHANGE_WITHIN, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("not committed in time".to_owned()),
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

    /// Why what this node knows of the group may be old, if it may.
    pub async fn out_of_touch(&self) -> Option<String> {
        let (leader, acked) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.current_leader, metrics.millis_since_quorum_ack)
        };
        if leader.is_none() {
            return Some("sees no leader".to_owned());
        }
        let heard = match leader == Some(self.node.0) {
            true => acked.map(Duration::from_millis),
            false => {
                let told = self
                    .raft
                    .with_raft_state(|state| state.vote_last_modified());
                told.await.ok().flatten().map(|at| at.elapsed())
            }
        };
        let silent = heard.filter(|heard| *heard > CUT_OFF)?;
        let who = match leader == Some(self.node.0) {
            true => "is the leader, and no majority has answered it",
            false => "has heard nothing from the leader",
        };
        Some(format!("{who} for {} s", silent.as_secs()))
    }

    /// Why this node should not be relied on for the group, if it should not.
    pub async fn not_ready(&self) -> Option<String> {
        if let Some(why) = self.out_of_touch().await {
            return Some(why);
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        let lacks = metrics.last_log_index.unwrap_or(0).saturating_sub(applied);
        (lacks > BEHIND).then(|| format!("has {lacks} entries yet to apply"))
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

fn failure(metrics: &RaftMetrics<u64, BasicNode>) -> Option<String> {
    match &metrics.running_state {
        Ok(()) | Err(Fatal::Stopped) => None,
        Err(fatal) => Some(fatal.to_string()),
    }
}

/// Ends the process when the group's core does: nothing is committed or applied any more, and nobody else would notice.
async fn watch_core(id: GroupId, mut metrics: watch::Receiver<RaftMetrics<u64, BasicNode>>) {
    let is_over = |now: &RaftMetrics<u64, BasicNode>| now.running_state.is_err();
    // What follows a core that is gone without a word is the same.
    let _ = metrics.wait_for(is_over).await;
    let state = metrics.borrow().running_state.clone();
    match state {
        // By this node itself, which stops; or it is gone, and the process must not go on without it.
        Err(Fatal::Stopped) | Ok(()) => {}
        Err(fatal) => {
            let reason = format!("Raft group {id} has failed: {fatal}");
            skein_runtime::end_after_cause(reason).await
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
