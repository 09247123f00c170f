//! What was seen of a cluster at one moment, by one of its control nodes.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::disk::Room;
use crate::id::{GroupId, NodeId};
use crate::meta::{Admission, GroupVoters, Leading, MemberSeen};
use crate::time::{DurationMs, UnixMs};

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
    /// Set before there is a cluster, on a node that is to make or join one.
    pub founding: Option<Founding>,
    /// The asked node belongs to no cluster, and is not to.
    pub is_alone: bool,
    /// Senders that asked for sessions of late.
    pub reopened: Vec<Reopened>,
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
    /// Why there is no answer.
    pub silence: String,
    /// Since it said that it was about to stop, if nothing was heard of it since.
    pub stopped_for: Option<DurationMs>,
}

/// What keeps a cluster from being made or joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Founding {
    /// Of `cluster.peers`.
    pub missing: Vec<MissingPeer>,
    /// Why those that answer do not take the node in; empty if they do not say.
    pub refused: String,
}

impl Founding {
    /// `waits for 10.0.0.2:7000, 10.0.0.3:7000 (connection refused)`.
    pub fn text(&self) -> String {
        let mut by_why = BTreeMap::<&str, Vec<&str>>::new();
        for peer in &self.missing {
            by_why.entry(&peer.why).or_default().push(&peer.address);
        }
        let parts = by_why
            .into_iter()
            .map(|(why, addresses)| format!("{} ({why})", addresses.join(", ")));
        let parts: Vec<String> = parts.collect();
        let missing = format!("waits for {}", parts.join("; "));
        match (parts.is_empty(), self.refused.as_str()) {
            (false, "") => missing,
            (true, "") => "waits for the cluster to be made".to_owned(),
            (true, why) => format!("waits to be taken in: {why}"),
            (false, why) => format!("waits to be taken in: {why}; {missing}"),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingPeer {
    pub address: String,
    /// Such as `connection refused`.
    pub why: String,
}

/// How often processes of one name asked for a session within the latest minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reopened {
    pub name: String,
    pub times: u32,
    /// Where they were asked from, that of the session's holder among them.
    pub addresses: Vec<String>,
}

/// When a certificate ends that a node shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// The key of the configuration that names it.
    pub setting: String,
    pub path: String,
    pub at: UnixMs,
}

/// A file that the configuration names and that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// The key of the configuration that names it.
    pub setting: String,
    pub path: String,
    pub fault: String,
}

/// A name server, as a sender last found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    pub address: String,
    pub fault: Option<String>,
}

/// What became of a sender's attempts to connect to other hosts, of late.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connects {
    /// How far back this goes.
    pub minutes: u32,
    /// Addresses that were tried, and those of them that gave a connection.
    pub hosts: u32,
    pub connected: u32,
    pub sites: u32,
    /// What the latest attempt came to that failed.
    pub last_fault: String,
}

/// What a sender says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderHealth {
    /// Its clock less that of the node that asked.
    pub clock_ahead_ms: i64,
    pub name_servers: Vec<NameServer>,
    /// Some mail follows MX records.
    pub needs_dns: bool,
    /// Why DANE is off although a name server is trusted to validate.
    pub validation_fault: Option<String>,
    pub connects: Connects,
    pub certificates: Vec<CertificateEnd>,
    pub files: Vec<FileFault>,
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
    /// Percent beyond which it takes no new mail; 0 from a version that does not tell.
    pub disk_soft_mark: u32,
    /// Why it cannot write events.
    pub events_fault: Option<String>,
    pub certificates: Vec<CertificateEnd>,
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
    /// When the first task came due of those that nothing holds back and no sender has. Looked for while none is out.
    pub ready_since: Option<UnixMs>,
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
    /// Why nothing of the group runs on its node any more.
    pub stopped: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderFacts {
    pub name: String,
    pub has_session: bool,
    /// It reaches every spool group that another one reaches.
    pub is_fit: bool,
    pub is_drained: bool,
    /// It only lends its source IPs: no mail is delivered by it.
    pub is_egress: bool,
    pub slots: u64,
    /// None if nothing was heard of late.
    pub health: Option<SenderHealth>,
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

    pub fn silent_voters(&self) -> Vec<NodeId> {
        let voters = self.voters.iter().copied();
        voters
            .filter(|node| !self.replicas.contains_key(node))
            .collect()
    }

    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

/// A node that has said that it stops is expected back within this time: a restart with the store of a busy node opened.
const RESTART_MAX: DurationMs = DurationMs::from_secs(60);

impl Facts {
    /// Whether a node that does not answer has said that it stops, not long ago.
    pub fn is_restarting(&self, node: NodeId) -> bool {
        let known = self.nodes.get(&node);
        known.is_some_and(|facts| facts.stopped_for.is_some_and(|since| since <= RESTART_MAX))
    }

    /// Whether there are senders, and an operator has taken all of them out of service.
    pub fn is_all_drained(&self) -> bool {
        let senders = self.senders.iter().filter(|sender| !sender.is_egress);
        let mut working = senders.filter(|sender| sender.has_session);
        let mut is_any = false;
        working.all(|sender| {
            is_any = true;
            sender.is_drained
        }) && is_any
    }

    /// Senders that said of late how they are.
    pub fn senders_heard(&self) -> impl Iterator<Item = (&str, &SenderHealth)> {
        let senders = self.senders.iter();
        senders.filter_map(|sender| Some((sender.name.as_str(), sender.health.as_ref()?)))
    }

    /// What decides whether one more control node may come. Stale facts say nothing of that.
    pub fn admission(&self) -> Admission {
        let members = self.nodes.iter().map(|(id, node)| {
            let answers = node.answer.as_ref().is_some_and(|one| !one.is_stopping);
            let address = self.node_name(*id);
            (*id, MemberSeen { address, answers })
        });
        let groups = self.groups.iter().map(|(id, group)| {
            let voters = group.voters.clone();
            let has_leader = group.leader.is_some();
            (*id, GroupVoters { has_leader, voters })
        });
        Admission {
            members: members.collect(),
            invited: self.invited.len(),
            groups: groups.collect(),
        }
    }

    /// Where a node is reached, or its id for one that has no address.
    pub fn node_name(&self, node: NodeId) -> String {
        let known = self.nodes.get(&node).map(|facts| facts.address.clone());
        known
            .filter(|address| !address.is_empty())
            .unwrap_or_else(|| format!("{:016x}", node.0))
    }

    /// Leaders, and voters that could lead: voters that answer, go on running, have room on their disk, and lack no more than `nearly` entries and no body.
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
