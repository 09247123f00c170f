//! All destinations that have tasks or connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::destination::state::Destination;
use crate::route::find::Route;
use crate::source_ip::source::Source;
use crate::task::delivery::DeliveryTask;

/// Their number is bounded by the sender's window.
#[derive(Default)]
pub struct DestinationTable {
    by_key: Mutex<HashMap<String, Arc<Destination>>>,
    made: AtomicU64,
}

impl DestinationTable {
    /// Queues a task at the destination of a key. Tells whether it was queued there, and not stopped before.
    pub fn queue(
        &self,
        key: String,
        route: Route,
        source: Source,
        delivery: DeliveryTask,
    ) -> (Arc<Destination>, bool) {
        let mut by_key = self.by_key.lock();
        let route = Arc::new(route);
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let destination = by_key
            .entry(key.clone())
            .or_insert_with(|| {
                let new = Destination::new(key, number, route.clone(), source.clone());
                Arc::new(new)
            })
            .clone();
        // Both locks are held, so the destination cannot close between the look-up and the push.
        let mut state = destination.state.lock();
        state.route = route;
        state.source = source;
        let is_queued = state.queue(delivery);
        drop(state);
        (destination, is_queued)
    }

    pub fn close_if_unused(&self, destination: &Destination) {
        let mut by_key = self.by_key.lock();
        let mut state = destination.state.lock();
        if state.is_unused() && !state.is_off {
            state.is_off = true;
            state.open_queues();
            state.connection_hold = None;
            state.message_hold = None;
            by_key.remove(&destination.key);
        }
    }

    pub fn all(&self) -> Vec<Arc<Destination>> {
        self.by_key.lock().values().cloned().collect()
    }
}
