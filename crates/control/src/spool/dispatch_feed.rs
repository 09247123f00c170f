//! What the meta group says about mail, on its way to the dispensers: weights of tenants, and what
//! operators and rules hold back.

use std::sync::Arc;

use skein_model::automation::Suspensions;
use skein_store::Reader;
use tokio::sync::watch;

use super::dispatch::Dispatch;
use crate::policy::{HeldBack, Weights};

/// Tells the dispensers of this node whenever something changed.
pub async fn follow(
    meta: Reader,
    mut applied: watch::Receiver<()>,
    dispatches: Vec<Arc<Dispatch>>,
) {
    let (mut weights, mut suspended) = (Weights::default(), Suspensions::default());
    let mut held_back = HeldBack::default();
    applied.mark_changed();
    while applied.changed().await.is_ok() {
        if let Some(weights) = weights.changed(&meta) {
            for dispatch in &dispatches {
                dispatch.set_weights(weights.clone());
            }
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
