//! What the meta group says about mail, on its way to the dispensers: weights of tenants, and what
//! operators and rules hold back.

use std::sync::Arc;
use std::time::Duration;

use skein_model::automation::{self, Suspensions};
use skein_model::{codec, meta};
use skein_store::Reader;
use tokio::sync::watch;

use crate::automation::HeldBack;
use crate::clock;
use crate::raft::Group;
use crate::spool::Dispatch;

const LOOK: Duration = Duration::from_secs(1);

/// Tells the dispensers of this node whenever something changed.
pub async fn follow(
    meta: Reader,
    mut applied: watch::Receiver<()>,
    dispatches: Vec<Arc<Dispatch>>,
) {
    let (mut told, mut suspended) = (None, Suspensions::default());
    let mut held_back = HeldBack::default();
    applied.mark_changed();
    while applied.changed().await.is_ok() {
        // Read first: a change that comes between is told again.
        let version = meta::weights_version(&meta);
        if told != Some(version) {
            let weights = meta::weights(&meta);
            for dispatch in &dispatches {
                dispatch.set_weights(weights.clone());
            }
            told = Some(version);
        }
        let now = held_back.now(&meta);
        if now != suspended {
            for dispatch in &dispatches {
                dispatch.set_suspensions(now.clone());
            }
            suspended = now;
        }
    }
}

/// Lets what has ended end, while this node leads the meta group.
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
