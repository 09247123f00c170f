//! What a process knows about the cluster: who leads which group, where everybody is, which sites are spread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use skein_model::disk::Room;
use skein_model::meta::Spreads;
use skein_model::{GroupId, NodeId};
use skein_wire::convert;
use skein_wire::internal::{GroupView, HelloReply, HelloRequest};
use tokio::sync::{Notify, watch};

use crate::active_actions::KnownActions;
use crate::broken_tls::KnownBrokenTls;
use crate::channel::{Channel, Channels, Connect};

/// Between two looks when nothing is wrong.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks when a leader is missing or somebody was wrong about one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A spool or meta group, as its members describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInfo {
    pub term: u64,
    pub leader: Option<NodeId>,
    /// Voters by where they are reached.
    pub voters: BTreeMap<NodeId, String>,
    /// Members on their way to being voters.
    pub learners: BTreeMap<NodeId, String>,
    /// What the disks of these nodes have room for, where it is not everything.
    pub filled: BTreeMap<NodeId, Room>,
}

impl GroupInfo {
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    pub fn room(&self, node: NodeId) -> Room {
        self.filled.get(&node).copied().unwrap_or_default()
    }

    /// Whether a majority of the voters takes new mail, and the leader takes it over.
    pub fn has_room(&self) -> bool {
        let with_room = self.voters.keys();
        let with_room = with_room.filter(|node| self.room(**node) == Room::Enough);
        with_room.count() >= self.majority()
            && self
                .leader
                .is_none_or(|leader| self.room(leader) < Room::Hard)
    }
}

pub type View = BTreeMap<GroupId, GroupInfo>;

/// A handle to all control nodes; clones share it.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
    view: watch::Receiver<Arc<View>>,
}

pub(crate) struct Shared {
    seeds: Vec<String>,
    channels: Channels,
    doubt: Notify,
    /// Control nodes that were asked last: why they did not answer, or nothing if they did.
    asked: Mutex<BTreeMap<String, Option<String>>>,
    spreads: Mutex<Arc<Spreads>>,
    policy: watch::Sender<Arc<PolicyTexts>>,
    policy_in_use: watch::Sender<Option<u64>>,
    pub(crate) active_actions: watch::Sender<Arc<KnownActions>>,
    pub(crate) broken_tls: watch::Sender<Arc<KnownBrokenTls>>,
}

/// The cluster's policy as its authors wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyTexts {
    /// Grows with every change; 0 before any was read.
    pub version: u64,
    /// By `kind/name`.
    pub resources: BTreeMap<String, String>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("seeds", &self.shared.seeds)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Looks for the cluster at some of its addresses, and goes on looking while the handle lives.
    pub fn find(seeds: Vec<String>, connect: Connect) -> Self {
        let shared = Arc::new(Shared {
            seeds,
            channels: Channels::new(connect),
            doubt: Notify::new(),
            asked: Mutex::default(),
            spreads: Mutex::default(),
            policy: watch::Sender::default(),
            policy_in_use: watch::Sender::default(),
            active_actions: watch::Sender::default(),
            broken_tls: watch::Sender::default(),
        });
        let (told, view) = watch::channel(Arc::default());
        skein_runtime::task("cluster-look", look(shared.clone(), told));
        Self { shared, view }
    }

    /// The control node of this process alone, without a socket.
    pub fn in_process(channel: Channel) -> Self {
        Self::find(vec![String::new()], Arc::new(move |_| channel.clone()))
    }

    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Completes when the view changed.
    pub async fn changed(&mut self) {
        if self.view.changed().await.is_err() {
            // The task that looks ends with the last handle, so it has not ended.
            std::future::pending::<()>().await;
        }
    }

    /// Completes when another node than this is known to lead the group.
    pub async fn leader_changed(&mut self, group: GroupId, from: NodeId) {
        while self.group(group).leader.is_none_or(|leader| leader == from) {
            self.changed().await;
        }
    }

    pub fn group(&self, group: GroupId) -> GroupInfo {
        self.view.borrow().get(&group).cloned().unwrap_or_default()
    }

    /// The channel to a group's leader.
    pub fn leader(&self, group: GroupId) -> Option<(NodeId, Channel)> {
        let view = self.view.borrow();
        let info = view.get(&group)?;
        let leader = info.leader?;
        let address = info.voters.get(&leader)?;
        Some((leader, self.channel(address)))
    }

    /// Why a group has no leader that is known here, with the addresses that were asked.
    pub fn no_leader(&self, group: GroupId) -> String {
        let asked = self.shared.asked.lock();
        let what = match group {
            GroupId::META => "the meta group".to_owned(),
            group => format!("spool group {group}"),
        };
        let silent: Vec<String> = asked
            .iter()
            .filter_map(|(address, why)| Some(format!("{} ({})", place(address), why.as_ref()?)))
            .collect();
        let answering = asked.iter().filter(|(_, why)| why.is_none());
        let answering: Vec<&str> = answering.map(|(address, _)| place(address)).collect();
        match (answering.as_slice(), silent.as_slice()) {
            ([], []) => format!("{what} has no leader: no control node was asked yet"),
            ([], silent) => format!("no control node answers: {}", silent.join(", ")),
            (answering, []) => {
                format!(
                    "{what} has no leader; these answer: {}",
                    answering.join(", ")
                )
            }
            (answering, silent) => format!(
                "{what} has no leader; these answer: {}; these do not: {}",
                answering.join(", "),
                silent.join(", ")
            ),
        }
    }

    pub fn channel(&self, address: &str) -> Channel {
        self.shared.channels.get(address)
    }

    /// Over how many slots sites are spread, as the session of this process last heard.
    pub fn spreads(&self) -> Arc<Spreads> {
        self.shared.spreads.lock().clone()
    }

    pub(crate) fn set_spreads(&self, spreads: Spreads) {
        *self.shared.spreads.lock() = Arc::new(spreads);
    }

    /// The policy, as the session of this process last read it.
    pub fn policy(&self) -> watch::Receiver<Arc<PolicyTexts>> {
        self.shared.policy.subscribe()
    }

    /// Of the policy that was read last.
    pub fn policy_version(&self) -> u64 {
        self.shared.policy.borrow().version
    }

    pub(crate) fn set_policy(&self, policy: PolicyTexts) {
        self.shared.policy.send_replace(Arc::new(policy));
    }

    /// The version of the policy that mail of this process goes by; none before there is any.
    pub(crate) fn policy_in_use(&self) -> watch::Receiver<Option<u64>> {
        self.shared.policy_in_use.subscribe()
    }

    /// From here on no mail of this process goes by an earlier policy. The session tells the cluster.
    pub fn goes_by_policy(&self, version: u64) {
        self.shared.policy_in_use.send_if_modified(|known| {
            let differs = *known != Some(version);
            *known = Some(version);
            differs
        });
    }

    /// Somebody was not what the view says: look again soon.
    pub fn doubt(&self) {
        self.shared.doubt.notify_one();
    }
}

