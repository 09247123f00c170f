//! How a cluster begins: all founders meet, and the first makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use skein_model::NodeId;
use skein_wire::internal::HelloRequest;
use skein_wire::internal::peer_client::PeerClient;

use crate::peers::Peers;

const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The founders by their ids, if all answer and none belongs to a cluster.
///
/// A founder that is a member means that the cluster exists: it must be joined then, not made again.
pub async fn meet(peers: &Peers, founders: &[String]) -> Option<BTreeMap<NodeId, String>> {
    let met = join_all(founders.iter().map(|address| async move {
        let mut client = PeerClient::new(peers.channel(address));
        let reply = tokio::time::timeout(ANSWER_WITHIN, client.hello(HelloRequest {})).await;
        let hello = reply.ok()?.ok()?.into_inner();
        (!hello.is_member).then(|| (NodeId(hello.node), address.clone()))
    }));
    let members: BTreeMap<NodeId, String> = met.await.into_iter().collect::<Option<_>>()?;
    // Two addresses of one node are a mistake in the configuration.
    (members.len() == founders.len()).then_some(members)
}
