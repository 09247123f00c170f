//! The cluster as a whole: how it does, and who belongs to it.

use std::time::Duration;

use skein_client::Channel;
use skein_model::doctor::{self, Facts, GroupFacts};
use skein_model::{GroupId, HostPort, NodeId, meta};
use skein_wire::internal::peer_client::PeerClient;
use skein_wire::internal::{EndSenderRequest, MoveLeaderRequest};
use skein_wire::v1::{
    AddNodeResponse, Cluster, ClusterNode, GroupRole, MoveLeaderResponse, NodeGroup, NodeState,
    RemoveNodeResponse,
};
use tonic::{Code, Status};

use super::AdminService;

/// A hand-over takes up to 7 s.
const MOVED_WITHIN: Duration = Duration::from_secs(10);
const MOVE_TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_millis(500);

impl AdminService {
    pub(super) async fn cluster(&self) -> Cluster {
        let facts = self.facts().await;
        let checks = doctor::examine(&facts);
        let cluster = meta::cluster(&self.meta);
        let founding = facts.founding.clone().unwrap_or_default();
        let missing = founding.missing.into_iter();
        Cluster {
            missing: missing
                .map(|peer| format!("{} ({})", peer.address, peer.why))
                .collect(),
            cluster_id: cluster
                .map(|row| format!("{:016x}", row.id))
                .unwrap_or_default(),
            verdict: doctor::verdict(&checks),
            health: super::doctor::health(&checks).into(),
            nodes: nodes(&facts),
            senders: self.senders().await,
            invited: facts.invited.into_iter().collect(),
            asked_node_id: super::nodes::node_id(self.node.0),
        }
    }

    pub(super) async fn add(&self, address: &str) -> Result<AddNodeResponse, Status> {
        let parsed = address.parse::<HostPort>();
        parsed.map_err(|error| Status::invalid_argument(format!("address: {error}")))?;
        let cluster = meta::cluster(&self.meta).filter(|_| !self.config.address.is_empty());
        let cluster = cluster.ok_or_else(alone)?;
        match self
            .forward
            .commit_meta(&meta::Command::Invite(address.to_owned()))
            .await?
        {
            meta::Response::Refused(meta::Refusal::IsMember) => {
                return Err(Status::already_exists(format!(
                    "address: {}",
                    meta::Refusal::IsMember
                )));
            }
            meta::Response::Refused(refusal) => {
                return Err(Status::failed_precondition(format!("address: {refusal}")));
            }
            _ => {}
        }
        let nodes = meta::nodes(&self.meta).into_values();
        Ok(AddNodeResponse {
            peers: nodes.map(|row| row.address).collect(),
            spool_groups: cluster.spool_groups.into(),
        })
    }

    pub(super) async fn remove(&self, name: &str) -> Result<RemoveNodeResponse, Status> {
        meta::cluster(&self.meta).ok_or_else(alone)?;
        let nodes = meta::nodes(&self.meta);
        if meta::invited(&self.meta).contains(name) {
            self.forward
                .commit_meta(&meta::Command::Withdraw(name.to_owned()))
                .await?;
            return Ok(RemoveNodeResponse {
                address: name.to_owned(),
                left: nodes.len() as u32,
                ..RemoveNodeResponse::default()
            });
        }
        let facts = self.members.survey().await;
        let node = node_named(&facts, name)?;
        let answers = facts
            .nodes
            .iter()
            .map(|(id, node)| (*id, node.answer.is_some()));
        meta::may_remove(&answers.collect(), node).map_err(|error| {
            Status::failed_precondition(format!(
                "node: {error}; bring the others back first, or remove one that does not answer"
            ))
        })?;
        match self
            .forward
            .commit_meta(&meta::Command::RemoveNode(node))
            .await?
        {
            meta::Response::Refused(refusal) => {
                Err(Status::failed_precondition(format!("node: {refusal}")))
            }
            _ => Ok(RemoveNodeResponse {
                node_id: super::nodes::node_id(node.0),
                address: facts.node_name(node),
                left: nodes.len() as u32 - 1,
            }),
        }
    }

