//! A destination: tasks that wait for it, and the connections that serve them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::DurationMs;
use skein_model::spool::Verdict;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::automation::active_actions::Going;
use crate::context::Context;
use crate::destination::hold::{self, Hold, HoldKind};
use crate::destination::waiting::Waiting;
use crate::limits::limiters::Token;
use crate::limits::path_policy::{PathPolicy, Way};
use crate::notified_groups::NotifiedGroups;
use crate::outcome::Attempt;
use crate::route::find::Route;
use crate::source_ip::budgets::Taken;
use crate::source_ip::sources::{Restraints, Source};
use crate::task::delivery::{DeliveryTask, Routed};

/// A host that gave one more connection no session while it serves others is asked for none during this time:
/// it has as many as it wants.
pub const NO_MORE: Duration = Duration::from_secs(5);

/// All destinations that have tasks or connections. Their number is bounded by the sender's window.
pub struct Destinations {
    pub context: Arc<Context>,
    map: Mutex<HashMap<String, Arc<Destination>>>,
    connections: TaskTracker,
    made: AtomicU64,
}

/// What goes from one IP to one site in one manner.
pub struct Destination {
    key: String,
    pub number: u64,
    pub state: Mutex<State>,
    pub work: Notify,
}

pub struct State {
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
    /// Taken off the map; a new task needs a new destination.
    is_off: bool,
}

impl State {
    pub fn hold(&mut self, kind: HoldKind) -> &mut Option<Hold> {
        match kind {
            HoldKind::Connection => &mut self.connection_hold,
            HoldKind::Message => &mut self.message_hold,
        }
    }

