//! Whether a group works, and what this node knows of it is of late.

use std::time::Duration;

use openraft::error::Fatal;
use openraft::{BasicNode, RaftMetrics, ServerState};
use skein_model::GroupId;
use tokio::sync::watch;

use super::{Group, GroupCounters};

/// Entries that are appended and not applied on a node that is up to date, on its way to the disk: some of those that
/// arrive within a second.
const BEHIND: u64 = 1000;
/// A leader that no majority has answered for this long may be cut off.
const CUT_OFF: Duration = Duration::from_secs(3);

impl Group {
    /// Why the group does nothing any more, if that is so. The process is about to end then.
    pub fn failure(&self) -> Option<String> {
        failure(&self.raft.metrics().borrow())
    }

    /// Why what this node knows of the group may be old, if it may.
    pub async fn out_of_touch(&self) -> Option<String> {
        let (leader, acked) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.current_leader, metrics.millis_since_quorum_ack)
        };
        if leader.is_none() {
            return Some("sees no leader".to_owned());
        }
        let heard = match leader == Some(self.node.0) {
            true => acked.map(Duration::from_millis),
            false => {
                let told = self
                    .raft
                    .with_raft_state(|state| state.vote_last_modified());
                told.await.ok().flatten().map(|at| at.elapsed())
            }
        };
        let silent = heard.filter(|heard| *heard > CUT_OFF)?;
        let who = match leader == Some(self.node.0) {
            true => "is the leader, and no majority has answered it",
            false => "has heard nothing from the leader",
        };
        Some(format!("{who} for {} s", silent.as_secs()))
    }

    /// Why this node should not be relied on for the group, if it should not.
    pub async fn not_ready(&self) -> Option<String> {
        if let Some(why) = self.out_of_touch().await {
            return Some(why);
        }
        if self.only_learns() {
            return Some("does not vote yet: it lacks entries or bodies".to_owned());
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        let lacks = metrics.last_log_index.unwrap_or(0).saturating_sub(applied);
        (lacks > BEHIND).then(|| format!("has {lacks} entries yet to apply"))
    }
}

fn failure(metrics: &RaftMetrics<u64, BasicNode>) -> Option<String> {
    match &metrics.running_state {
        Ok(()) | Err(Fatal::Stopped) => None,
        Err(fatal) => Some(fatal.to_string()),
    }
}

/// Ends the process when the group's core does: nothing is committed or applied any more, and nothing else would show it.
pub async fn watch_core(id: GroupId, mut metrics: watch::Receiver<RaftMetrics<u64, BasicNode>>) {
    let is_over = |now: &RaftMetrics<u64, BasicNode>| now.running_state.is_err();
    // What follows a core that is gone without a word is the same.
    let _ = metrics.wait_for(is_over).await;
    let state = metrics.borrow().running_state.clone();
    match state {
        // By this node itself, which stops; or it is gone, and the process must not go on without it.
        Err(Fatal::Stopped) | Ok(()) => {}
        Err(fatal) => {
            let reason = format!("Raft group {id} has failed: {fatal}");
            skein_runtime::end_after_cause(reason).await
        }
    }
}

/// Counts the elections that this node begins and the leaders that it sees, for as long as the process runs.
pub async fn count_elections(
    mut metrics: watch::Receiver<RaftMetrics<u64, BasicNode>>,
    counters: GroupCounters,
) {
    // The term in which it was a candidate last, and the leader that it saw last.
    let (mut candidate_in, mut led) = (None, None);
    loop {
        {
            let now = metrics.borrow_and_update();
            let term = now.current_term;
            if now.state == ServerState::Candidate && candidate_in != Some(term) {
                candidate_in = Some(term);
                counters.elections.inc();
            }
            let leader = now.current_leader;
            if leader.is_some() && led.is_some() && leader != led {
                counters.leader_changes.inc();
            }
            led = leader.or(led);
        }
        if metrics.changed().await.is_err() {
            // The group has stopped, and the process is about to end.
            std::future::pending::<()>().await;
        }
    }
}