    pub(super) async fn give_leader(
        &self,
        group: u32,
        name: &str,
    ) -> Result<MoveLeaderResponse, Status> {
        let mut tries = 1;
        loop {
            match self.try_to_give(group, name).await {
                // It may have moved meanwhile, or an election went another way.
                Err(status) if status.code() == Code::Unavailable && tries < MOVE_TRIES => {
                    tries += 1;
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                // This node answers, and says why it was not possible.
                Err(status) if status.code() == Code::Unavailable => {
                    return Err(Status::aborted(status.message()));
                }
                given => return given,
            }
        }
    }

    async fn try_to_give(&self, group: u32, name: &str) -> Result<MoveLeaderResponse, Status> {
        let facts = self.members.survey().await;
        let id = u16::try_from(group).map(GroupId).ok();
        let found = id.and_then(|id| Some((id, facts.groups.get(&id)?)));
        let (id, found) = found.ok_or_else(|| {
            Status::not_found(format!(
                "group: there is no group {group}; list them with `skeinctl group list`"
            ))
        })?;
        let to = node_named(&facts, name)?;
        let leader = found.leader.ok_or_else(|| {
            Status::unavailable(format!(
                "group: {} has no leader now; see `skeinctl doctor`",
                doctor::group_name(id)
            ))
        })?;
        if leader == self.node {
            let moved = self.members.move_leader(id, to).await;
            moved.map_err(|error| error.status())?;
        } else {
            let mut leader = PeerClient::new(self.forward.peers.get(&facts.node_name(leader)));
            let request = MoveLeaderRequest { group, node: to.0 };
            let moved = tokio::time::timeout(MOVED_WITHIN, leader.move_leader(request)).await;
            moved.map_err(|_| {
                Status::unavailable("the group's leader does not answer; try again")
            })??;
        }
        let address = facts.node_name(to);
        Ok(MoveLeaderResponse { address })
    }

    /// For what only the leader of the meta group knows.
    pub(super) fn meta_leader(&self) -> Result<PeerClient<Channel>, Status> {
        let leader = self.forward.groups[&GroupId::META].leader_address();
        let leader = leader
            .ok_or_else(|| Status::unavailable("the meta group has no leader now; try again"))?;
        Ok(PeerClient::new(self.forward.peers.get(&leader)))
    }

    pub(super) async fn end_sender(&self, name: String, is_dead: bool) -> Result<u64, Status> {
        if self.forward.groups[&GroupId::META].is_leader() {
            return self.sessions.end_sender(&name, is_dead).await;
        }
        let mut leader = self.meta_leader()?;
        let ended = leader.end_sender(EndSenderRequest { name, is_dead });
        let ended = tokio::time::timeout(MOVED_WITHIN, ended).await;
        let ended = ended.map_err(|_| {
            Status::unavailable("the meta group's leader does not answer; try again")
        })??;
        Ok(ended.into_inner().slots)
    }
}

fn alone() -> Status {
    Status::failed_precondition(
        "this node is alone, and nobody can join it: set cluster.listen (and cluster.address, if others reach it elsewhere), \
         start it again with its data, and try again",
    )
}

/// By id or by address.
fn node_named(facts: &Facts, name: &str) -> Result<NodeId, Status> {
    let id = (name.len() == 16)
        .then(|| u64::from_str_radix(name, 16).ok())
        .flatten();
    let mut nodes = facts.nodes.iter();
    let found = nodes.find(|(node, facts)| Some(node.0) == id || facts.address == name);
    found.map(|(node, _)| *node).ok_or_else(|| {
        Status::not_found(format!(
            "node: no control node has the id or address {name:?}; list them with `skeinctl cluster status`"
        ))
    })
}

fn nodes(facts: &Facts) -> Vec<ClusterNode> {
    let members = facts
        .groups
        .values()
        .flat_map(|group| group.voters.iter().chain(&group.learners));
    let all: std::collections::BTreeSet<NodeId> =
        facts.nodes.keys().chain(members).copied().collect();
    let mut nodes: Vec<ClusterNode> = all
        .into_iter()
        .map(|node| {
            let answer = facts
                .nodes
                .get(&node)
                .and_then(|known| known.answer.as_ref());
            let state = match answer {
                _ if !facts.nodes.contains_key(&node) => NodeState::Leaving,
                None => NodeState::NoAnswer,
                Some(answer) if answer.is_stopping => NodeState::Stopping,
                Some(_) => NodeState::Up,
            };
            ClusterNode {
                node_id: super::nodes::node_id(node.0),
                address: facts
                    .nodes
                    .get(&node)
                    .map(|known| known.address.clone())
                    .unwrap_or_default(),
                version: answer
                    .map(|answer| answer.version.clone())
                    .unwrap_or_default(),
                state: state.into(),
                groups: facts
                    .groups
                    .iter()
                    .map(|(id, group)| part(*id, group, node))
                    .collect(),
            }
        })
        .collect();
    nodes.sort_by(|a, b| a.address.cmp(&b.address));
    nodes
}

fn part(id: GroupId, group: &GroupFacts, node: NodeId) -> NodeGroup {
    let role = match () {
        () if group.leader == Some(node) => GroupRole::Leader,
        () if group.voters.contains(&node) => GroupRole::Voter,
        () if group.learners.contains(&node) => GroupRole::Learner,
        () => GroupRole::Absent,
    };
    NodeGroup {
        group: id.0.into(),
        role: role.into(),
        behind: group.behind(node).unwrap_or(0),
        bodies_missing: group
            .replicas
            .get(&node)
            .map_or(0, |replica| replica.bodies_missing),
    }
}
