//! Members of the cluster: a node asks to be one, and each group's leader brings its group in line with the meta group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures::future::join_all;
use skein_model::meta::{self, ClusterRow, Command, Member};
use skein_model::{GroupId, HostPort, NodeId, codec};
use skein_store::{Disk, Reader};
use skein_wire::internal::peer_client::PeerClient;
use skein_wire::internal::{JoinReply, JoinRequest};
use tokio::sync::Mutex;

use super::own_health::OwnHealth;
use crate::config::Config;
use crate::raft::Forward;
use crate::raft::Group;
use crate::spool::SpoolGroup;

const LOOK: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A node that is not yet expected asks again after this, and a member tells where it is.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// A change of members takes a second or two; what lasts longer waits for nodes that this one does not help with.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

/// Many times what a cluster has: addresses that members name as their leader's are asked as well.
const ASKED_MAX: usize = 32;

/// Whether a node has taken part in no cluster yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pristine(pub bool);

/// Whether the meta group names this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Still,
    NoMore,
}

#[derive(Clone)]
pub struct Members {
    pub node: NodeId,
    pub config: Config,
    pub meta: Reader,
    pub forward: Forward,
    pub spools: Arc<BTreeMap<GroupId, SpoolGroup>>,
    pub is_stopping: Arc<AtomicBool>,
    pub disk: Arc<Disk>,
    pub own_health: Arc<OwnHealth>,
    /// Held while one node is let in.
    pub admission: Arc<Mutex<()>>,
}

impl Members {
    /// Tells the cluster where this node is, again and again. Completes when it is not wanted any more.
    pub async fn announce(&self) {
        let mut told = String::new();
        loop {
            let known = meta::nodes(&self.meta).into_values().map(|row| row.address);
            let addresses: BTreeSet<String> =
                self.config.peers.iter().cloned().chain(known).collect();
            let reply = self.join_at_any(addresses).await;
            if reply.as_ref().is_some_and(|reply| reply.removed) {
                return;
            }
            let is_member = reply.as_ref().is_some_and(|reply| reply.refused.is_empty());
            let refused = reply.unwrap_or_default().refused;
            if !is_member && !refused.is_empty() && refused != told {
                tracing::warn!(reason = refused, "this node is no member yet");
                self.own_health.set_refused(&refused);
                told = refused;
            }
            match is_member {
                true if self.rest().await == Wanted::NoMore => return self.leave().await,
                true => {}
                false => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    /// The answer that counts: that this node is a member or was removed, or what the last one says that decides. Nothing if
    /// nobody answers.
    async fn join_at_any(&self, mut addresses: BTreeSet<String>) -> Option<JoinReply> {
        let mut asked = BTreeSet::new();
        let mut refusal: Option<JoinReply> = None;
        while let Some(address) = addresses.pop_first() {
            asked.insert(address.clone());
            let Some(reply) = self.join_at(&address).await else {
                continue;
            };
            if reply.removed || reply.refused.is_empty() {
                return Some(reply);
            }
            // Members know one leader or two, so this ends.
            if !reply.leader.is_empty()
                && !asked.contains(&reply.leader)
                && asked.len() <= ASKED_MAX
            {
                addresses.insert(reply.leader.clone());
            }
            if refusal.is_none() || reply.leader.is_empty() {
                refusal = Some(reply);
            }
        }
        refusal
    }

    /// Until it is time to tell again, or the meta group names this node no more.
    async fn rest(&self) -> Wanted {
        let until = Instant::now() + TELL_AGAIN;
        while Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            let wanted = meta::nodes(&self.meta);
            if !wanted.is_empty() && !wanted.contains_key(&self.node) {
                return Wanted::NoMore;
            }
        }
        Wanted::Still
    }

    /// Stays while a group counts on this node's vote: of two voters, both must agree that one of them goes.
    async fn leave(&self) {
        let until = Instant::now() + LEAVE_WITHIN;
        let votes = || {
            let mut groups = self.forward.groups.values();
            groups.any(|group| group.voters().contains(&self.node))
        };
        while votes() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks the node that joins whether it is at the address of its join, and whether it has taken part in no cluster yet.
    /// An address belongs to the node that answers there, and
    /// only that node gives it to another.
    ///
    /// # Errors
    /// Another node answers there, or none.
    pub async fn verify(&self, join: &meta::Join) -> Result<Pristine, String> {
        let parsed = join.address.parse::<HostPort>();
        let address = parsed.map_err(|error| format!("address: {error}"))?;
        if join.address == self.config.address && join.node == self.node {
            return Ok(Pristine(false));
        }
        match self.forward.peers.hello(address.as_str()).await {
            Some(hello) if hello.node == join.node.0 => Ok(Pristine(!hello.is_member)),
            Some(hello) => Err(format!(
                "address: node {:016x} answers at {address}, and this was said by {:016x}",
                hello.node, join.node.0
            )),
            None => Err(format!("address: no node answers at {address}")),
        }
    }

    async fn join_at(&self, address: &str) -> Option<JoinReply> {
        let request = JoinRequest {
            node: self.node.0,
            address: self.config.address.clone(),
            version: self.config.version.clone(),
            spool_groups: self.config.spool_groups.into(),
            uninvited: self.config.joins_uninvited,
        };
        let mut client = PeerClient::new(self.forward.peers.get(address));
        let reply = tokio::time::timeout(ANSWER_WITHIN, client.join(request)).await;
        Some(reply.ok()?.ok()?.into_inner())
    }

    /// While this node leads the group, changes its members step by step to those that the meta group names.
    pub async fn reconcile(self, group: Arc<Group>) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !group.is_leader() {
                continue;
            }
            let wanted = meta::nodes(&self.meta);
            if wanted.is_empty() {
                if group.id() == GroupId::META {
                    self.record_founding(&group).await;
                }
                continue;
            }
            let Some(members) = self.members_of(&group).await else {
                continue;
            };
            let Some(step) = meta::next_step(&wanted, &members) else {
                continue;
            };
            if !wanted.contains_key(&self.node) {
                // A leader that leaves is missed for as long as an election takes; if no member can follow it, it does leave.
                match self.give_away(&[group.id()]).await {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(group = %group.id(), error, "leadership is not handed over")
                    }
                }
            }
            tracing::info!(group = %group.id(), ?step, "members change");
            if let Err(error) = group.change(step).await {
                tracing::warn!(group = %group.id(), error, "the members are not changed yet");
            }
        }
    }

