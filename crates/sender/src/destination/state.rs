//! A destination: what goes from one IP to one site in one manner, the tasks that wait for it, and its connections.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::destination::hold::{Hold, HoldKind};
use crate::destination::waiting::Waiting;
use crate::notified_groups::NotifiedGroups;
use crate::route::find::Route;
use crate::source_ip::source::Source;
use crate::task::delivery::DeliveryTask;

pub struct Destination {
    pub key: String,
    pub number: u64,
    pub state: Mutex<DestinationState>,
    pub work: Notify,
}

pub struct DestinationState {
    /// As the latest task found it, so that changed records are followed and hosts of equal preference take turns.
    pub route: Arc<Route>,
    pub source: Source,
    pub waiting: Waiting<DeliveryTask>,
    pub connections: usize,
    /// Connections that wait for a task, and those that are being opened.
    pub ready: usize,
    /// Connections beside the present ones are opened after this.
    pub no_more_until: Option<Instant>,
    /// A limit that keeps connections from being opened.
    pub connection_hold: Option<Hold>,
    /// A limit that keeps transactions from being begun.
    pub message_hold: Option<Hold>,
    /// Groups whose queues are closed until something goes.
    pub closed: NotifiedGroups,
    /// When a transaction was last begun, or else when this came to be.
    pub moved_at: Instant,
    /// Taken out of the table; a new task needs a new destination.
    pub is_off: bool,
}

impl Destination {
    pub fn new(key: String, number: u64, route: Arc<Route>, source: Source) -> Self {
        let state = DestinationState {
            route,
            source,
            waiting: Waiting::default(),
            connections: 0,
            ready: 0,
            no_more_until: None,
            connection_hold: None,
            message_hold: None,
            closed: NotifiedGroups::default(),
            moved_at: Instant::now(),
            is_off: false,
        };
        Self {
            key,
            number,
            state: Mutex::new(state),
            work: Notify::new(),
        }
    }

    /// Where what waits here goes, and from where.
    pub fn path(&self) -> (Arc<Route>, Source) {
        let state = self.state.lock();
        (state.route.clone(), state.source.clone())
    }
}

impl DestinationState {
    pub fn hold(&mut self, kind: HoldKind) -> &mut Option<Hold> {
        match kind {
            HoldKind::Connection => &mut self.connection_hold,
            HoldKind::Message => &mut self.message_hold,
        }
    }

    /// Queues a task, unless it is not to be sent from here any more. `Destinations::return_stopped` takes what is queued
    /// under the same lock after tasks were stopped: it finds this one, or this one is found to be stopped here.
    pub fn queue(&mut self, delivery: DeliveryTask) -> bool {
        let is_to_wait = !delivery.is_stopped();
        if is_to_wait {
            self.waiting.push(delivery.priority(), delivery);
            self.shed();
        }
        is_to_wait
    }

    /// Puts one back that was taken and not begun, as [`Self::queue`] does.
    pub fn put_back(&mut self, delivery: DeliveryTask) {
        if !delivery.is_stopped() {
            self.waiting.push_front(delivery.priority(), delivery);
        }
    }

    /// Takes out all that waits here and is still to be sent from here.
    pub fn take_waiting(&mut self) -> Vec<DeliveryTask> {
        let waiting = self.waiting.drain();
        waiting.filter(|delivery| !delivery.is_stopped()).collect()
    }

    pub fn is_unused(&self) -> bool {
        self.connections == 0 && self.waiting.is_empty()
    }
}
