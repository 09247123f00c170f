//! The policy that this process goes by: read anew whenever the cluster's changes.

use std::sync::Arc;

use skein_client::{ClusterState, PolicyTexts};
use skein_policy::Policy;
use tokio::sync::watch;

/// The built-in providers until the cluster's policy is known.
pub fn follow(state: &ClusterState) -> watch::Receiver<Arc<Policy>> {
    let (told, policy) = watch::channel(Policy::built_in());
    let mut texts = state.policy();
    let state = state.clone();
    skein_runtime::task("policy", async move {
        loop {
            let now = texts.borrow_and_update().clone();
            match read(&now) {
                Ok(policy) => {
                    tracing::info!(version = now.version, "policy");
                    told.send_replace(Arc::new(policy.with_version(now.version)));
                }
                // Another version of this program has let it in. What was understood last is the best there is.
                Err(problems) => {
                    tracing::error!(
                        version = now.version,
                        problems,
                        "the policy cannot be read; the one before it still holds here"
                    );
                    state.cannot_read_policy(now.version);
                }
            }
            tokio::select! {
                changed = texts.changed() => if changed.is_err() { return },
                () = told.closed() => return,
            }
        }
    });
    policy
}

fn read(texts: &PolicyTexts) -> Result<Policy, String> {
    Policy::of_texts(&texts.resources).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })
}