    /// The first leader writes down what the founders made. A node that was alone makes a cluster of itself, at the address
    /// that it has now.
    async fn record_founding(&self, group: &Group) {
        let view = group.view();
        let nodes = view.members.into_iter().map(|mut member| {
            if member.node == self.node.0 {
                member.address.clone_from(&self.config.address);
            }
            member
        });
        let command = Command::Found {
            cluster: ClusterRow {
                id: rand::random(),
                spool_groups: self.config.spool_groups,
            },
            nodes: nodes
                .map(|member| (NodeId(member.node), member.address))
                .collect(),
        };
        if let Err(error) = group.propose(codec::encode(&command)).await {
            tracing::warn!(%error, "the cluster is not written down yet");
        }
    }

    /// Asks learners that have the log whether they have the bodies too.
    async fn members_of(&self, group: &Group) -> Option<BTreeMap<NodeId, Member>> {
        let members = group
            .members()?
            .into_iter()
            .map(|(id, mut member)| async move {
                if member.is_ready && !member.is_voter {
                    member.is_ready = self.has_bodies(group.id(), id, &member.address).await;
                }
                (id, member)
            });
        Some(join_all(members).await.into_iter().collect())
    }

    async fn has_bodies(&self, group: GroupId, node: NodeId, address: &str) -> bool {
        if group == GroupId::META {
            return true;
        }
        let Some(hello) = self.forward.peers.hello(address).await else {
            return false;
        };
        let mut groups = hello.groups.into_iter();
        hello.node == node.0
            && groups.any(|view| view.group == u32::from(group.0) && view.bodies_complete)
    }
}