async fn look(shared: Arc<Shared>, told: watch::Sender<Arc<View>>) {
    let mut known: Vec<String> = shared.seeds.clone();
    loop {
        let hellos = known
            .iter()
            .map(|address| shared.channels.ask_hello(address, HelloRequest::default()));
        let answers = join_all(hellos).await;
        let asked = known.iter().cloned().zip(&answers);
        *shared.asked.lock() = asked
            .map(|(address, answer)| (address, answer.as_ref().err().cloned()))
            .collect();
        let replies: Vec<HelloReply> = answers.into_iter().flatten().collect();
        let mut view = merge(replies.iter().flat_map(|reply| &reply.groups));
        let filled = filled(&replies);
        for info in view.values_mut() {
            info.filled.clone_from(&filled);
        }
        let is_whole = !view.is_empty() && view.values().all(|info| info.leader.is_some());
        known.clone_from(&shared.seeds);
        for info in view.values() {
            known.extend(info.voters.values().cloned());
        }
        known.sort();
        known.dedup();
        told.send_if_modified(|before| {
            let differs = **before != view;
            if differs {
                *before = Arc::new(view);
            }
            differs
        });
        if told.is_closed() {
            return;
        }
        let rest = if is_whole { LOOK } else { LOOK_AGAIN };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = shared.doubt.notified() => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// The node of this process has no address to be asked at.
fn place(address: &str) -> &str {
    match address {
        "" => "this node",
        address => address,
    }
}

/// Members may be behind: the highest term counts, and within it who knows a leader.
fn merge<'r>(views: impl Iterator<Item = &'r GroupView>) -> View {
    let mut merged = View::new();
    for group in views {
        let Ok(id) = u16::try_from(group.group) else {
            continue;
        };
        let info = GroupInfo {
            term: group.term,
            leader: (group.leader != 0).then_some(NodeId(group.leader)),
            voters: members(group, true),
            learners: members(group, false),
            filled: BTreeMap::new(),
        };
        let known = merged.entry(GroupId(id)).or_default();
        if (info.term, info.leader.is_some()) > (known.term, known.leader.is_some()) {
            *known = info;
        }
    }
    merged
}

fn filled(replies: &[HelloReply]) -> BTreeMap<NodeId, Room> {
    let rooms = replies.iter().filter_map(|reply| {
        let room = convert::room(reply.disk_room())?;
        (room > Room::Enough).then_some((NodeId(reply.node), room))
    });
    rooms.collect()
}

fn members(group: &GroupView, voters: bool) -> BTreeMap<NodeId, String> {
    let members = group.members.iter();
    members
        .filter(|member| member.voter == voters)
        .map(|member| (NodeId(member.node), member.address.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(term: u64, leader: u64) -> GroupView {
        GroupView {
            group: 1,
            term,
            leader,
            ..GroupView::default()
        }
    }

    #[test]
    fn a_group_takes_mail_while_a_majority_and_its_leader_have_room() {
        use Room::{Enough, Hard, Soft};
        for (rooms, takes) in [
            (vec![Enough], true),
            (vec![Soft], false),
            (vec![Hard, Enough, Enough], false),
            (vec![Soft, Enough, Enough], true),
            (vec![Enough, Hard, Enough], true),
            (vec![Enough, Soft, Hard], false),
            (vec![Enough, Hard, Soft, Enough, Enough], true),
        ] {
            let nodes = || (1..).map(NodeId).zip(&rooms);
            let info = GroupInfo {
                leader: Some(NodeId(1)),
                voters: nodes().map(|(node, _)| (node, String::new())).collect(),
                filled: nodes().map(|(node, room)| (node, *room)).collect(),
                ..GroupInfo::default()
            };
            assert_eq!(info.has_room(), takes, "{rooms:?}, led by the first");
        }
    }

    #[test]
    fn the_latest_term_names_the_leader() {
        for (views, leader) in [
            (vec![view(3, 7), view(2, 8)], Some(7)),
            (vec![view(2, 8), view(3, 7)], Some(7)),
            (vec![view(3, 0), view(3, 7), view(3, 0)], Some(7)),
            (vec![view(4, 0), view(3, 7)], None),
            (vec![], None),
        ] {
            let merged = merge(views.iter());
            let found = merged.get(&GroupId(1)).and_then(|info| info.leader);
            assert_eq!(found, leader.map(NodeId), "{views:?}");
        }
    }
}
