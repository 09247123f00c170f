//! What was seen of a cluster at one moment, by one of its control nodes.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::disk::Room;
use crate::id::{GroupId, NodeId};
use crate::meta::Leading;
use crate::time::UnixMs;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub now: UnixMs,
    /// Why what the asked node knows of the cluster may be old.
    pub stale: Option<String>,
    /// The control nodes that are members.
    pub nodes: BTreeMap<NodeId, NodeFacts>,
    /// Addresses from which a control node may join, and none has.
    pub invited: BTreeSet<String>,
    pub groups: BTreeMap<GroupId, GroupFacts>,
    pub senders: Vec<SenderFacts>,
    /// Slots that no living session owns.
    pub slots_without_owner: u64,
    /// Source IPs that policy has and no node.
    pub unplaced_ips: Vec<String>,
    /// What was found wrong with source IPs, with their names.
    pub ip_faults: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub address: String,
    /// None when it did not answer, or another node has its address.
    pub answer: Option<Answer>,
}

/// What a control node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub version: String,
    /// Its clock less that of the node that asked.
    pub clock_ahead_ms: i64,
    /// It is about to stop.
    pub is_stopping: bool,
    /// None from a version that does not tell.
    pub room: Option<Room>,
    pub disk_used_percent: u32,
}

/// A Raft group, as its leader sees it where one is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFacts {
    pub term: u64,
    pub leader: Option<NodeId>,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// By those members that answer.
    pub replicas: BTreeMap<NodeId, Replica>,
    /// Senders that the leader waits for before it hands tasks out.
    pub waits_for: Vec<String>,
    /// Tasks that are out at senders.
    pub in_flight: u64,
    /// When the first task came due of all that are not done.
    pub oldest_due: Option<UnixMs>,
    /// Slots whose owner has not opened them here.
    pub slots_unopened: u64,
    /// Events that no sink has taken.
    pub events_waiting: u64,
}

/// What a replica wrote in the latest stretch of the log that it saw whole, as one number.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// The last entry of the stretch.
    #[n(0)]
    pub index: u64,
    #[n(1)]
    pub crc32c: u32,
    /// That applied it: another one may write rows in another way.
    #[n(2)]
    pub version: String,
}

impl Mark {
    fn is_of_same_stretch(&self, other: &Self) -> bool {
        (self.index, &self.version) == (other.index, &other.version)
    }
}

/// A member's copy of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replica {
    pub log_end: u64,
    pub applied: u64,
    /// Messages whose bytes it should have and has not.
    pub bodies_missing: u64,
    pub mark: Option<Mark>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderFacts {
    pub name: String,
    pub has_session: bool,
    /// It reaches every spool group that another one reaches.
    pub is_fit: bool,
    pub is_drained: bool,
    pub slots: u64,
}

impl GroupFacts {
    /// The last entry that anybody is known to have.
    pub fn log_end(&self) -> u64 {
        let ends = self.replicas.values().map(|replica| replica.log_end);
        ends.max().unwrap_or(0)
    }

    /// Entries that a member has not applied of those that another one has.
    pub fn behind(&self, node: NodeId) -> Option<u64> {
        let replica = self.replicas.get(&node)?;
        Some(self.log_end().saturating_sub(replica.applied))
    }

    /// How many voters wrote the same as this node in the same stretch, itself among them, and how many agree on
    /// something else.
    pub fn agreement(&self, node: NodeId) -> Option<(usize, usize)> {
        let mark = |node: &NodeId| self.replicas.get(node)?.mark.as_ref();
        let own = mark(&node)?;
        let voters = self.voters.iter().filter_map(mark);
        let comparable = voters.filter(|other| own.is_of_same_stretch(other));
        let mut by_number = BTreeMap::<u32, usize>::new();
        for other in comparable {
            *by_number.entry(other.crc32c).or_default() += 1;
        }
        let same = by_number.remove(&own.crc32c).unwrap_or(0);
        Some((same, by_number.into_values().max().unwrap_or(0)))
    }

    /// Whether a majority of the voters agrees that this node's rows are wrong.
    pub fn is_outvoted(&self, node: NodeId) -> bool {
        let agreement = self.agreement(node);
        agreement.is_some_and(|(_, against)| against >= self.majority())
    }

    pub fn answering_voters(&self) -> usize {
        let answers = |node: &&NodeId| self.replicas.contains_key(*node);
        self.voters.iter().filter(answers).count()
    }

    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

impl Facts {
    /// Where a node is reached, or its id for one that has no address.
    pub fn node_name(&self, node: NodeId) -> String {
        let known = self.nodes.get(&node).map(|facts| facts.address.clone());
        known
            .filter(|address| !address.is_empty())
            .unwrap_or_else(|| format!("{:016x}", node.0))
    }

    /// Who leads, and who could: voters that answer, go on running, have room on their disk, and lack no more than `nearly` entries and no body.
    pub fn leading(&self, nearly: u64) -> Leading {
        let is_there = |node: &NodeId| {
            let answer = self.nodes.get(node).and_then(|facts| facts.answer.as_ref());
            answer.is_some_and(|answer| !answer.is_stopping && answer.room < Some(Room::Hard))
        };
        let able = self.groups.iter().map(|(id, group)| {
            let is_ready = |node: &&NodeId| {
                let replica = group.replicas.get(*node);
                is_there(node)
                    && replica.is_some_and(|replica| replica.bodies_missing == 0)
                    && group.behind(**node).is_some_and(|behind| behind <= nearly)
            };
            (*id, group.voters.iter().filter(is_ready).copied().collect())
        });
        let leaders = self.groups.iter();
        let leaders = leaders.filter_map(|(id, group)| Some((*id, group.leader?)));
        let leaders: BTreeMap<GroupId, NodeId> = leaders.collect();
        let is_member = |node: &&NodeId| self.nodes.contains_key(*node);
        Leading {
            able: able.collect(),
            leaving: leaders
                .values()
                .filter(|node| !is_member(node))
                .copied()
                .collect(),
            leaders,
        }
    }
}

pub fn group_name(group: GroupId) -> String {
    match group {
        GroupId::META => "meta".to_owned(),
        GroupId(number) => format!("spool {number}"),
    }
}
