//! The address book of a process: members and leaders of groups, and the channels to their nodes.

mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use skein_model::{GroupId, NodeId};
use skein_wire::internal::{HelloReply, HelloRequest};
use tokio::sync::{Notify, watch};

pub use view::{GroupInfo, View};

use crate::channel::{Channel, Channels, Connect};

/// Between two looks when nothing is wrong.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks when a leader is missing or the view was wrong about one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A handle to all control nodes; clones share it.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    view: watch::Receiver<Arc<View>>,
}

struct Shared {
    seeds: Vec<String>,
    channels: Channels,
    doubt: Notify,
    /// Control nodes that were asked last: why they did not answer, or nothing if they did.
    asked: Mutex<BTreeMap<String, Option<String>>>,
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

    /// A node was not what the view says: look again soon.
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
        let view = view::of_replies(&replies);
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