    /// Queues a task, unless it is not to be sent from here any more. Who stops tasks takes what is queued under the same
    /// lock after that: it finds this one, or is found out here.
    fn queue(&mut self, delivery: DeliveryTask) -> bool {
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

    fn is_unused(&self) -> bool {
        self.connections == 0 && self.waiting.is_empty()
    }
}

impl Destination {
    fn new(key: String, number: u64, route: Arc<Route>, source: Source) -> Self {
        let state = State {
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
}

/// What a connection finds when it looks for work.
pub enum Work {
    Task(Box<DeliveryTask>, Token),
    /// A limit lets no message pass until then.
    Throttled(Instant),
    None,
}

impl Destinations {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let mut policy = context.policy.clone();
        let destinations = Arc::new(Self {
            context,
            map: Mutex::default(),
            connections: TaskTracker::new(),
            made: AtomicU64::new(0),
        });
        let follow = Arc::downgrade(&destinations);
        let follow_actions = hold::follow_actions(Arc::downgrade(&destinations));
        skein_runtime::task("active-actions", follow_actions);
        skein_runtime::task("routes", async move {
            while policy.changed().await.is_ok() {
                let Some(destinations) = follow.upgrade() else {
                    return;
                };
                let now = policy.borrow_and_update().clone();
                destinations.context.follow_policy();
                destinations.policy_changed(&now);
                destinations.context.state.goes_by_policy(now.version());
            }
        });
        destinations
    }

    /// What waits for an IP that cannot be used goes from another one, or waits.
    pub fn choose_again(self: &Arc<Self>, destination: &Destination) {
        let (route, deliveries) = {
            let mut state = destination.state.lock();
            let deliveries: Vec<DeliveryTask> = state.waiting.drain().collect();
            (state.route.clone(), deliveries)
        };
        for delivery in deliveries
            .into_iter()
            .filter(|delivery| !delivery.is_stopped())
        {
            self.push(route.as_ref().clone(), delivery);
        }
    }

    /// Chooses the IP that a task goes from, queues the task, and opens a connection if the present ones will not reach
    /// it soon. A task that can go from no IP waits.
    pub fn push(self: &Arc<Self>, route: Route, delivery: DeliveryTask) {
        let context = &self.context;
        let Some(mut delivery) = context.heed(delivery) else {
            return;
        };
        let policy = context.policy.borrow().clone();
        let envelope = &delivery.task.message.envelope;
        let pool = delivery.task.task.pool(envelope);
        let sources = &context.sources;
        let going = Going {
            site: &route.site,
            tenant: &envelope.tenant,
            pool,
        };
        // What it had taken elsewhere goes back.
        delivery.spend = None;
        let (config, budgets) = (&context.config, &context.budgets);
        let units = delivery.task.task.recipients.len() as u64;
        let restraints = Restraints {
            stopped: &|ip| context.active_actions.stopped(ip, going),
            open: &|ip| budgets.open(&policy, ip, &route.site, units),
            now: budgets.now(),
            expires: delivery.task.task.created + config.retry.max_age,
        };
        let router = &context.router;
        let source = sources.choose(
            &policy,
            router,
            pool,
            &route.site,
            &route.hosts,
            &restraints,
        );
        let source = match source {
            Ok(source) => source,
            Err(none) => {
                let (away_from, left) = none.blocked.unzip();
                if let (Some(ip), Some(left)) = (&away_from, left) {
                    sources.health.tell(&route.site, ip, delivery.filed(), left);
                }
                let attempt = Attempt {
                    site: route.site,
                    retry_within: none.retry_within,
                    // Zero would say that it is not left alone.
                    away_for: left.map(|left| DurationMs::from(left).max(DurationMs(1))),
                    away_from,
                    ..Attempt::default()
                };
                context.settle_all(delivery, attempt, Verdict::Deferred, &none.reply);
                return;
            }
        };
        if let Some(reply) = context.active_actions.bounced(source.0.as_deref(), going) {
            let attempt = Attempt {
                site: route.site,
                ..Attempt::default()
            };
            context.settle_all(delivery, attempt, Verdict::Failed, &reply);
            return;
        }
        match budgets.take(&policy, source.0.as_deref(), &route.site, units) {
            Taken::Free => {}
            Taken::Units(spend) => delivery.spend = Some(spend),
            Taken::Ask(target) => return budgets.park(target, units, Routed { route, delivery }),
        }
        let path_policy = self.path_policy(&route, &source, &delivery);
        let key = match source.name() {
            "" => format!("{}{}", route.key, path_policy.label),
            ip => format!("{} from {ip}{}", route.key, path_policy.label),
        };
        let (destination, is_queued) = {
            let mut map = self.map.lock();
            let route = Arc::new(route);
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            let destination = map
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
        };
        if !is_queued {
            self.close_if_unused(&destination);
            return;
        }
        destination.work.notify_one();
        self.open_if_needed(&destination);
    }

    /// What holds for a task now.
    pub fn path_policy(
        &self,
        route: &Route,
        source: &Source,
        delivery: &DeliveryTask,
    ) -> Arc<PathPolicy> {
        let envelope = &delivery.task.message.envelope;
        let way = Way {
            pool: delivery.task.task.pool(envelope),
            ip: source.name(),
            site: &route.site,
            tenant: &envelope.tenant,
            is_named: route.is_named,
        };
        let policy = self.context.policy.borrow().clone();
        let path_policy = self.context.path_policy.of(&policy, way);
        self.context
            .active_actions
            .lowered(path_policy, &policy, way)
    }

    /// Opens one connection if the tasks that wait call for it and every limit allows it. The limits of pools and tenants
    /// are those of the task that comes next.
    pub fn open_if_needed(self: &Arc<Self>, destination: &Arc<Destination>) -> bool {
        let (path_policy, token, stop) = {
            let mut state = destination.state.lock();
            if !self.needs_connection(&state) {
                return false;
            }
            let Some(delivery) = state.waiting.first() else {
                return false;
            };
            let path_policy = self.path_policy(&state.route, &state.source, delivery);
            let waiter = || Some(self.waiter(destination, HoldKind::Connection));
            let room = self.context.config.connections_max - state.connections;
            let demand = (state.waiting.len() - state.ready).min(room);
            let ask = delivery.ask(&path_policy.connect, &state.route, demand);
            // One of several slots of a site leaves without it.
            let stop = match ask.is_elsewhere {
                true => self.context.drain.child_token(),
                false => delivery.claim.stop.clone(),
            };
            match self.context.limiters.take(&ask, waiter) {
                Ok(token) => {
                    state.connections += 1;
                    state.ready += 1;
                    (path_policy, token, stop)
                }
                Err(closed) => {
                    self.hold(destination, &mut state, HoldKind::Connection, &closed);
                    return false;
                }
            }
        };
        let (destinations, destination) = (self.clone(), destination.clone());
        self.connections.spawn(async move {
            // Others that waited have had their turn.
            destinations.open_if_needed(&destination);
            destinations
                .serve(&destination, &path_policy, token, stop)
                .await;
            destinations.connection_ended(&destination);
        });
        true
    }

    fn needs_connection(&self, state: &State) -> bool {
        let is_needed = state.waiting.len() > state.ready;
        let no_more = state.connections > 0
            && state
                .no_more_until
                .is_some_and(|until| Instant::now() < until);
        let is_held = state.connection_hold.is_some() || state.message_hold.is_some();
        let health = &self.context.sources.health;
        let most = health.connections_max(&state.route.site, state.source.name());
        is_needed
            && state.connections < most
            && !no_more
            && !is_held
            && !state.is_off
            && !self.context.drain.is_cancelled()
            && state.connections < self.context.config.connections_max
    }

    fn connection_ended(self: &Arc<Self>, destination: &Arc<Destination>) {
        destination.state.lock().connections -= 1;
        self.close_if_unused(destination);
        self.open_if_needed(destination);
    }

    pub fn close_if_unused(&self, destination: &Destination) {
        let mut map = self.map.lock();
        let mut state = destination.state.lock();
        if state.is_unused() && !state.is_off {
            state.is_off = true;
            state.open_queues();
            state.connection_hold = None;
            state.message_hold = None;
            map.remove(&destination.key);
        }
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
        let path_policy = self.path_policy(&state.route, &state.source, delivery);
        let waiter = || Some(self.waiter(destination, HoldKind::Message));
        let ask = delivery.ask(&path_policy.message, &state.route, state.waiting.len());
        match self.context.limiters.take(&ask, waiter) {
            Ok(token) => {
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
        self.map.lock().values().cloned().collect()
    }

    /// Gives tasks back that wait here and are not to be sent from here any more.
    pub fn return_stopped(&self) {
        self.context.budgets.drop_stopped();
        for destination in self.all() {
            let mut state = destination.state.lock();
            state.waiting.retain(|delivery| !delivery.is_stopped());
            drop(state);
            self.close_if_unused(&destination);
        }
    }

    /// Waits for the connections to end after the drain began.
    pub async fn drained(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}
