//! Commands that not every build reads are proposed only when all control nodes read them: one that does not could not go on in its
//! group once such a command is committed. [`skein_model::feature`] decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use skein_client::Channels;
use skein_model::feature::{self, Feature, Knowledge, Member, WireVersion};
use tonic::Status;

use crate::raft::Group;

#[derive(Clone)]
pub struct VersionGate {
    meta: Arc<Group>,
    peers: Channels,
    /// What all members have reported. Nodes are not replaced by older ones, so what was known stays known.
    known: Arc<AtomicU32>,
}

impl VersionGate {
    pub fn new(meta: Arc<Group>, peers: Channels) -> Self {
        let known = Arc::new(AtomicU32::new(WireVersion::OLDEST.0));
        Self { meta, peers, known }
    }

    /// # Errors
    /// A member of the meta group answers and does not know the feature. One that does not answer is not waited for: should it
    /// come back with an older version, it reads nothing further until it is upgraded.
    pub async fn pass(&self, feature: Feature) -> Result<(), Status> {
        if WireVersion(self.known.load(Ordering::Acquire)) >= feature.since() {
            return Ok(());
        }
        let members = self.ask().await;
        if let Some(WireVersion(least)) = feature::minimum(&members) {
            self.known.fetch_max(least, Ordering::AcqRel);
        }
        match feature::all_know(feature, &members) {
            Knowledge::All => Ok(()),
            Knowledge::Unheard(address) => {
                let what = feature.name();
                tracing::warn!(
                    address,
                    what,
                    "a control node does not answer; if it is of a version that does not know this, it will need the upgrade"
                );
                Ok(())
            }
            Knowledge::Older(address) => Err(Status::unavailable(format!(
                "the control node {address} is of a version that does not know {}; upgrade all control nodes first",
                feature.name()
            ))),
        }
    }

    /// All members that others can reach.
    async fn ask(&self) -> Vec<Member> {
        let members = self.meta.view().members.into_iter();
        let addresses = members.map(|member| member.address);
        let asked = addresses
            .filter(|address| !address.is_empty())
            .map(|address| async move {
                let hello = self.peers.hello(&address).await;
                Member {
                    address,
                    version: hello.map(|hello| WireVersion(hello.wire_version)),
                }
            });
        join_all(asked).await
    }
}
