//! Whether all control nodes read the command that registers an egress node: one of an older version could not go on in the
//! meta group once it is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use skein_client::Channels;
use tonic::Status;

use crate::raft::Group;

#[derive(Clone)]
pub struct EgressGate {
    meta: Arc<Group>,
    peers: Channels,
    /// Nodes are not replaced by older ones: what was so stays so.
    is_open: Arc<AtomicBool>,
}

impl EgressGate {
    pub fn new(meta: Arc<Group>, peers: Channels) -> Self {
        Self {
            meta,
            peers,
            is_open: Arc::default(),
        }
    }

    /// # Errors
    /// A member of the meta group answers and is of an older version. One that does not answer is not waited for: should it
    /// come back with an older version, it reads nothing further until it is upgraded.
    pub async fn pass(&self) -> Result<(), Status> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let members = self.meta.view().members.into_iter();
        let others = members.map(|member| member.address);
        let others: Vec<String> = others.filter(|address| !address.is_empty()).collect();
        let answers = others.iter().map(|address| async move {
            let hello = self.peers.hello(address).await;
            (address, hello)
        });
        let answers = join_all(answers).await;
        let is_older = |hello: &skein_wire::internal::HelloReply| !hello.knows_egress_sessions;
        let older = answers
            .iter()
            .find(|(_, hello)| hello.as_ref().is_some_and(is_older));
        if let Some((address, _)) = older {
            return Err(Status::unavailable(format!(
                "the control node {address} is of a version that does not know egress nodes; upgrade all control nodes first"
            )));
        }
        if answers.iter().all(|(_, hello)| hello.is_some()) {
            self.is_open.store(true, Ordering::Release);
        }
        Ok(())
    }
}
