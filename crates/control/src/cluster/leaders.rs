//! Leaders: spread evenly over the nodes, moved when an operator asks for it, and handed over before a node stops.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;
use skein_model::meta::Move;
use skein_model::{GroupId, NodeId};
use skein_wire::internal::ElectRequest;
use skein_wire::internal::peer_client::PeerClient;

use tonic::Status;

use super::members::Members;
use crate::raft::{Group, NEARLY};

const LOOK: Duration = Duration::from_secs(1);
/// No group is moved for this long after a leader changed anywhere: a node that came back may go again, and the next one
/// of a rolling restart goes soon.
const PAUSE: Duration = Duration::from_secs(30);
/// The founder leads all groups of a new cluster, and nothing is lost by moving them at once.
const PAUSE_WHEN_NEW: Duration = Duration::from_secs(2);
/// The term of the founder's election.
const FIRST_TERM: u64 = 1;
const ELECT_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error("group: {0} is not led by this node any more; try again")]
    NotLeader(String),
    #[error(
        "node: it is no voter of the group; a new node votes when it has caught up, see `skeinctl cluster status`"
    )]
    NotVoter,
    #[error("node: it does not answer, or stops")]
    NoAnswer,
    #[error(
        "node: it lacks {entries} entries and {bodies} bodies; try again when it has caught up"
    )]
    Behind { entries: u64, bodies: u64 },
    #[error("leadership is not handed over: {0}; try again")]
    Refused(String),
}

impl MoveError {
    /// What may be different at the next try is unavailable.
    pub fn status(&self) -> Status {
        match self {
            Self::NotLeader(_) | Self::Refused(_) => Status::unavailable(self.to_string()),
            Self::NotVoter | Self::NoAnswer | Self::Behind { .. } => {
                Status::failed_precondition(self.to_string())
            }
        }
    }
}

impl Members {
    /// While this node leads groups, gives one away where that makes it more even; the meta group only while no sender is
    /// silent, as `is_sender_silent` says: a new leader would make the slots of a dead one wait.
    pub async fn spread(self, is_sender_silent: impl Fn() -> bool) {
        let (mut seen, mut since) = (BTreeMap::new(), Instant::now());
        while !self.is_stopping.load(Ordering::Acquire) {
            tokio::time::sleep(LOOK).await;
            if !self.forward.groups.values().any(|group| group.is_leader()) {
                continue;
            }
            let facts = self.survey().await;
            let terms = facts.groups.iter();
            let terms: BTreeMap<_, _> = terms
                .map(|(id, group)| (*id, (group.leader, group.term)))
                .collect();
            if terms != seen {
                (seen, since) = (terms, Instant::now());
            }
            let leading = facts.leading(NEARLY);
            let Some(Move { group, to }) = leading.next_move() else {
                continue;
            };
            let is_new = facts.groups[&group].term == FIRST_TERM;
            let pause = if is_new { PAUSE_WHEN_NEW } else { PAUSE };
            let is_whole = leading.leaders.len() == facts.groups.len();
            if !is_whole || since.elapsed() < pause || leading.leaders[&group] != self.node {
                continue;
            }
            if group == GroupId::META && is_sender_silent() {
                continue;
            }
            tracing::info!(%group, %to, "leaders are spread more evenly");
            if let Err(error) = self.hand_over(group, to, &facts.nodes[&to].address).await {
                tracing::warn!(%group, error, "leadership is not handed over");
            }
        }
    }

    /// Hands a group over to a voter that an operator chose.
    ///
    /// # Errors
    /// The voter cannot lead it now, or this node does not.
    pub async fn move_leader(&self, group: GroupId, to: NodeId) -> Result<(), MoveError> {
        let facts = self.survey().await;
        let found = facts
            .groups
            .get(&group)
            .filter(|found| found.leader == Some(self.node));
        let found =
            found.ok_or_else(|| MoveError::NotLeader(skein_model::doctor::group_name(group)))?;
        if to == self.node {
            return Ok(());
        }
        if !found.voters.contains(&to) {
            return Err(MoveError::NotVoter);
        }
        let replica = found.replicas.get(&to).ok_or(MoveError::NoAnswer)?;
        let entries = found.log_end().saturating_sub(replica.applied);
        let bodies = replica.bodies_missing;
        if entries > NEARLY || bodies > 0 {
            return Err(MoveError::Behind { entries, bodies });
        }
        let node = facts.nodes.get(&to).ok_or(MoveError::NotVoter)?;
        if node.answer.as_ref().is_none_or(|answer| answer.is_stopping) {
            return Err(MoveError::NoAnswer);
        }
        let given = self.hand_over(group, to, &node.address).await;
        given.map_err(MoveError::Refused)
    }

    /// Before this node stops, so that no client waits for an election then, and while its disk is full.
    pub async fn hand_over_all(&self) {
        let groups = self.forward.groups.values();
        let led = groups.filter(|group| group.is_leader() && !group.others().is_empty());
        let led: Vec<GroupId> = led.map(|group| group.id()).collect();
        if let Err(error) = self.give_away(&led).await {
            tracing::warn!(error, "leadership is not handed over");
        }
    }

    /// Gives away groups that this node leads, to those that lead the least.
    ///
    /// # Errors
    /// Some of them have no other voter that could lead, or it was not elected.
    pub async fn give_away(&self, groups: &[GroupId]) -> Result<(), String> {
        if groups.is_empty() {
            return Ok(());
        }
        let facts = self.survey().await;
        let mut leading = facts.leading(NEARLY);
        leading.leaving.insert(self.node);
        // Groups of others that could be more even are theirs to move.
        leading.able.retain(|group, _| groups.contains(group));
        let mut moves = Vec::new();
        while let Some(Move { group, to }) = leading.next_move() {
            leading.leaders.insert(group, to);
            leading.able.remove(&group);
            moves.push((group, to));
        }
        let given = moves
            .iter()
            .map(|(group, to)| self.hand_over(*group, *to, &facts.nodes[to].address));
        let failed = join_all(given).await.into_iter().find_map(Result::err);
        match failed {
            Some(error) => Err(error),
            None if moves.len() < groups.len() => Err("no other voter is up to date".to_owned()),
            None => Ok(()),
        }
    }

    async fn hand_over(&self, group: GroupId, to: NodeId, address: &str) -> Result<(), String> {
        let request = ElectRequest {
            group: group.0.into(),
        };
        let mut client = PeerClient::new(self.forward.peers.get(address));
        let elect = async move {
            // It stands by itself a little later if this does not reach it.
            let _ = tokio::time::timeout(ELECT_WITHIN, client.elect(request)).await;
        };
        let group: &Group = &self.forward.groups[&group];
        let since = Instant::now();
        group.hand_over(to, elect).await?;
        tracing::info!(group = %group.id(), %to, ms = since.elapsed().as_millis(), "leadership is handed over");
        Ok(())
    }
}
