//! Which version of the policy a control node acts by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skein_model::meta;
use skein_store::Reader;

use crate::raft::Group;

/// What the leader of the meta group writes down of a policy after it has changed, and of which version it has done so;
/// 0 for none. A node that does not lead has nothing to do but to have the policy.
#[derive(Debug, Clone, Default)]
pub struct InForce(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    rules: AtomicU64,
    plans: AtomicU64,
}

impl InForce {
    /// Replies are counted by the rules of that version; none: not known.
    pub fn rules(&self, version: Option<u64>) {
        self.0.rules.store(version.unwrap_or(0), Ordering::Release);
    }

    /// Warm-ups go on under the plans of that version; none: not known.
    pub fn plans(&self, version: Option<u64>) {
        self.0.plans.store(version.unwrap_or(0), Ordering::Release);
    }

    /// The version that this node acts by.
    pub fn version(&self, group: &Group, reader: &Reader) -> u64 {
        let had = meta::policy_version(reader);
        match group.is_leader() {
            true => had
                .min(self.0.rules.load(Ordering::Acquire))
                .min(self.0.plans.load(Ordering::Acquire)),
            false => had,
        }
    }
}
