//! Weights of tenants, on their way from the meta group to the dispensers.

use std::sync::Arc;

use skein_model::meta;
use skein_store::Reader;
use tokio::sync::watch;

use crate::spool::Dispatch;

/// Tells the dispensers of this node whenever a weight changed.
pub async fn follow(
    meta: Reader,
    mut applied: watch::Receiver<()>,
    dispatches: Vec<Arc<Dispatch>>,
) {
    let mut told = None;
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
    }
}
