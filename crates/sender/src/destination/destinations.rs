//! All destinations of this sender: tasks come to them, and connections are opened for these.

use std::sync::Arc;
use std::time::Instant;

use skein_client::ClusterState;

use crate::destination::hold::{self, HoldKind};
use crate::destination::outbound::Outbound;
use crate::destination::permit::ConnectionPermit;
use crate::destination::placement::Placement;
use crate::destination::placer::{self, Placer};
use crate::destination::state::{Destination, DestinationState};
use crate::destination::table::DestinationTable;
use crate::limits::limiters::LocalLimiters;
use crate::limits::policy_use::{PolicyUse, Using};
use crate::limits::token::Token;
use crate::result::results::Results;
use crate::route::find::Route;
use crate::source_ip::source::Source;
use crate::task::delivery::{DeliveryTask, Routed};

pub struct Destinations {
    pub placer: Placer,
    pub limiters: Arc<LocalLimiters>,
    pub outbound: Outbound,
    pub results: Arc<Results>,
    pub policy_use: Arc<PolicyUse>,
    table: DestinationTable,
}

/// What a connection finds when it looks for work.
pub enum Work {
    Task(Box<DeliveryTask>, Token),
    /// A limit lets no message pass until then.
    Throttled(Instant),
    None,
}

impl Destinations {
    pub fn new(
        placer: Placer,
        limiters: Arc<LocalLimiters>,
        outbound: Outbound,
        results: Arc<Results>,
    ) -> Arc<Self> {
        Arc::new(Self {
            policy_use: PolicyUse::new(placer.policy.clone()),
            placer,
            limiters,
            outbound,
            results,
            table: DestinationTable::default(),
        })
    }

