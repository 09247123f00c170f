//! A spool group of this node, and what it needs beside its log and its machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skein_client::Channels;
use skein_model::spool::query;
use skein_model::{Epoch, GroupId, NodeId, SessionId, Slot, meta};
use skein_store::{Bodies, Disk, Hooks, Reader, SpoolMachine, Store};

use super::bodies::{self, BodiesNeeded};
use super::byte_rate::ByteRate;
use super::dispatch::Dispatch;
use super::work;
use crate::raft::{Group, GroupError, start_group};

pub(crate) const LOOK_FOR_LEADER: Duration = Duration::from_millis(20);
/// A change of roles wakes at once; this covers one that came between two looks.
const CHECK_ROLE: Duration = Duration::from_millis(500);

/// What a service needs of a spool group of this node.
#[derive(Clone)]
pub(crate) struct SpoolGroup {
    pub group: Arc<Group>,
    pub reader: Reader,
    pub bodies: Bodies,
    pub dispatch: Arc<Dispatch>,
    pub node: NodeId,
    pub bodies_needed: BodiesNeeded,
    pub disk: Arc<Disk>,
    /// What this node knows of the meta group.
    meta: Reader,
}

impl SpoolGroup {
    /// Whether a session is registered, as far as this node knows.
    pub fn session_lives(&self, session: SessionId) -> bool {
        meta::session(&self.meta, session).is_some()
    }

    /// Whether the meta group gave these slots to the session, or has given them on since, as far as this node knows. An
    /// epoch that was never given would shut the slot's real owner out for good.
    pub fn were_given(&self, session: SessionId, slots: &[(Slot, Epoch)]) -> bool {
        let given = meta::assignments(&self.meta);
        slots.iter().all(|(slot, epoch)| {
            given.get(slot).is_some_and(|held| {
                held.epoch > *epoch || (held.epoch == *epoch && held.session == session)
            })
        })
    }

    /// Sessions that may hold tasks: those that are registered, and those that own slots here.
    fn sessions(&self) -> BTreeSet<SessionId> {
        let registered = meta::sessions(&self.meta).into_iter();
        let registered = registered.filter(|(_, row)| row.is_senders());
        let registered = registered.map(|(session, _)| session);
        let owners = Slot::all()
            .filter_map(|slot| query::slot(&self.reader, slot))
            .map(|row| row.session);
        registered.chain(owners).collect()
    }
}

pub(crate) async fn start_spool(
    store: &Store,
    peers: &Channels,
    byte_rate: &Arc<ByteRate>,
    node: NodeId,
    id: GroupId,
    meta: Reader,
) -> Result<SpoolGroup, GroupError> {
    let (reader, bodies) = (store.reader(id), store.bodies());
    let needed = BodiesNeeded::new(node);
    let dispatch = Arc::new(Dispatch::new(
        reader.clone(),
        bodies.clone(),
        needed.clone(),
    ));
    let (hints, missing) = (dispatch.clone(), needed.clone());
    let hooks = Hooks {
        on_effects: Arc::new(move |effects: Vec<_>| hints.on_effects(&effects)),
        on_installed: Arc::new(move || missing.look_through_soon()),
    };
    let group = start_group(store, peers, node, id, SpoolMachine, hooks).await?;
    let spool = SpoolGroup {
        group,
        reader,
        bodies,
        dispatch,
        node,
        bodies_needed: needed.clone(),
        disk: store.disk().clone(),
        meta,
    };
    skein_runtime::task("leadership", follow_leadership(spool.clone()));
    let disk = store.disk().clone();
    let pull = bodies::pull(
        spool.clone(),
        needed,
        peers.clone(),
        disk,
        byte_rate.clone(),
    );
    skein_runtime::task("body-pull", pull);
    Ok(spool)
}

/// Dispenses while this node leads the group, and only then.
async fn follow_leadership(spool: SpoolGroup) {
    loop {
        let changed = spool.group.role_changed();
        if spool.group.is_leader() && !spool.dispatch.leads() {
            // With everything applied that an earlier leader committed.
            if spool.group.leads().await {
                spool.dispatch.lead(spool.sessions());
                tokio::spawn(work::wait_for_absent(spool.clone()));
                tracing::info!(group = %spool.group.id(), "this node leads");
            } else {
                tokio::time::sleep(LOOK_FOR_LEADER).await;
                continue;
            }
        } else if !spool.group.is_leader() && spool.dispatch.leads() {
            spool.dispatch.follow();
            tracing::info!(group = %spool.group.id(), "this node leads no more");
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(CHECK_ROLE) => {}
        }
    }
}
