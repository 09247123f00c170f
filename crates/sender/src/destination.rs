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

use crate::budgets::Taken;
use crate::deliver::{Context, Job};
use crate::forces::Going;
use crate::gates::Token;
use crate::hold::{self, Gate, Hold};
use crate::outcome::Attempt;
use crate::route::Route;
use crate::sources::{Restraints, Source};
use crate::terms::{Terms, Way};
use crate::told::Told;
use crate::waiting::Waiting;

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
    pub waiting: Waiting<Job>,
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
    pub closed: Told,
    /// When a transaction was last begun, or else when this came to be.
    pub moved_at: Instant,
    /// Taken off the map; a new task needs a new destination.
    is_off: bool,
}

impl State {
    pub fn hold(&mut self, gate: Gate) -> &mut Option<Hold> {
        match gate {
            Gate::Connection => &mut self.connection_hold,
            Gate::Message => &mut self.message_hold,
        }
    }

    /// Queues a task, unless it is not to be sent from here any more. Who stops tasks takes what is queued under the same
    /// lock after that: it finds this one, or is found out here.
    fn queue(&mut self, job: Job) -> bool {
        let is_to_wait = !job.is_stopped();
        if is_to_wait {
            self.waiting.push(job.priority(), job);
            self.shed();
        }
        is_to_wait
    }

