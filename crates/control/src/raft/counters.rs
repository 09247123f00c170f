//! What one group of this node counts as it goes.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// From an fsync on a fast disk to the deadline of a proposal.
const COMMIT_SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 15.0,
];

/// Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct GroupCounters {
    pub elections: Counter,
    pub leader_changes: Counter,
    /// Of proposals that were committed.
    pub commit: Histogram,
    pub commands: Counter,
}

impl Default for GroupCounters {
    fn default() -> Self {
        Self {
            elections: Counter::default(),
            leader_changes: Counter::default(),
            commit: Histogram::new(COMMIT_SECONDS),
            commands: Counter::default(),
        }
    }
}
