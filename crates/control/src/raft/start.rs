//! Starting a group of this node over its part of the store.

use std::sync::Arc;

use skein_client::Channels;
use skein_model::{GroupId, NodeId};
use skein_store::{Hooks, Machine, Store};

use super::commands::Commands;
use super::network::Network;
use super::{Group, GroupError};

pub async fn start_group<M: Machine>(
    store: &Store,
    peers: &Channels,
    node: NodeId,
    group: GroupId,
    machine: M,
    hooks: Hooks<M::Effect>,
) -> Result<Arc<Group>, GroupError> {
    let failed = |reason: String| GroupError { group, reason };
    let commands = Commands::of(group, machine, store.skipped(group));
    let (log, machine) = store
        .group(group, machine, hooks)
        .map_err(|error| failed(error.to_string()))?;
    let network = Network {
        group,
        peers: peers.clone(),
    };
    let group = Group::start(node, network, log, machine, commands).await?;
    Ok(Arc::new(group))
}
