//! Members of a group, and changes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::{BasicNode, ChangeMembers};
use skein_model::meta::Step;
use skein_model::{NodeId, meta};

use super::{Group, NEARLY};

/// A change waits for what is being replicated; one that takes longer is looked at again.
const CHANGE_WITHIN: Duration = Duration::from_secs(20);

impl Group {
    /// Whether this node is or was part of a cluster.
    pub fn is_member(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.current_term > 0 || metrics.last_log_index.is_some()
    }

    pub fn voters(&self) -> Vec<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let voters = metrics.membership_config.membership().voter_ids();
        voters.map(NodeId).collect()
    }

    /// Whether this node follows the group and has no vote in it yet, or no more.
    pub fn only_learns(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        membership.get_node(&self.node.0).is_some()
            && !membership.voter_ids().any(|id| id == self.node.0)
    }

    /// The other voters and where they are reached.
    pub fn others(&self) -> Vec<(NodeId, String)> {
        let members = self.view().members.into_iter();
        members
            .filter(|member| member.voter && member.node != self.node.0)
            .map(|member| (NodeId(member.node), member.address))
            .collect()
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
}
