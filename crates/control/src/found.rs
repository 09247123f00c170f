//! How a cluster begins: all founders meet, and the first makes it.

use skein_client::Channels;
use std::collections::BTreeMap;

use futures::future::join_all;
use skein_model::NodeId;

/// The founders by their ids, if all answer and none belongs to a cluster.
///
/// A founder that is a member means that the cluster exists: it must be joined then, not made again.
pub async fn meet(peers: &Channels, founders: &[String]) -> Option<BTreeMap<NodeId, String>> {
    let met = join_all(founders.iter().map(|address| async move {
        let hello = peers.hello(address).await?;
        (!hello.is_member).then(|| (NodeId(hello.node), address.clone()))
    }));
    let members: BTreeMap<NodeId, String> = met.await.into_iter().collect::<Option<_>>()?;
    // Two addresses of one node are a mistake in the configuration.
    (members.len() == founders.len()).then_some(members)
}