    /// Puts one back that was taken and not begun, as [`Self::queue`] does.
    pub fn put_back(&mut self, job: Job) {
        if !job.is_stopped() {
            self.waiting.push_front(job.priority(), job);
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
            closed: Told::default(),
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
    Job(Box<Job>, Token),
    /// A limit lets no message pass until then.
    Held(Instant),
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
        let follow_forces = hold::follow_forces(Arc::downgrade(&destinations));
        skein_runtime::task("forces", follow_forces);
        skein_runtime::task("routes", async move {
            while policy.changed().await.is_ok() {
                let Some(destinations) = follow.upgrade() else {
                    return;
                };
                let now = policy.borrow_and_update().clone();
                destinations.context.follow_policy();
                destinations.policy_changed(&now);
                destinations.context.cluster.goes_by_policy(now.version());
            }
        });
        destinations
    }

    /// What waits for an IP that cannot be used goes from another one, or waits.
    pub fn choose_again(self: &Arc<Self>, destination: &Destination) {
        let (route, jobs) = {
            let mut state = destination.state.lock();
            let jobs: Vec<Job> = state.waiting.drain().collect();
            (state.route.clone(), jobs)
        };
        for job in jobs.into_iter().filter(|job| !job.is_stopped()) {
            self.push(route.as_ref().clone(), job);
        }
    }

    /// Chooses the IP that a task goes from, queues the task, and opens a connection if the present ones will not reach
    /// it soon. A task that can go from no IP waits.
    pub fn push(self: &Arc<Self>, route: Route, job: Job) {
        let context = &self.context;
        let Some(mut job) = context.heed(job) else {
            return;
        };
        let policy = context.policy.borrow().clone();
        let envelope = &job.task.message.envelope;
        let pool = job.task.task.pool(envelope);
        let sources = &context.sources;
        let going = Going {
            site: &route.site,
            tenant: &envelope.tenant,
            pool,
        };
        // What it had taken elsewhere goes back.
        job.spend = None;
        let (config, budgets) = (&context.config, &context.budgets);
        let units = job.task.task.recipients.len() as u64;
        let restraints = Restraints {
            stopped: &|ip| context.forces.stopped(ip, going),
            open: &|ip| budgets.open(&policy, ip, &route.site, units),
            now: budgets.now(),
            expires: job.task.task.created + config.retry.max_age,
        };
        let exits = &context.exits;
        let source = sources.choose(&policy, exits, pool, &route.site, &route.hosts, &restraints);
        let source = match source {
            Ok(source) => source,
            Err(none) => {
                let (away_from, left) = none.blocked.unzip();
                if let (Some(ip), Some(left)) = (&away_from, left) {
                    sources.health.tell(&route.site, ip, &job, left);
                }
                let attempt = Attempt {
                    site: route.site,
                    retry_within: none.retry_within,
                    // Zero would say that it is not left alone.
                    away_for: left.map(|left| DurationMs::from(left).max(DurationMs(1))),
                    away_from,
                    ..Attempt::default()
                };
                context.settle_all(job, attempt, Verdict::Deferred, &none.reply);
                return;
            }
        };
        if let Some(reply) = context.forces.bounced(source.0.as_deref(), going) {
            let attempt = Attempt {
                site: route.site,
                ..Attempt::default()
            };
            context.settle_all(job, attempt, Verdict::Failed, &reply);
            return;
        }
        match budgets.take(&policy, source.0.as_deref(), &route.site, units) {
            Taken::Free => {}
            Taken::Units(spend) => job.spend = Some(spend),
            Taken::Ask(target) => return budgets.park(target, units, route, job),
        }
        let terms = self.terms(&route, &source, &job);
        let key = match source.name() {
            "" => format!("{}{}", route.key, terms.label),
            ip => format!("{} from {ip}{}", route.key, terms.label),
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
            let is_queued = state.queue(job);
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
    pub fn terms(&self, route: &Route, source: &Source, job: &Job) -> Arc<Terms> {
        let envelope = &job.task.message.envelope;
        let way = Way {
            pool: job.task.task.pool(envelope),
            ip: source.name(),
            site: &route.site,
            tenant: &envelope.tenant,
            is_named: route.is_named,
        };
        let policy = self.context.policy.borrow().clone();
        let terms = self.context.terms.of(&policy, way);
        self.context.forces.lowered(terms, &policy, way)
    }

    /// Opens one connection if the tasks that wait call for it and every limit allows it. The limits of pools and tenants
    /// are those of the task that comes next.
    pub fn open_if_needed(self: &Arc<Self>, destination: &Arc<Destination>) -> bool {
        let (terms, token, stop) = {
            let mut state = destination.state.lock();
            if !self.needs_connection(&state) {
                return false;
            }
            let Some(job) = state.waiting.first() else {
                return false;
            };
            let terms = self.terms(&state.route, &state.source, job);
            let waiter = || Some(self.waiter(destination, Gate::Connection));
            let room = self.context.config.connections_max - state.connections;
            let demand = (state.waiting.len() - state.ready).min(room);
            let ask = job.ask(&terms.connect, &state.route, demand);
            // One of several slots of a site leaves without it.
            let stop = match ask.is_elsewhere {
                true => self.context.drain.child_token(),
                false => job.claim.stop.clone(),
            };
            match self.context.gates.take(&ask, waiter) {
                Ok(token) => {
                    state.connections += 1;
                    state.ready += 1;
                    (terms, token, stop)
                }
                Err(closed) => {
                    self.hold(destination, &mut state, Gate::Connection, &closed);
                    return false;
                }
            }
        };
        let (destinations, destination) = (self.clone(), destination.clone());
        self.connections.spawn(async move {
            // Others that waited have had their turn.
            destinations.open_if_needed(&destination);
            destinations.serve(&destination, &terms, token, stop).await;
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
            return Work::Held(until);
        }
        let Some(job) = state.waiting.first() else {
            state.ready += 1;
            return Work::None;
        };
        let terms = self.terms(&state.route, &state.source, job);
        let waiter = || Some(self.waiter(destination, Gate::Message));
        let ask = job.ask(&terms.message, &state.route, state.waiting.len());
        match self.context.gates.take(&ask, waiter) {
            Ok(token) => {
                let job = state.waiting.pop().expect("the first one is there");
                state.moved_at = Instant::now();
                state.open_queues();
                if !state.waiting.is_empty() {
                    // Two tasks that come before one connection has looked wake only one.
                    destination.work.notify_one();
                }
                Work::Job(Box::new(job), token)
            }
            Err(closed) => {
                self.hold(destination, &mut state, Gate::Message, &closed);
                state.ready += 1;
                Work::Held(closed.until)
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
            state.waiting.retain(|job| !job.is_stopped());
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
