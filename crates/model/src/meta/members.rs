//! Members of the cluster: its control nodes.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::command::Refusal;
use crate::id::NodeId;
use crate::rows::{ReadRows, Rows, load, put_row};

/// What was decided when the cluster was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ClusterRow {
    /// A random number, which tells clusters apart.
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub spool_groups: u16,
}

/// A control node that is to be a voter of every group.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeRow {
    /// `host:port` where other nodes reach it.
    #[n(0)]
    pub address: String,
    /// As it last said; empty before that.
    #[n(1)]
    pub version: String,
}

/// How a node asks to take part.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Join {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub version: String,
    #[n(3)]
    pub spool_groups: u16,
}

const CLUSTER: &[u8] = b"c";
/// Each more makes every commit wait for one more disk, and five survive the loss of two.
pub(super) const NODES_MAX: usize = 5;
/// Each has its own log, snapshots and leader; more make batches small and nothing faster.
pub const SPOOL_GROUPS_MAX: u16 = 64;

fn node_key(id: NodeId) -> Vec<u8> {
    [b"g".as_slice(), &id.0.to_be_bytes()].concat()
}

pub(super) fn removed_key(id: NodeId) -> Vec<u8> {
    [b"r".as_slice(), &id.0.to_be_bytes()].concat()
}

fn invited_key(address: &str) -> Vec<u8> {
    [b"i", address.as_bytes()].concat()
}

pub fn cluster(rows: &(impl ReadRows + ?Sized)) -> Option<ClusterRow> {
    load(rows, CLUSTER)
}

pub fn nodes(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<NodeId, NodeRow> {
    super::state::scan(rows, b"g", NodeId)
}

/// Addresses from which a node may join, and none has yet.
pub fn invited(rows: &(impl ReadRows + ?Sized)) -> BTreeSet<String> {
    super::state::names(rows, b"i")
}

/// Whether a node that says this of itself is a member and known so already.
pub fn is_as_told(rows: &(impl ReadRows + ?Sized), join: &Join) -> bool {
    let row: Option<NodeRow> = load(rows, &node_key(join.node));
    row.is_some_and(|row| row.address == join.address && row.version == join.version)
}

/// Whether nobody knows the node: neither it nor another at its address is a member or invited, and it may come if the cluster
/// takes nodes in by themselves. What else keeps it out, [`Command::Join`](super::Command::Join) says.
pub fn is_stranger(rows: &(impl ReadRows + ?Sized), join: &Join) -> bool {
    let is_expected = rows.get(&invited_key(&join.address)).is_some();
    let fits = cluster(rows).is_some_and(|cluster| cluster.spool_groups == join.spool_groups);
    let is_known = |(id, row): (NodeId, NodeRow)| id == join.node || row.address == join.address;
    fits && !is_expected && !was_removed(rows, join.node) && !nodes(rows).into_iter().any(is_known)
}

/// Whether this id was a member and never will be one again.
pub fn was_removed(rows: &(impl ReadRows + ?Sized), node: NodeId) -> bool {
    rows.get(&removed_key(node)).is_some()
}

pub(super) fn found<R: Rows>(rows: &mut R, row: ClusterRow, nodes: &[(NodeId, String)]) {
    if cluster(rows).is_some() {
        return;
    }
    put_row(rows, CLUSTER.to_vec(), &row);
    for (node, address) in nodes {
        let row = NodeRow {
            address: address.clone(),
            version: String::new(),
        };
        put_row(rows, node_key(*node), &row);
    }
}

/// A node that was invited, or that comes to the address of one that lost its data, is a member from now on.
pub(super) fn join<R: Rows>(rows: &mut R, join: &Join) -> Result<(), Refusal> {
    let cluster = cluster(rows).ok_or(Refusal::NotFounded)?;
    if was_removed(rows, join.node) {
        return Err(Refusal::Removed);
    }
    if cluster.spool_groups != join.spool_groups {
        return Err(Refusal::OtherGroups);
    }
    let nodes = nodes(rows);
    let at_address = nodes.iter().find(|(_, row)| row.address == join.address);
    match at_address {
        Some((id, _)) if *id == join.node => {}
        Some((id, _)) => retire(rows, *id),
        None if nodes.contains_key(&join.node) => {}
        None if Rows::get(rows, &invited_key(&join.address)).is_some() => {
            rows.delete(invited_key(&join.address));
        }
        None => return Err(Refusal::NotInvited),
    }
    let row = NodeRow {
        address: join.address.clone(),
        version: join.version.clone(),
    };
    put_row(rows, node_key(join.node), &row);
    Ok(())
}

pub(super) fn invite<R: Rows>(rows: &mut R, address: &str) -> Result<(), Refusal> {
    let nodes = nodes(rows);
    if nodes.values().any(|row| row.address == address) {
        return Err(Refusal::IsMember);
    }
    let mut expected = invited(rows);
    expected.insert(address.to_owned());
    if nodes.len() + expected.len() > NODES_MAX {
        return Err(Refusal::Full);
    }
    rows.put(invited_key(address), Vec::new());
    Ok(())
}

pub(super) fn withdraw<R: Rows>(rows: &mut R, address: &str) {
    rows.delete(invited_key(address));
}

/// An id is never used again: a disk that comes back with it may have forgotten its votes.
fn retire<R: Rows>(rows: &mut R, node: NodeId) {
    rows.delete(node_key(node));
    rows.put(removed_key(node), Vec::new());
}

pub(super) fn remove<R: Rows>(rows: &mut R, node: NodeId) -> Result<(), Refusal> {
    let nodes = nodes(rows);
    if !nodes.contains_key(&node) {
        return Err(Refusal::NoNode);
    }
    if nodes.len() == 1 {
        return Err(Refusal::LastNode);
    }
    retire(rows, node);
    Ok(())
}

/// Why a control node has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotRemove {
    #[error("it is the last control node, and the cluster's state would be gone with it")]
    Last,
    /// Of those that would be left.
    #[error(
        "{answering} of the {left} control nodes that would be left answer, and {needed} are needed to go on"
    )]
    Quorum {
        left: usize,
        answering: usize,
        needed: usize,
    },
}

