//! Destinations that wait for a limit: until when, and what wakes them.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use skein_client::Reporter;
use skein_model::throttle::Scope;
use tokio::task::AbortHandle;

use crate::destination::destinations::Destinations;
use crate::destination::state::{Destination, DestinationState};
use crate::limits::limiters::Closed;
use crate::limits::waiters::Waiter;
use crate::metrics::Held;

/// A limit that lets nothing go for longer than this, a day's say, keeps one task of a destination here, which is told of
/// and goes as soon as it may. The others would take places that other sites can use.
const LONG: Duration = Duration::from_secs(30);
/// So does a limit that says no time, because senders share it, and has let nothing go for so long.
const STUCK: Duration = Duration::from_secs(5);
const KEPT: usize = 1;
/// Tasks that wait for one source IP may go from another one.
const ANOTHER_IP: Duration = Duration::from_secs(5);

/// What a limit may hold up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldKind {
    Connection,
    Message,
}

/// A wait for a limit, which ends by itself.
pub struct Hold {
    pub until: Instant,
    pub scope: Scope,
    timer: AbortHandle,
    _waits: Held,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// Goes by what rules have in force, while there are destinations.
pub async fn follow_actions(destinations: Weak<Destinations>) {
    let Some(first) = destinations.upgrade() else {
        return;
    };
    let mut changes = first.placer.actions.changes();
    let mut before = first.placer.actions.sites();
    drop(first);
    while changes.changed().await.is_ok() {
        changes.mark_unchanged();
        let Some(destinations) = destinations.upgrade() else {
            return;
        };
        let now = destinations.placer.actions.sites();
        destinations.actions_changed(|site| before.has(site) || now.has(site));
        before = now;
    }
}

impl DestinationState {
    /// Gives back what will wait for long. Its queues are closed meanwhile, or until something goes here.
    pub fn shed(&mut self) {
        let holds = [&self.connection_hold, &self.message_hold].into_iter();
        let Some(hold) = holds.flatten().max_by_key(|hold| hold.until) else {
            return;
        };
        let left = hold.until.saturating_duration_since(Instant::now());
        let is_stuck = self.message_hold.is_some() && self.moved_at.elapsed() >= STUCK;
        if left < LONG && !is_stuck {
            return;
        }
        let closed_for = match hold.scope {
            Scope::Site | Scope::Tenant | Scope::Pool | Scope::Intake => left.max(LONG),
            Scope::IpSite | Scope::Ip => ANOTHER_IP,
        };
        for mut delivery in self.waiting.split_off(KEPT) {
            delivery.held.postpone(closed_for);
            self.closed.insert(delivery.filed());
        }
    }

    /// Something goes, or nothing waits here that would: queues are open again that were closed meanwhile.
    pub fn open_queues(&mut self) {
        self.closed.drain(Reporter::open_queues);
    }
}

impl Destinations {
    /// Limits, pools and IPs may be others: all that waits is placed again, and tries at once.
    pub fn policy_changed(self: &Arc<Self>) {
        for destination in self.all() {
            self.choose_again(&destination);
            self.opens(&destination, HoldKind::Connection);
            self.opens(&destination, HoldKind::Message);
        }
    }

    /// Rules began, climb back or have ended: what waits looks for an IP again, or waits elsewhere.
    fn actions_changed(self: &Arc<Self>, is_affected: impl Fn(&str) -> bool) {
        for destination in self.all() {
            let is_affected = is_affected(&destination.state.lock().route.site);
            if !is_affected {
                continue;
            }
            self.choose_again(&destination);
            self.opens(&destination, HoldKind::Connection);
            self.opens(&destination, HoldKind::Message);
        }
    }

    /// Nothing is tried again before a limit opens or a token of it comes back.
    pub fn hold(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        state: &mut DestinationState,
        kind: HoldKind,
        closed: &Closed,
    ) {
        let until = closed.until;
        let (destinations, held) = (Arc::downgrade(self), Arc::downgrade(destination));
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            if let (Some(destinations), Some(destination)) =
                (destinations.upgrade(), held.upgrade())
            {
                destinations.opens(&destination, kind);
            }
        });
        *state.hold(kind) = Some(Hold {
            until,
            scope: closed.scope,
            timer: timer.abort_handle(),
            _waits: self.outbound.metrics.waits(closed.scope, closed.counts),
        });
        state.shed();
    }

    /// It is time to try again.
    fn opens(self: &Arc<Self>, destination: &Arc<Destination>, kind: HoldKind) {
        destination.state.lock().hold(kind).take();
        destination.work.notify_one();
        while self.open_if_needed(destination) {}
        self.close_if_unused(destination);
    }

    pub fn waiter(self: &Arc<Self>, destination: &Arc<Destination>, kind: HoldKind) -> Waiter {
        let number = destination.number;
        let (destinations, waiting) = (Arc::downgrade(self), Arc::downgrade(destination));
        let lives = waiting.clone();
        let wake = move || match (destinations.upgrade(), waiting.upgrade()) {
            (Some(destinations), Some(destination)) => destinations.woken(&destination, kind),
            _ => false,
        };
        Waiter {
            number,
            lives: Box::new(move || lives.strong_count() > 0),
            wake: Box::new(wake),
        }
    }

    /// A token came back that this destination waits for. Tells whether it is of use.
    fn woken(self: &Arc<Self>, destination: &Arc<Destination>, kind: HoldKind) -> bool {
        {
            let mut state = destination.state.lock();
            state.hold(kind).take();
            if state.waiting.is_empty() {
                return false;
            }
        }
        match kind {
            HoldKind::Connection => self.open_if_needed(destination),
            HoldKind::Message => {
                destination.work.notify_one();
                self.open_if_needed(destination);
                true
            }
        }
    }
}
