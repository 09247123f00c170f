//! What a sender process learnt that is no more, told outside of any session.

use std::time::Duration;

use bytes::Bytes;
use skein_model::codec;
use skein_model::spool::Report;
use skein_wire::internal::Fact;

use super::{Spool, client};
use crate::error::SpoolError;

/// A group that does not answer by then is asked again.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two tries; doubled up to the longest, because there may be thousands of facts and no leader.
const TRY_AGAIN: Duration = Duration::from_millis(100);
const TRY_AGAIN_LATEST: Duration = Duration::from_secs(5);

impl Spool {
    /// Returns when the outcomes of this report that are final are committed, or refused because no recipient is open any more.
    /// Tries again until then.
    pub async fn tell(&self, report: &Report) -> Result<(), SpoolError> {
        let fact = Fact {
            report: Bytes::from(codec::encode(report)),
        };
        let mut rest = TRY_AGAIN;
        loop {
            match self.try_tell(fact.clone()).await {
                Err(error) if !matches!(error, SpoolError::Refused(_)) => {
                    tracing::debug!(task = %report.task, %error, "a fact is not committed yet");
                }
                told => return told,
            }
            self.cluster.doubt();
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(TRY_AGAIN_LATEST);
        }
    }

    async fn try_tell(&self, fact: Fact) -> Result<(), SpoolError> {
        let Some((_, channel)) = self.cluster.leader(self.group) else {
            return Err(SpoolError::Unavailable("the group has no leader".into()));
        };
        let mut client = client(channel);
        let reply = tokio::time::timeout(DEADLINE, client.tell(fact))
            .await
            .map_err(|_| SpoolError::Unknown("no answer".into()))?
            .map_err(|status| SpoolError::from_status("telling a fact", &status))?;
        let problem = reply.into_inner().problem;
        problem.map_or(Ok(()), |problem| Err(SpoolError::from_problem(problem)))
    }
}