    /// Goes by the policy and by what rules have in force, for as long as there are destinations. Tells which version of the
    /// policy all that begins goes by, and which all that goes on does.
    pub fn follow(self: &Arc<Self>, state: ClusterState) {
        let mut policy = self.placer.policy.clone();
        let follow = Arc::downgrade(self);
        let follow_actions = hold::follow_actions(Arc::downgrade(self));
        skein_runtime::task("active-actions", follow_actions);
        let policy_use = self.policy_use.clone();
        skein_runtime::task("routes", async move {
            // Comes into force when nothing goes on under an earlier one.
            let mut begun: Option<u64> = None;
            loop {
                let (uses, awaited) = (&policy_use, begun);
                let in_force = async move {
                    match awaited {
                        Some(version) => {
                            uses.none_before(version).await;
                            version
                        }
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    version = in_force => {
                        state.goes_by_policy(version);
                        begun = None;
                    }
                    changed = policy.changed() => {
                        let Some(destinations) = follow.upgrade().filter(|_| changed.is_ok()) else {
                            return;
                        };
                        let now = policy.borrow_and_update().clone();
                        destinations.limiters.set_policy(now.clone());
                        policy_use.review();
                        destinations.policy_changed();
                        state.begins_by_policy(now.version());
                        begun = Some(now.version());
                    }
                }
            }
        });
    }

    /// Tasks that wait for an IP that cannot be used go from another one, or are deferred.
    pub fn choose_again(self: &Arc<Self>, destination: &Destination) {
        let (route, deliveries) = {
            let mut state = destination.state.lock();
            (state.route.clone(), state.take_waiting())
        };
        for delivery in deliveries {
            self.push(route.as_ref().clone(), delivery);
        }
    }

    /// Places a task that has a route, and opens a connection if the present ones will not reach it soon.
    pub fn push(self: &Arc<Self>, route: Route, mut delivery: DeliveryTask) {
        match self.placer.place(&route, &mut delivery) {
            Placement::Ended(ending) => self.results.end(delivery, ending),
            Placement::Parked(target) => {
                let units = delivery.units();
                let routed = Routed { route, delivery };
                self.placer.budgets.park(target, units, routed);
            }
            Placement::Queued { key, source } => self.queue(key, route, source, delivery),
        }
    }

    fn queue(self: &Arc<Self>, key: String, route: Route, source: Source, delivery: DeliveryTask) {
        let (destination, is_queued) = self.table.queue(key, route, source, delivery);
        if !is_queued {
            self.close_if_unused(&destination);
            return;
        }
        destination.work.notify_one();
        self.open_if_needed(&destination);
    }

    /// Opens one connection if the tasks that wait call for it and every limit allows it. The limits of pools and tenants
    /// are those of the task that comes next.
    pub fn open_if_needed(self: &Arc<Self>, destination: &Arc<Destination>) -> bool {
        let (path_policy, permit) = {
            let mut state = destination.state.lock();
            if !self.needs_connection(&state) {
                return false;
            }
            let Some(delivery) = state.waiting.first() else {
                return false;
            };
            let path = placer::path(&state.route, &state.source, delivery);
            let under = self.policy_use.begin(Using::Connection, path);
            let path_policy = self
                .placer
                .path_policy(&state.route, &state.source, delivery);
            let waiter = || Some(self.waiter(destination, HoldKind::Connection));
            let most = self.outbound.config.get().connections_max;
            let room = most.saturating_sub(state.connections);
            let demand = (state.waiting.len() - state.ready).min(room);
            let ask = delivery.ask(&path_policy.connect, &state.route, demand);
            // One of several slots of a site leaves without it.
            let stop = match ask.is_elsewhere {
                true => self.outbound.drain.child_token(),
                false => delivery.claim.stop.clone(),
            };
            match self.limiters.take(&ask, waiter) {
                Ok(token) => {
                    state.connections += 1;
                    state.ready += 1;
                    (path_policy, ConnectionPermit::new(token, stop, under))
                }
                Err(closed) => {
                    self.hold(destination, &mut state, HoldKind::Connection, &closed);
                    return false;
                }
            }
        };
        let (destinations, destination) = (self.clone(), destination.clone());
        self.outbound.connections.spawn(async move {
            // Other destinations that waited have had their turn.
            destinations.open_if_needed(&destination);
            destinations.serve(&destination, &path_policy, permit).await;
            destinations.connection_ended(&destination);
        });
        true
    }

    fn needs_connection(&self, state: &DestinationState) -> bool {
        let is_needed = state.waiting.len() > state.ready;
        let no_more = state.connections > 0
            && state
                .no_more_until
                .is_some_and(|until| Instant::now() < until);
        let is_held = state.connection_hold.is_some() || state.message_hold.is_some();
        let health = &self.placer.sources.health;
        let most = health.connections_max(&state.route.site, state.source.name());
        is_needed
            && state.connections < most
            && !no_more
            && !is_held
            && !state.is_off
            && !self.outbound.drain.is_cancelled()
            && state.connections < self.outbound.config.get().connections_max
    }

    fn connection_ended(self: &Arc<Self>, destination: &Arc<Destination>) {
        destination.state.lock().connections -= 1;
        self.close_if_unused(destination);
        self.open_if_needed(destination);
    }

    pub fn close_if_unused(&self, destination: &Destination) {
        self.table.close_if_unused(destination);
    }

    /// The next task with all tokens that it needs. Counts the connection as ready if there is none.
    pub fn next_work(self: &Arc<Self>, destination: &Arc<Destination>) -> Work {
        let mut state = destination.state.lock();
        if let Some(hold) = &state.message_hold {
            let until = hold.until;
            state.ready += 1;
            return Work::Throttled(until);
        }
        let Some(delivery) = state.waiting.first() else {
            state.ready += 1;
            return Work::None;
        };
        let path = placer::path(&state.route, &state.source, delivery);
        let under = self.policy_use.begin(Using::Transaction, path);
        let path_policy = self
            .placer
            .path_policy(&state.route, &state.source, delivery);
        let waiter = || Some(self.waiter(destination, HoldKind::Message));
        let ask = delivery.ask(&path_policy.message, &state.route, state.waiting.len());
        match self.limiters.take(&ask, waiter) {
            Ok(mut token) => {
                token.under = Some(under);
                let delivery = state.waiting.pop().expect("the first one is there");
                state.moved_at = Instant::now();
                state.open_queues();
                if !state.waiting.is_empty() {
                    // Two tasks that come before one connection has looked wake only one.
                    destination.work.notify_one();
                }
                Work::Task(Box::new(delivery), token)
            }
            Err(closed) => {
                self.hold(destination, &mut state, HoldKind::Message, &closed);
                state.ready += 1;
                Work::Throttled(closed.until)
            }
        }
    }

    pub fn all(&self) -> Vec<Arc<Destination>> {
        self.table.all()
    }

    /// Gives tasks back that wait here and are not to be sent from here any more.
    pub fn return_stopped(&self) {
        self.placer.budgets.drop_stopped();
        for destination in self.all() {
            let mut state = destination.state.lock();
            state.waiting.retain(|delivery| !delivery.is_stopped());
            drop(state);
            self.close_if_unused(&destination);
        }
    }

    /// Begins nothing any more.
    pub fn drain(&self) {
        self.outbound.drain.cancel();
        self.return_stopped();
    }

    /// Waits for the connections to end after the drain began, and for the reports of what they came to.
    pub async fn drained(&self) {
        self.outbound.connections.close();
        self.outbound.connections.wait().await;
        self.results.drained().await;
    }
}
