//! A sender's session: opened at the meta group's leader, kept by heartbeats, and opened again when it is lost.
//!
//! [`ClusterState`] takes what its answers say that is not about this sender.

mod keeper;
mod kept;
mod leader;
mod lease;
mod limits;
mod reads;
mod replies;
mod warmup;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use skein_model::meta::Process;
use skein_model::{Epoch, GroupId, SessionId, Slot};
use skein_wire::internal::{HeldIp, NodeAddresses, PlacedIp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use kept::KeptSession;
pub use lease::Lease;
pub use limits::{LimitKeeper, NoLimits, Reports};

use crate::cluster::Cluster;
use crate::state::ClusterState;
use keeper::Keeper;
pub(crate) use leader::MetaLeader;

/// What a sender may work on at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderSession {
    /// None while there is no session.
    pub id: Option<SessionId>,
    pub slots: Arc<Vec<(Slot, Epoch)>>,
    /// To be let go of, and then released.
    pub leaving: Arc<Vec<(Slot, Epoch)>>,
    /// Grows with every change of this, also from one session to the next.
    pub change: u64,
    /// An operator took the sender out of service.
    pub drained: bool,
}

/// What the next heartbeats tell.
#[derive(Debug, Default)]
struct NextHeartbeat {
    released: Mutex<Vec<(Slot, Epoch)>>,
    unreachable: Mutex<BTreeSet<GroupId>>,
    retiring: AtomicBool,
    /// Of the node, once the sender has looked.
    addresses: Mutex<Option<NodeAddresses>>,
    released_ips: Mutex<Vec<HeldIp>>,
    hurry: Notify,
}

/// Where source IPs are used, as the leader last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacedIps {
    pub version: u64,
    pub ips: BTreeMap<String, PlacedIp>,
}

/// The meta group, as a sender sees it.
#[derive(Debug, Clone)]
pub struct Sessions {
    leader: MetaLeader,
    state: ClusterState,
}

impl Sessions {
    /// What sessions hear of the cluster is written to `state`.
    pub fn new(cluster: Cluster, state: ClusterState) -> Self {
        let leader = MetaLeader::new(cluster);
        Self { leader, state }
    }

    /// Registers the sender of this name, again and again if need be, until the result is closed or dropped. Another process
    /// that lives and has the name keeps it.
    pub fn keep(
        &self,
        sender: &str,
        process: Process,
        limits: Arc<dyn LimitKeeper>,
    ) -> KeptSession {
        self.kept(sender, process, limits, false)
    }

    /// Registers a node that only lends its source IPs, as [`Sessions::keep`] does a sender: no slots come, and no tasks.
    pub fn lend(&self, node: &str, process: Process) -> KeptSession {
        self.kept(node, process, Arc::new(NoLimits::default()), true)
    }

    fn kept(
        &self,
        sender: &str,
        process: Process,
        limits: Arc<dyn LimitKeeper>,
        lends_only: bool,
    ) -> KeptSession {
        let (told, session) = watch::channel(SenderSession::default());
        let (lease, stop) = (Lease::default(), CancellationToken::new());
        let next = Arc::new(NextHeartbeat::default());
        let (placed, ips) = watch::channel(Arc::default());
        let keeper = Keeper {
            leader: self.leader.clone(),
            state: self.state.clone(),
            sender: sender.to_owned(),
            process,
            told,
            lease: lease.clone(),
            next: next.clone(),
            placed,
            order: Mutex::default(),
            lends_only,
            limits: limits.clone(),
        };
        let reporting = limits::report(self.leader.clone(), session.clone(), limits);
        let stopped = stop.clone();
        skein_runtime::task("session", async move {
            tokio::select! {
                () = keeper.run() => {}
                () = reporting => {}
                () = stopped.cancelled() => {}
            }
        });
        KeptSession {
            session,
            lease,
            ips,
            leader: self.leader.clone(),
            next,
            stop,
        }
    }
}
