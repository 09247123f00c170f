//! Giving leadership to another voter. openraft 0.9 has no transfer, so the other asks for votes, and this node helps.
//!
//! Voters refuse to vote while they heed a leader, that is, for 1.3 s after they last heard of one. A leader itself does
//! so only for 1.3 s after its election: it votes for a candidate that has its log and a higher term, and is a follower then. With
//! three voters its vote and the other's own are a majority, so no member needs to be silent. With more, the leader falls
//! silent until all have ceased to heed it. Both are plain Raft: an election that the wrong voter asks for, or at the
//! wrong moment, fails, and this node or another leads on.

use std::time::Duration;

use skein_model::NodeId;

use super::{ELECTION_MAX_MS, Group};

/// What was on its way when the proposals were stopped, on a slow disk.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(2);
/// One round of votes, and another if two stand.
const ELECTED_WITHIN: Duration = Duration::from_secs(3);
/// Voters of whom the leader and one more are a majority.
const TWO_DECIDE: usize = 3;

/// Commits nothing new while this lives, which ends also when the caller waits for the end no more.
struct HeldBack<'g>(&'g Group);

impl<'g> HeldBack<'g> {
    fn of(group: &'g Group) -> Self {
        group.proposer.pause(true);
        Self(group)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
        self.0.proposer.pause(false);
    }
}

impl Group {
    /// Gives leadership to a voter, which `elect` tells to stand. Until it is elected, nothing is committed: some tens of
    /// milliseconds with up to three voters, 1.5 s with more.
    ///
    /// # Errors
    /// This node does not lead, or leads on because the other lacks entries or was not elected.
    pub async fn hand_over(
        &self,
        to: NodeId,
        elect: impl Future<Output = ()>,
    ) -> Result<(), String> {
        let _alone = self.changing.lock().await;
        if !self.is_leader() {
            return Err("this node does not lead the group".to_owned());
        }
        self.out_of_lease().await;
        let _held = HeldBack::of(self);
        self.give(to, elect).await
    }

    /// A new leader heeds itself for as long as others heed it, counted from its election.
    async fn out_of_lease(&self) {
        let elected = self
            .raft
            .with_raft_state(|state| state.vote_last_modified());
        if let Ok(Some(elected)) = elected.await {
            let lease = Duration::from_millis(ELECTION_MAX_MS + 100);
            tokio::time::sleep(lease.saturating_sub(elected.elapsed())).await;
        }
    }

    async fn give(&self, to: NodeId, elect: impl Future<Output = ()>) -> Result<(), String> {
        // An entry that is appended after the other was seen to have all would cost it the election.
        let quiet = tokio::time::timeout(CAUGHT_UP_WITHIN, self.proposer.is_quiet()).await;
        quiet.map_err(|_| "what was proposed before is not committed".to_owned())?;
        let mut metrics = self.raft.metrics();
        let has_all = metrics.wait_for(|now| {
            let replication = now.replication.as_ref();
            let matched = replication.and_then(|matched| matched.get(&to.0).copied().flatten());
            matched.map(|id| id.index) == now.last_log_index
        });
        match tokio::time::timeout(CAUGHT_UP_WITHIN, has_all).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err("the group stopped".to_owned()),
            Err(_) => {
                return Err("the other node lacks entries, and they do not reach it".to_owned());
            }
        }
        if self.voters().len() > TWO_DECIDE {
            self.raft.runtime_config().heartbeat(false);
            tokio::time::sleep(Duration::from_millis(ELECTION_MAX_MS + 100)).await;
        }
        elect.await;
        let mut metrics = self.raft.metrics();
        let moved = metrics.wait_for(|now| now.current_leader.is_some_and(|id| id != self.node.0));
        match tokio::time::timeout(ELECTED_WITHIN, moved).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err("the other node was not elected".to_owned()),
        }
    }
}