/// Whether the others go on without this node, given who of the members answers.
///
/// # Errors
/// They would not.
pub fn may_remove(nodes: &BTreeMap<NodeId, bool>, node: NodeId) -> Result<(), CannotRemove> {
    let others = nodes.iter().filter(|(id, _)| **id != node);
    let left = others.clone().count();
    let answering = others.filter(|(_, answers)| **answers).count();
    let needed = left / 2 + 1;
    if left == 0 {
        return Err(CannotRemove::Last);
    }
    if answering < needed {
        return Err(CannotRemove::Quorum {
            left,
            answering,
            needed,
        });
    }
    Ok(())
}

/// What a Raft group's membership should become, one step at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These members are reached elsewhere now.
    Move(BTreeMap<NodeId, String>),
    AddLearner(NodeId, String),
    /// Exactly these are to vote.
    Voters(Vec<NodeId>),
    /// These do not vote any more, and are to be forgotten.
    Remove(Vec<NodeId>),
}

/// A member of a group, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub address: String,
    pub is_voter: bool,
    /// It has the log up to the leader's end, or nearly, and all bodies.
    pub is_ready: bool,
}

/// The next step from the members that a group has to those that it should have; none if it has them.
///
/// A learner votes when it is ready, and a voter that has to go stays until then: with a voter less, one more loss would
/// stop the group.
pub fn next_step(
    wanted: &BTreeMap<NodeId, NodeRow>,
    members: &BTreeMap<NodeId, Member>,
) -> Option<Step> {
    let moved = members.iter().filter_map(|(id, member)| {
        let row = wanted.get(id)?;
        (row.address != member.address).then(|| (*id, row.address.clone()))
    });
    let moved: BTreeMap<_, _> = moved.collect();
    if !moved.is_empty() {
        return Some(Step::Move(moved));
    }
    let new = wanted.iter().find(|(id, _)| !members.contains_key(id));
    if let Some((id, row)) = new {
        return Some(Step::AddLearner(*id, row.address.clone()));
    }
    let is_wanted = |id: &NodeId| wanted.contains_key(id);
    let may_vote = members
        .iter()
        .filter(|(id, member)| member.is_voter || (member.is_ready && is_wanted(id)));
    let mut voters: Vec<NodeId> = may_vote.map(|(id, _)| *id).collect();
    if wanted.keys().all(|id| voters.contains(id)) {
        voters.retain(is_wanted);
    }
    let voted = members.iter().filter(|(_, member)| member.is_voter);
    if !voted.map(|(id, _)| id).eq(&voters) {
        return Some(Step::Voters(voters));
    }
    let left = members.keys().filter(|id| !voters.contains(id));
    let left: Vec<NodeId> = left.filter(|id| !is_wanted(id)).copied().collect();
    (!left.is_empty()).then_some(Step::Remove(left))
}
