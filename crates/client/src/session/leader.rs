//! Calls of a session, which go to the meta group's leader.

use std::future::Future;
use std::time::Duration;

use skein_model::GroupId;
use skein_wire::internal::sessions_client::SessionsClient;

use crate::channel::Channel;
use crate::cluster::Cluster;
use crate::error::SpoolError;

const CALL_WITHIN: Duration = Duration::from_secs(2);

/// The node that leads the meta group at the moment of a call.
#[derive(Debug, Clone)]
pub struct MetaLeader {
    cluster: Cluster,
}

impl MetaLeader {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    pub async fn call<T, F>(
        &self,
        doing: &str,
        call: impl FnOnce(SessionsClient<Channel>) -> F,
    ) -> Result<T, SpoolError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let Some((_, channel)) = self.cluster.leader(GroupId::META) else {
            let why = self.cluster.no_leader(GroupId::META);
            return Err(SpoolError::Unavailable(format!("{doing}: {why}")));
        };
        let reply = tokio::time::timeout(CALL_WITHIN, call(SessionsClient::new(channel))).await;
        match reply {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => {
                self.cluster.doubt();
                Err(SpoolError::from_status(doing, &status))
            }
            Err(_) => {
                self.cluster.doubt();
                Err(SpoolError::Unavailable(format!("{doing}: no answer")))
            }
        }
    }
}
