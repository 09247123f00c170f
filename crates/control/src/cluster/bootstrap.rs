//! How a cluster begins: all founders meet, and the first makes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use skein_client::Channels;
use skein_model::doctor::{Founding, MissingPeer};
use skein_model::{NodeId, meta};
use skein_wire::internal::HelloRequest;

use super::members::Members;
use crate::config::Config;

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

/// How many spool groups a cluster has that the new node is to join, as one of its members says.
///
/// Without such a member there is none yet, or its members refuse a node of another number and say so.
pub async fn spool_groups_of_cluster(peers: &Channels, config: &Config) -> Option<u16> {
    let others = config.peers.iter();
    let others = others.filter(|peer| **peer != config.address);
    let asked = join_all(others.map(|address| peers.hello(address))).await;
    let members = asked.into_iter().flatten().filter(|hello| hello.is_member);
    let counts = members.map(|hello| hello.groups.len().saturating_sub(1));
    let count = counts.max().and_then(|count| u16::try_from(count).ok());
    count.filter(|count| (1..=meta::SPOOL_GROUPS_MAX).contains(count))
}

/// Between two looks for peers that are missing.
const LOOK: Duration = Duration::from_secs(1);
/// The same is told again after this.
const REMIND: Duration = Duration::from_secs(30);
/// Others that hear that this node stops call no alarm for it; one that does not answer at once is not waited for.
const FAREWELL_WITHIN: Duration = Duration::from_millis(500);

impl Members {
    fn is_founded(&self) -> bool {
        let is_alone = self.config.address.is_empty() || self.config.peers.is_empty();
        is_alone || meta::nodes(&self.meta).contains_key(&self.node)
    }

    /// Before anybody can ask: a node that is to make or join a cluster, and has not yet, says so.
    pub fn begin_to_look(&self) {
        if !self.is_founded() {
            self.own_health.set_founding(Some(Founding::default()));
        }
    }

    /// Tells which peers are missing, and why, until this node belongs to a cluster.
    pub async fn look_for_peers(self) {
        let (mut told, mut told_at) = (None, Instant::now());
        while !self.is_founded() {
            let missing = self.missing_peers().await;
            let addresses: Vec<String> = missing.iter().map(|one| one.address.clone()).collect();
            let refused = self.own_health.founding().unwrap_or_default().refused;
            let founding = Founding { missing, refused };
            if told.as_ref() != Some(&addresses) || told_at.elapsed() > REMIND {
                tracing::warn!("{}", founding.text());
                (told, told_at) = (Some(addresses), Instant::now());
            }
            self.own_health.set_founding(Some(founding));
            tokio::time::sleep(LOOK).await;
        }
        self.own_health.set_founding(None);
    }

    async fn missing_peers(&self) -> Vec<MissingPeer> {
        let others = self.config.peers.iter();
        let others = others.filter(|peer| **peer != self.config.address);
        let asked = others.map(|address| async move {
            let hello = self
                .forward
                .peers
                .ask_hello(address, HelloRequest::default());
            let why = hello.await.err()?;
            let address = address.clone();
            Some(MissingPeer { address, why })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The other members hear that this node stops, as it was told to.
    pub async fn say_farewell(&self) {
        let request = HelloRequest {
            stopping_node: self.node.0,
            ..HelloRequest::default()
        };
        let others = meta::nodes(&self.meta);
        let others = others.iter().filter(|(id, _)| **id != self.node);
        let told = others.map(|(_, row)| self.forward.peers.ask_hello(&row.address, request));
        // A node that does not hear it takes this one for lost until it is back.
        let _ = tokio::time::timeout(FAREWELL_WITHIN, join_all(told)).await;
    }

    /// Another node stops, as it says.
    pub fn note_stop(&self, node: NodeId) {
        if meta::nodes(&self.meta).contains_key(&node) {
            self.own_health.note_stop(node);
        }
    }
}
