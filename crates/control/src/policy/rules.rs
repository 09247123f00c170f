//! The rules that replies are counted by, as policy has them, and the end of what follows from them.

use std::sync::Arc;
use std::time::Duration;

use skein_model::{automation, codec, meta};
use skein_store::Reader;

use super::{InForce, read};
use crate::clock;
use crate::raft::Group;

const LOOK: Duration = Duration::from_secs(1);
/// Whoever waits for a policy to be in force waits for its rules.
const LOOK_AT_POLICY: Duration = Duration::from_millis(200);

/// Writes the rules of the policy down whenever they are others than those that count, while this node leads the meta
/// group. Those of two versions of the program differ; each leader's count while it leads.
pub async fn keep_rules(meta: Arc<Group>, reader: Reader, in_force: InForce) {
    let mut known = None;
    loop {
        in_force.rules(known);
        tokio::time::sleep(LOOK_AT_POLICY).await;
        if !meta.is_leader() {
            known = None;
            continue;
        }
        let version = meta::policy_version(&reader);
        if known == Some(version) {
            continue;
        }
        let Some(policy) = read(&reader, "rules stay as they are") else {
            known = Some(version);
            continue;
        };
        let rules = policy.counted_rules();
        if rules == automation::rules(&reader) {
            known = Some(version);
            continue;
        }
        match meta
            .propose(codec::encode(&meta::Command::SetRules(rules)))
            .await
        {
            Ok(_) => {
                tracing::info!(version, "rules of the policy count from now on");
                known = Some(version);
            }
            Err(error) => tracing::warn!(%error, "rules of the policy do not count yet"),
        }
    }
}

/// Ends actions and suspensions whose time is over, while this node leads the meta group.
pub async fn pass_time(meta: Arc<Group>, reader: Reader) {
    loop {
        tokio::time::sleep(LOOK).await;
        let due = automation::next_due(&reader);
        if !meta.is_leader() || due.is_none_or(|due| due > clock::now()) {
            continue;
        }
        let tick = meta::Command::Automation(Box::new(automation::Command::Tick));
        if let Err(error) = meta.propose(codec::encode(&tick)).await {
            tracing::warn!(%error, "what has ended is still listed");
        }
    }
}
