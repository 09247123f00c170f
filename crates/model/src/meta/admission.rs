//! Whether the leader of the meta group lets in a control node that nobody invited.
//!
//! Such a node has shown a certificate of a control node and has no data of any cluster; it becomes a learner of every group,
//! and votes when it has log, state and bodies. Each that comes makes majorities larger, so nodes come one at a time, and
//! only to a cluster of which nothing is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::members::NODES_MAX;
use crate::id::{GroupId, NodeId};

/// A member, as it answered just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSeen {
    pub address: String,
    /// It answers, and is not about to stop.
    pub answers: bool,
}

/// Who leads and votes in a group, as its leader says where one is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupVoters {
    pub has_leader: bool,
    pub voters: BTreeSet<NodeId>,
}

/// The cluster that a node asks to be let into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    pub members: BTreeMap<NodeId, MemberSeen>,
    /// Places that are kept for nodes which an operator invited.
    pub invited: usize,
    pub groups: BTreeMap<GroupId, GroupVoters>,
}

/// Why a node is not let in by itself; all but the first two may pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotJoin {
    #[error("its data directory is that of a member of some cluster: start it with an empty one")]
    HasData,
    #[error(
        "the cluster has {0} control nodes, and at most {NODES_MAX}: `skeinctl cluster remove` one that is gone for good"
    )]
    Full(usize),
    #[error("{0} does not answer: every member has to while one more comes")]
    MemberAway(String),
    #[error("{0} has no leader")]
    NoLeader(GroupId),
    #[error("{0} does not vote in every group yet, and nodes come one at a time")]
    CatchesUp(String),
    #[error("a node that was removed still votes: nodes come when it is gone")]
    Leaves,
}

impl Admission {
    /// Whether a node that is no member, at an address that is no member's, may become one. `is_pristine` says that it has
    /// taken part in no cluster.
    ///
    /// # Errors
    /// It may not, or not yet.
    pub fn may_join(&self, is_pristine: bool) -> Result<(), CannotJoin> {
        if !is_pristine {
            return Err(CannotJoin::HasData);
        }
        if self.members.len() + self.invited >= NODES_MAX {
            return Err(CannotJoin::Full(self.members.len()));
        }
        if let Some(away) = self.members.values().find(|one| !one.answers) {
            return Err(CannotJoin::MemberAway(away.address.clone()));
        }
        for (id, group) in &self.groups {
            if !group.has_leader {
                return Err(CannotJoin::NoLeader(*id));
            }
            let learns = self.members.iter();
            let learns = learns.clone().find(|(id, _)| !group.voters.contains(*id));
            if let Some((_, learner)) = learns {
                return Err(CannotJoin::CatchesUp(learner.address.clone()));
            }
            if group.voters.len() > self.members.len() {
                return Err(CannotJoin::Leaves);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members by id: whether they are there. Groups: voters, the first of whom leads; nobody leads a group without voters.
    fn admission(members: &[(u64, bool)], invited: usize, groups: &[&[u64]]) -> Admission {
        let members = members.iter().map(|(id, answers)| {
            let address = format!("n{id}");
            let answers = *answers;
            (NodeId(*id), MemberSeen { address, answers })
        });
        let groups = (0..)
            .map(GroupId)
            .zip(groups.iter().map(|voters| GroupVoters {
                has_leader: !voters.is_empty(),
                voters: voters.iter().copied().map(NodeId).collect(),
            }));
        Admission {
            members: members.collect(),
            invited,
            groups: groups.collect(),
        }
    }

    #[test]
    fn one_comes_at_a_time_to_a_cluster_that_is_whole() {
        let there =
            |ids: &[u64]| -> Vec<(u64, bool)> { ids.iter().map(|id| (*id, true)).collect() };
        let whole: &[u64] = &[1, 2, 3];
        let catches_up = |id: u64| Err(CannotJoin::CatchesUp(format!("n{id}")));
        for (members, invited, groups, expected) in [
            // One node alone, then two, three and four: each is a step on the way.
            (there(&[1]), 0, vec![&[1][..], &[1]], Ok(())),
            (there(&[1, 2]), 0, vec![&[1, 2], &[1, 2]], Ok(())),
            (there(whole), 0, vec![whole, whole], Ok(())),
            (there(&[1, 2, 3, 4]), 0, vec![&[1, 2, 3, 4]], Ok(())),
            (
                there(&[1, 2, 3, 4, 5]),
                0,
                vec![&[1, 2, 3, 4, 5]],
                Err(CannotJoin::Full(5)),
            ),
            // Places that operators promised are not given away.
            (there(whole), 2, vec![whole], Err(CannotJoin::Full(3))),
            (there(whole), 1, vec![whole], Ok(())),
            // Another one is on its way in: in no group yet, in one of two, or about to.
            (there(&[1, 2]), 0, vec![&[1], &[1]], catches_up(2)),
            (there(&[1, 2]), 0, vec![&[1, 2], &[1]], catches_up(2)),
            // One in the place of another whose disk was lost: both count until the new one votes.
            (there(&[1, 2, 9]), 0, vec![whole, whole], catches_up(9)),
            (
                there(&[1, 2, 9]),
                0,
                vec![&[1, 2, 3, 9]],
                Err(CannotJoin::Leaves),
            ),
            (there(&[1, 2]), 0, vec![whole], Err(CannotJoin::Leaves)),
            // With one away, one more would make the majority larger and not the number of those that are there.
            (
                vec![(1, true), (2, false), (3, true)],
                0,
                vec![whole],
                Err(CannotJoin::MemberAway("n2".into())),
            ),
            (
                there(whole),
                0,
                vec![whole, &[]],
                Err(CannotJoin::NoLeader(GroupId(1))),
            ),
        ] {
            let admission = admission(&members, invited, &groups);
            assert_eq!(admission.may_join(true), expected, "{admission:?}");
            assert_eq!(
                admission.may_join(false),
                Err(CannotJoin::HasData),
                "{admission:?}"
            );
        }
    }

    /// However many ask, and whoever is lost: no step makes a group that could go on one that cannot.
    #[test]
    fn a_node_that_is_let_in_leaves_a_majority_that_answers() {
        for count in 1..=6_u64 {
            for away in 0..(1_u64 << count) {
                let members: Vec<(u64, bool)> = (1..=count)
                    .map(|id| (id, away >> (id - 1) & 1 == 0))
                    .collect();
                let voters: Vec<u64> = (1..=count).collect();
                let answering = members.iter().filter(|(_, answers)| *answers).count();
                if admission(&members, 0, &[&voters]).may_join(true).is_ok() {
                    assert!(
                        answering > (count as usize + 1) / 2 || count == 1,
                        "{members:?}"
                    );
                    assert!(count as usize <= NODES_MAX - 1);
                }
            }
        }
    }
}
